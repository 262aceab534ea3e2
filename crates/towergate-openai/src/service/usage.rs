//! Asks for usage in a stream whose client did not.

use std::sync::Arc;

use http::{
    Request,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};
use towergate_core::{Body, Facts, context::RequestRecord};

use crate::request::include_usage;

/// Puts `stream_options.include_usage` into a request for a stream of chat or completions; whether it did. The body that is
/// made for it takes the memory of the request; where there is no room it does without.
pub(super) fn ask(facts: Option<&Facts>, request: &mut Request<Body>) -> bool {
    let asks = facts.is_some_and(|facts| {
        facts.stream && !facts.include_usage && matches!(facts.route.name, "chat.completions" | "completions")
    });
    if !asks || request.headers().contains_key(CONTENT_ENCODING) {
        return false;
    }
    let Some(body) = request.body().as_bytes().and_then(include_usage) else { return false };
    let record = request.extensions().get::<Arc<RequestRecord>>();
    let reservation = record.and_then(|record| Some(record.reservation(record.memory()?)));
    let body = match reservation.map(|mut reservation| reservation.grow(body.len()).map(|()| reservation)) {
        Some(Ok(reservation)) => reservation.hold(body),
        Some(Err(_)) => return false,
        None => body,
    };
    if request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(CONTENT_LENGTH, body.len().into());
    }
    *request.body_mut() = body.into();
    true
}
