//! Holds the head of an answer until it is known to be one: [`CommitLayer`].
//!
//! A status of 200 says little. The body may be an error page, nothing at all, half a document, or
//! a stream whose first event is an error. As long as the client has seen nothing, all of these
//! can be retried; so the head waits here until the answer has shown that it is one. From then on
//! nothing is retried.
//!
//! # Where it stands
//!
//! Inside of retry, breaker and the attempt's metrics, which go by what it returns; outside of the
//! attempt's clocks, which bound how long it waits for a first event. The service inside publishes
//! what it reads of an answer as `Arc<StreamState>`; this layer reads no format itself.
//!
//! # What it holds
//!
//! | answer | held until |
//! |---|---|
//! | 4xx, 5xx | its end, 64 KiB, or `hold_max` |
//! | [`Json`](AnswerKind::Json) | its end |
//! | [`Events`](AnswerKind::Events) | an event with content, an error, the end; or `hold_max` from the first data event |
//! | any other 200 where an answer is expected | its first byte, or `hold_max` |
//! | all else, and the answer to `HEAD` | not at all |
//!
//! Nothing is held beyond [`max_held`](CommitLayer::max_held) bytes of one answer, nor beyond what
//! is left of the [`budget`](CommitLayer::budget): the head is then released with what was held and
//! the rest streams on. That, and a head released by `hold_max`, is counted in
//! `towergate_early_commits_total{reason}`: `size`, `memory`, `time`. The budget gets its bytes back
//! as they are handed on, or dropped.
//!
//! # What it reads and writes
//!
//! * Reads `Arc<Facts>` of the request; `Arc<StreamState>`, [`Answered`](towergate_core::context::Answered),
//!   `Content-Type` and `Content-Encoding` of the response.
//! * Sets [`Class`](towergate_core::Class), and [`RetryAfter`](towergate_core::classify::RetryAfter)
//!   where the upstream gave one, on every 4xx and 5xx.
//! * The bytes stay as they are, trailers and length included.
//!
//! # What happens
//!
//! * **Success**: the response, its body beginning with what was held. An answer held to its end is
//!   collected: a body that needs no box, and that others can read.
//! * **An error inside a 2xx, before any content**: a response with the status, the body and the
//!   class that the error would have had on its own. Its headers stay, but for length and encoding,
//!   and the content type becomes JSON's; its `StreamState` goes.
//! * **An empty 200** where an answer was expected, **a page of HTML** or another content type that
//!   the route never has: [`ErrorKind::BadAnswer`](towergate_core::ErrorKind::BadAnswer).
//! * **The body fails while it is held**: that error. The service inside says what it was: cut,
//!   malformed, too slow; what it does not say is a broken connection. Where the status is an error
//!   already, the status stays and the body is left out.
//! * **Dropped while held**, or later in the body: the answer inside is dropped with it.
//!
//! ```
//! use std::{convert::Infallible, sync::Arc};
//!
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt as _, service_fn};
//! use towergate_core::{
//!     Body, Error, ErrorKind, StreamState, protocol::ByStatus, stream::AnswerKind,
//! };
//! use towergate_layers::commit::CommitLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let service = ServiceBuilder::new().layer(CommitLayer::new(ByStatus)).service(service_fn(
//!     |_: Request<Body>| async {
//!         // What the leaf does where it expects a JSON document.
//!         let mut response = Response::new(Body::empty());
//!         response.extensions_mut().insert(Arc::new(StreamState::new(AnswerKind::Json)));
//!         Ok::<_, Infallible>(response)
//!     },
//! ));
//!
//! let error = service.oneshot(Request::new(Body::empty())).await.unwrap_err();
//! assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::BadAnswer);
//! # }
//! ```
//!

mod body;
mod expect;
mod future;
mod hold;
mod layer;

#[cfg(test)]
mod tests;

#[cfg(doc)]
use towergate_core::stream::AnswerKind;

pub use self::{
    future::ResponseFuture,
    layer::{Commit, CommitLayer},
};
