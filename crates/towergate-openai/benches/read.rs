//! How fast streams and requests are read: bytes a second, and allocations, of which there should
//! be none for an event.
//!
//! ```sh
//! cargo bench -p towergate-openai --bench read
//! ```

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, counter::BytesCount};
use http::{Method, Response, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use towergate_core::{Body, Facts, StreamState, label::Label};
use towergate_openai::{
    answer::{AnswerSettings, read_answer},
    request, routes,
    sse::SseReader,
};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

/// A frame as it comes from a socket.
const FRAME: usize = 16 * 1024;

fn main() {
    divan::main();
}

fn chunk(content: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-CzzQBL1CgmX3yxHbMbVt3YBQhRVpk\",\"object\":\"chat.completion.chunk\",\
         \"created\":1768842827,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\
         \"system_fingerprint\":\"fp_29330a9688\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}},\
         \"logprobs\":null,\"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"Xw3dQp\"}}\n\n"
    )
}

fn small_events() -> Vec<u8> {
    chunk(" hello").repeat(2000).into_bytes()
}

fn one_large_event() -> Vec<u8> {
    chunk(&"QUJD".repeat(1024 * 1024)).into_bytes()
}

/// Finds events in frames.
#[divan::bench(args = ["small events", "one of 4 MiB"])]
fn sse_scan(bencher: Bencher<'_, '_>, which: &str) {
    let stream = if which == "small events" { small_events() } else { one_large_event() };
    bencher.counter(BytesCount::of_slice(&stream)).bench_local(|| {
        let mut reader = SseReader::new();
        let mut events = 0;
        for frame in stream.chunks(FRAME) {
            let mut at = 0;
            while let Some(event) = reader.next(frame, &mut at) {
                events += event.data.map_or(0, <[u8]>::len);
            }
        }
        black_box(events)
    });
}

/// As before, in one frame.
#[divan::bench(args = ["small events", "one of 4 MiB"])]
fn sse_scan_whole(bencher: Bencher<'_, '_>, which: &str) {
    let stream = if which == "small events" { small_events() } else { one_large_event() };
    bencher.counter(BytesCount::of_slice(&stream)).bench_local(|| {
        let (mut reader, mut at, mut events) = (SseReader::new(), 0, 0);
        while let Some(event) = reader.next(&stream, &mut at) {
            events += event.data.map_or(0, <[u8]>::len);
        }
        black_box(events)
    });
}

/// The whole body: finds events, judges them, and passes the bytes.
#[divan::bench(args = ["small events", "one of 4 MiB"])]
fn answer_body(bencher: Bencher<'_, '_>, which: &str) {
    let mut stream = if which == "small events" { small_events() } else { one_large_event() };
    stream.extend(b"data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
    let stream = Bytes::from(stream);
    let facts = Facts::of_route(routes::find(&Method::POST, "/chat/completions"), Label::new("other"));
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    bencher.counter(BytesCount::of_slice(&stream)).bench_local(|| {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream"));
        let body = Body::from(stream.clone());
        let mut body = read_answer(Some(&facts), &AnswerSettings::default(), false, &mut parts, body);
        runtime.block_on(async {
            while let Some(Ok(frame)) = body.frame().await {
                black_box(frame);
            }
        });
        assert!(parts.extensions.get::<Arc<StreamState>>().is_some_and(|state| state.is_complete()));
    });
}

/// Reads requests with a prompt of 1 MiB: of plain text, with an escape every 64 bytes, and of
/// JSON that is all structure.
#[divan::bench(args = ["text", "escapes", "structure"])]
fn request_read(bencher: Bencher<'_, '_>, which: &str) {
    let prompt = match which {
        "text" => format!("\"{}\"", "a".repeat(1 << 20)),
        "escapes" => format!("\"{}\"", format!("{}\\n", "a".repeat(62)).repeat(1 << 14)),
        _ => format!("[{}1]", "{\"a\":1.5},".repeat(1 << 17)),
    };
    let body = format!(
        "{{\"model\":\"gpt-4o\",\"messages\":[{{\"role\":\"user\",\"content\":{prompt}}}],\"stream\":true}}"
    );
    let route = routes::find(&Method::POST, "/chat/completions");
    bencher
        .counter(BytesCount::of_str(&body))
        .bench_local(|| request::read(route, black_box(body.as_bytes())).is_ok_and(|request| request.stream));
}
