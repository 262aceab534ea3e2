//! A simulated OpenAI: deterministic answers, and faults on script.
//!
//! It is the demo upstream of the proxy and the upstream of the tests. [`Sim`] is a
//! [`tower_service::Service`] and answers in process; [`SimServer`] serves it on a socket, HTTP/1.1
//! and HTTP/2 (with prior knowledge) on one port. [`RawUpstream`] is a scripted TCP server beside
//! it, for what no HTTP server can be made to do.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::{BodyExt as _, Full};
//! use tower_service::Service as _;
//! use towergate_sim::Sim;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let mut sim = Sim::new();
//! sim.script(["status=503; retry-after=2", "ok"])?;
//!
//! let ask = || {
//!     let body = r#"{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}"#;
//!     http::Request::post("/v1/chat/completions").body(Full::new(Bytes::from(body)))
//! };
//! let refused = sim.call(ask()?).await?;
//! assert_eq!(refused.status(), 503);
//! assert_eq!(refused.headers()["retry-after"], "2");
//!
//! let answer = sim.call(ask()?).await?.into_body().collect().await?.to_bytes();
//! let answer: serde_json::Value = serde_json::from_slice(&answer)?;
//! let said = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
//! assert!(said.starts_with("You said: Hello"));
//! # Ok(())
//! # }
//! ```
//!
//! # What it answers
//!
//! Below `/v1` (after any prefix), or under the bare path: `chat/completions`, `completions`,
//! `responses`, each as JSON and as a stream; `embeddings`, `models`, `moderations`,
//! `audio/speech`, `audio/transcriptions`, `audio/translations`, `images/*`, `files`. And `echo`,
//! with anything below it and any method, which tells what came in.
//!
//! A WebSocket is accepted by a [`SimServer`] at `realtime` and `responses`, which answer
//! `response.create` with events in the manner of those APIs, and at `echo`, which sends every message
//! back. Faults that come before the head, and those that end a body, hold there too: pieces are
//! messages, `cut` is an end without a close frame, `truncate` one with it.
//!
//! Everything follows from the request's bytes, so that the same request gets the same answer; only
//! `x-request-id` counts on. A model whose name begins with `unknown-` does not exist (404), any
//! other answers. Where [`Sim::require_key`] names a key, another one gets a 401.
//!
//! # Which request gets a fault
//!
//! 1. The next one in the queue that fits: [`Sim::script`], [`Sim::script_where`].
//! 2. Else what the request header `x-sim-fault` says. Gateways do not forward it.
//! 3. Else what the model says: `"model": "fault:status=503;times=2"`. Such a fault can't say how
//!    much of the body is read.
//!
//! A text that is no fault gets a 400 that names the word at fault.
//!
//! # The fault language
//!
//! Directives separated by `;`. Times are `500ms`, `2s`, `1m`; sizes `10`, `10KiB`, `4MiB`, `1GiB`.
//! *Pieces*, counted from 0, are the events of a stream, the two halves of a JSON answer, or the
//! blocks of a binary one. A count past the end of the answer never comes, and the answer is whole.
//!
//! | directive | what happens |
//! |---|---|
//! | `ok` | nothing |
//! | `times=2` | the first so many requests; the queue goes on after them, model and header are answered as usual |
//! | **before the head** | |
//! | `no-read`, `read-only=10KiB` | answers without having read (more of) the request's body; while bytes of it are unread, HTTP/1.1 does not see a peer go away |
//! | `delay-head=500ms` | the head comes later |
//! | `stall-head` | it never comes |
//! | `reset-before-head` | the TCP connection is reset instead (RST) |
//! | `close-before-head` | it is closed without a byte (FIN); on HTTP/2 only the stream is reset |
//! | `refuse-stream` | on HTTP/2 `REFUSED_STREAM`; on HTTP/1.1 as `close-before-head` |
//! | **status and header** | |
//! | `503`, `status=503` | an error in OpenAI's envelope; 2xx keeps the answer, 3xx has no body |
//! | `code=…`, `type=…`, `message=…` | the fields of the envelope |
//! | `error-body=array` | other shapes: `array`, `flat`, `int-code`, `string`, `html`, `empty` |
//! | `retry-after=2`, `retry-after-ms=1500` | these headers |
//! | `header=name:value` | this header, also in place of a usual one |
//! | `wrong-content-type` | `text/plain` |
//! | `gzip` | says `content-encoding: gzip`, and is not |
//! | `empty-200` | no body |
//! | `html-200` | a page of HTML |
//! | `close-idle` | the connection closes right behind the answer, unannounced |
//! | **where the body waits or ends** | |
//! | `delay-at=3:20s` | a wait before piece 3; `0` is behind the head |
//! | `stall-after=3` | after three pieces nothing comes any more |
//! | `reset-after=3` | after three pieces the TCP connection is reset |
//! | `cut-after=3` | after three pieces the body breaks: HTTP/1.1 closes (FIN) amid the framing, HTTP/2 resets the stream |
//! | `truncate-after=3` | after three pieces the body ends in good order |
//! | `cut-json=half` | as `cut-after=1`: the length says more than comes |
//! | `cut-json=chunked` | the same without a length |
//! | `chunked` | hides the length of a JSON answer |
//! | **what is in a stream** | |
//! | `tokens=60` | the reply has exactly so many tokens, one event each |
//! | `no-done` | no `[DONE]` |
//! | `no-finish` | no `finish_reason` or terminal event, and no `[DONE]` |
//! | `bad-json-at=3` | event 3 is not JSON; the others come behind it |
//! | `error-at=3:server_is_overloaded` | event 3 is an error in the shape of that API, and the last |
//! | `failed-at=3:server_error` | the same; in the Responses API a `response.failed` |
//! | `comments=5`, `comments=endless` | comments first; empty lines before a JSON answer |
//! | `huge-event=4MiB` | event 1 has so much content |
//! | `bytes=1GiB` | so much content in events of 16 KiB; JSON is filled up with white space, speech and files are so long |
//! | **how it is written** | |
//! | `split=7`, `byte-by-byte` | in chunks of 7 bytes, of 1 |
//! | `slow-chunks=10ms` | a wait behind each chunk |
//! | `crlf`, `cr` | other line ends |
//! | `bom` | a byte order mark first |
//!
//! In process there is no connection: what breaks one there is an answer whose body fails at once,
//! with [`Broken`] in its extensions. What only a program can say is added by [`Fault::hold_head`]
//! and [`Fault::hold_at`]: the answer waits for a [`Gate`].
//!
//! # What it remembers
//!
//! [`Sim::requests`], [`Sim::events`] and [`Sim::counts`] tell what came in, how each answer ended,
//! and when a peer went away: before the head (the future was dropped) or in the body (the body was
//! dropped before its end). [`Sim::wait_for`] and [`Sim::wait_until`] wait for it, so that no test
//! has to sleep. All of it is bounded: 4096 requests and events, 256 MiB of bodies.

mod answer;
mod api;
mod fault;
mod gate;
mod io;
mod log;
mod plan;
mod raw;
mod read;
mod script;
mod server;
mod sim;
mod text;
mod websocket;

pub use self::{
    fault::{BadFault, Broken, Fault},
    gate::Gate,
    log::{Counts, Event, Log, Received},
    raw::{RawEvent, RawScript, RawUpstream},
    server::SimServer,
    sim::{ResponseFuture, Sim},
};
