//! Whatever a client sends, and however it is split: either the same bytes go on, or the client is told what is wrong.

#![no_main]

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use http::{
    HeaderName, HeaderValue, Request, Uri,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING},
};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use libfuzzer_sys::fuzz_target;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use towergate_core::{Body, Error, Origin};
use towergate_layers::intake::IntakeLayer;
use towergate_openai::protocol::OpenAiProtocol;

const METHODS: [&str; 6] = ["POST", "GET", "PUT", "PATCH", "DELETE", "OPTIONS"];
const PATHS: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/audio/transcriptions",
    "/v1/files",
    "/v1/models",
    "/v1/images/edits",
];
const NAMES: [HeaderName; 5] = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING, HOST];

type Input<'a> = (u8, Option<u8>, &'a str, Vec<(u8, &'a [u8])>, u8, &'a [u8]);

fn request<'a>((method, known, path, fields, size, body): &Input<'a>) -> Option<Request<Body>> {
    let path = known.map_or(*path, |at| PATHS[usize::from(at) % PATHS.len()]);
    let frames = body.chunks(usize::from(*size).max(1)).map(|frame| {
        Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(frame)))
    });
    let body = Body::new(StreamBody::new(stream::iter(frames.collect::<Vec<_>>())));
    let mut request = Request::builder()
        .method(METHODS[usize::from(*method) % METHODS.len()])
        .uri(path.parse::<Uri>().ok()?)
        .body(body)
        .ok()?;
    for (name, value) in fields {
        let name = NAMES[usize::from(*name) % NAMES.len()].clone();
        request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(request)
}

fuzz_target!(|input: Input<'_>| {
    let Some(request) = request(&input) else { return };
    let sent = input.5;
    let inner = service_fn(async |request: Request<Body>| request.into_body().collect().await);
    let layer = IntakeLayer::new(OpenAiProtocol::new()).max_body(4096).max_upload(65_536);
    // Nothing is ever waited for: all of the body is there.
    let taken = ServiceBuilder::new().layer(layer).service(inner).oneshot(request);
    match taken.now_or_never().expect("ready at once") {
        Ok(got) => assert!(got.to_bytes() == sent, "the bytes differ"),
        Err(error) => assert_eq!(Error::from_boxed(error).origin(), Origin::Client),
    }
});
