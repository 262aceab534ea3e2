//! What can be told from the head of an answer alone.

use http::{StatusCode, response::Parts};
use towergate_core::{
    Error, ErrorKind, Facts, Phase, Sent,
    context::Answered,
    headers::{is_event_stream, media_type},
    route::Reads,
};

/// An answer that is none. It was sent for all the same, and may be billed.
pub(super) fn bad_answer(parts: &Parts, message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    name_provider(parts, Error::new(ErrorKind::BadAnswer, message).with_phase(Phase::Body))
        .with_sent(Sent::Unknown)
}

/// Names the provider that answered.
pub(super) fn name_provider(parts: &Parts, error: Error) -> Error {
    match parts.extensions.get::<Answered>() {
        Some(answered) => error.with_provider(answered.provider.clone()),
        None => error,
    }
}

/// Whether a route answers with a document or with events, and with nothing else.
pub(super) fn expects_answer(facts: Option<&Facts>) -> bool {
    facts.is_some_and(|facts| facts.route.holds_answer || facts.stream)
}

/// Refuses a 200 whose content type no answer on that route has: the page of a proxy on the way, or
/// of a wrong base URL. An answer without a content type passes.
///
/// HTML never is an answer. Other types are refused only where the request was JSON, and so its
/// answer is too: an upload may ask for plain text.
pub(super) fn check_content_type(parts: &Parts, facts: Option<&Facts>) -> Result<(), Error> {
    if parts.status != StatusCode::OK || !expects_answer(facts) {
        return Ok(());
    }
    let media_type = media_type(&parts.headers).to_ascii_lowercase();
    let json_only = facts.is_some_and(|facts| facts.route.holds_answer && facts.route.reads == Reads::Json);
    let no_json = !media_type.contains("json") && !is_event_stream(&media_type);
    if media_type.is_empty() || !(media_type.contains("html") || json_only && no_json) {
        return Ok(());
    }
    // It came over the network, and is cut short; a header value holds no control characters.
    let shown: String = media_type.chars().take(80).collect();
    Err(bad_answer(parts, format!("the upstream answered 200 with the content type {shown:?}")))
}
