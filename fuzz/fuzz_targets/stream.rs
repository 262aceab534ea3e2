//! Whatever an upstream streams, the client gets a beginning of it, byte for byte, and at most a `[DONE]` on top.

#![no_main]

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use http::{Method, Response, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use libfuzzer_sys::fuzz_target;
use towergate_core::{Body, Facts, label::Label};
use towergate_openai::{
    answer::{AnswerSettings, Malformed, read_answer},
    routes,
};

const PATHS: [&str; 4] = ["/chat/completions", "/completions", "/responses", "/audio/speech"];

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (path, size, upstream) = input;
    let route = routes::find(&Method::POST, PATHS[usize::from(path) % PATHS.len()]);
    let facts = Facts { stream: true, ..Facts::of_route(route, Label::new("other")) };
    let frames: Vec<_> = upstream
        .chunks(usize::from(size).max(1))
        .map(|frame| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(frame))))
        .collect();
    let (mut parts, ()) =
        Response::builder().header(CONTENT_TYPE, "text/event-stream").body(()).unwrap().into_parts();
    let mut settings = AnswerSettings::default();
    settings.malformed = Malformed::Pass;
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    let mut body = read_answer(Some(&facts), &settings, false, &mut parts, body);
    let mut got = Vec::new();
    // Nothing is ever waited for: the upstream has all of it ready.
    while let Some(frame) = body.frame().now_or_never().expect("ready at once") {
        match frame {
            Ok(frame) => got.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => break,
        }
    }
    let common = got.iter().zip(upstream).take_while(|(a, b)| a == b).count();
    let added = &got[common..];
    assert!(
        b"\n\ndata: [DONE]\n\n".windows(added.len().max(1)).any(|part| part == added) || added.is_empty()
    );
});
