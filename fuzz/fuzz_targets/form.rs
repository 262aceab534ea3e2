//! However a multipart form is split, the reader finds the same in it, or refuses it all the same; and a strict reader
//! finds nothing else than one that is not.

#![no_main]

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};
use libfuzzer_sys::fuzz_target;
use towergate_core::{access::ClientAccess, protocol::ReadRequest as _};
use towergate_openai::{protocol::OpenAiProtocol, routes};

/// What is found in a form; an error where it is refused, `None` where it is not read.
fn read(headers: &HeaderMap, strict: bool, body: &[u8], size: usize) -> Option<Result<String, ()>> {
    let route = routes::find(&Method::POST, "/audio/transcriptions");
    let access = strict.then(|| Arc::new(ClientAccess::all().allowed_models(["a"])));
    let mut reader = match OpenAiProtocol::new().read_form(route, headers, access.as_ref()) {
        Ok(reader) => reader?,
        Err(_) => return Some(Err(())),
    };
    let read = body.chunks(size).try_for_each(|piece| reader.read(piece)).and_then(|()| reader.finish());
    Some(read.map(|()| format!("{:?}", reader.facts())).map_err(drop))
}

fuzz_target!(|input: (bool, u8, &[u8], &[u8])| {
    let (plain, size, content_type, body) = input;
    let content_type = if plain { &b"multipart/form-data; boundary=b"[..] } else { content_type };
    let Ok(content_type) = HeaderValue::from_bytes(content_type) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type);
    let whole = body.len().max(1);
    let found = [false, true].map(|strict| {
        let found = read(&headers, strict, body, whole);
        assert_eq!(read(&headers, strict, body, usize::from(size).max(1)), found, "strict: {strict}");
        found
    });
    if let [Some(Ok(lenient)), Some(Ok(strict))] = &found {
        assert_eq!(lenient, strict);
    }
});
