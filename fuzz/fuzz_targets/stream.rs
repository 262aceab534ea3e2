//! Whatever an upstream streams, and however it is split, the client gets the same and the same end; with malformed
//! events passed, a beginning of it byte for byte, and at most a `[DONE]` on top.

#![no_main]

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use http::{Method, Response, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use libfuzzer_sys::fuzz_target;
use towergate_core::{Body, Error, ErrorKind, Facts, label::Label};
use towergate_openai::{
    answer::{AnswerSettings, Malformed, read_answer},
    routes,
};

const PATHS: [&str; 4] = ["/chat/completions", "/completions", "/responses", "/audio/speech"];

/// What a client gets of frames of this size, and how it ends.
fn read(
    facts: &Facts,
    settings: &AnswerSettings,
    strips_usage: bool,
    upstream: &[u8],
    size: usize,
) -> (Vec<u8>, Option<ErrorKind>) {
    let frames: Vec<_> = upstream
        .chunks(size)
        .map(|frame| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(frame))))
        .collect();
    let (mut parts, ()) =
        Response::builder().header(CONTENT_TYPE, "text/event-stream").body(()).unwrap().into_parts();
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    let mut body = read_answer(Some(facts), settings, strips_usage, &mut parts, body);
    let mut got = Vec::new();
    // Nothing is ever waited for: the upstream has all of it ready.
    while let Some(frame) = body.frame().now_or_never().expect("ready at once") {
        match frame {
            Ok(frame) => got.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(error) => return (got, Some(Error::from_boxed(error).kind())),
        }
    }
    (got, None)
}

/// Where a CRLF is split, its LF belongs to what follows, and is left out where that is.
fn without_split_ends(bytes: &[u8]) -> Vec<u8> {
    let after_cr = |at: usize| at > 0 && bytes[at - 1] == b'\r';
    let kept = bytes.iter().enumerate().filter(|(at, byte)| **byte != b'\n' || !after_cr(*at));
    kept.map(|(_, byte)| *byte).collect()
}

fuzz_target!(|input: (u8, bool, bool, u8, u8, &[u8])| {
    let (path, passes, strips, choices, size, upstream) = input;
    let route = routes::find(&Method::POST, PATHS[usize::from(path) % PATHS.len()]);
    let choices = u32::from(choices % 4);
    let facts = Facts { stream: true, choices, ..Facts::of_route(route, Label::new("other")) };
    let mut settings = AnswerSettings::default();
    settings.malformed = if passes { Malformed::Pass } else { Malformed::Drop };
    let (got, end) = read(&facts, &settings, strips, upstream, usize::from(size).max(1));
    let (whole, its_end) = read(&facts, &settings, strips, upstream, upstream.len().max(1));
    assert_eq!(end, its_end);
    assert_eq!(without_split_ends(&got), without_split_ends(&whole));
    if passes && !strips {
        let common = got.iter().zip(upstream).take_while(|(a, b)| a == b).count();
        let added = &got[common..];
        assert!(
            b"\n\ndata: [DONE]\n\n".windows(added.len().max(1)).any(|part| part == added) || added.is_empty()
        );
    }
});
