//! The body that reads an answer as it passes, and publishes what it saw.
//!
//! It stands at the bottom of the stack, around the body that hyper gave: [`read_answer`]. The
//! layers above look at the [`StreamState`] it keeps in the response's extensions, and read no byte
//! themselves.
//!
//! # What is read
//!
//! | answer (2xx, not compressed) | [`AnswerKind`] | how |
//! |---|---|---|
//! | `text/event-stream` | `Events` | event by event; of an unknown route only counted |
//! | JSON, on a route whose answers are held; and whatever else comes where a model must answer in JSON | `Json` | checked to its end, nothing kept but usage and error |
//! | JSON of images and transcriptions | `Opaque` | as JSON, but passed on as it comes |
//! | all else | – | not at all |
//!
//! Bytes pass as they came, in the frames that they came in. What is held back is the unfinished
//! event at the end of a frame, up to [`EVENT_CAP`](crate::sse::EVENT_CAP): so nothing can be put
//! inside an event, and a malformed one can be left out. A longer event flows on.
//!
//! # What is changed
//!
//! * An event whose JSON is malformed is left out and counted ([`Malformed`] is the setting).
//! * A `[DONE]` that is missing where the answer is complete is supplied.
//! * An event that is whole, but for its blank line at the end of the stream, gets it.
//! * Usage that only the gateway asked for is taken out.
//! * A secret that went upstream ([`StreamState::redaction`]) is masked, at its length, in an error event, in one whose
//!   name ends in `.failed`, in a malformed one that passes, in one that is too long for it to be known in time whether
//!   it is an error, and in a JSON document from the frame on in which a top-level `error` begins that is not null.
//!   Nowhere else.
//!
//! A `Content-Length` of a stream that is read is therefore taken off.
//!
//! # How it ends
//!
//! * **Complete** (a `finish_reason` of every choice, of as many as the request asked for, unless
//!   `[DONE]` comes before; a terminal event, of a run its last state): the body ends. Where
//!   `[DONE]` or the terminal event of Responses, speech or a transcription has come, the upstream has [`AFTER_END`] to
//!   end the body, so that its connection can be used again; after a `finish_reason`, or the last state of a run, it has
//!   [`AFTER_FINISH`] to send usage and `[DONE]`. An upstream that just stays silent then keeps no client waiting.
//! * Of an event that is longer than [`EVENT_CAP`](crate::sse::EVENT_CAP) and comes in pieces only the beginning is
//!   read: where its choice may have finished behind that, `[DONE]` says whether it has.
//! * **Cut**: the stream ends before that, with or without `[DONE]`, or the document ends too early:
//!   [`ErrorKind::Truncated`]. The body inside failed: its own error, else
//!   [`ErrorKind::Connection`].
//! * **An error event** (also `response.failed`): published as the
//!   [`Failure`](towergate_core::stream::Failure); the event passes, and the body ends with an error
//!   that [is signalled](Error::is_signalled). Nothing follows, no `[DONE]` either.
//! * **Nothing but comments**: more than [`MAX_COMMENTS`] bytes of them without an event that has data
//!   are [`ErrorKind::BadAnswer`], as no clock would see that such a stream is silent.
//! * **No answer**: a document that is not JSON, or empty, is [`ErrorKind::BadAnswer`]; one with an
//!   `error` in it, where a model should have answered, is a failure, and passes.
//! * **Dropped**: the body inside is dropped with it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use bytes::Bytes;
//! use http::{Method, Response};
//! use http_body_util::BodyExt as _;
//! use towergate_core::{Body, StreamState, protocol::ReadRequest as _};
//! use towergate_openai::{answer, protocol::OpenAiProtocol, routes};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let route = routes::find(&Method::POST, "/chat/completions");
//! let request = Bytes::from(r#"{"model":"gpt-4o","stream":true}"#);
//! let facts = OpenAiProtocol::new().read(route, &request)?;
//!
//! let event = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
//! let upstream = Response::builder().header("content-type", "text/event-stream").body(())?;
//! let (mut parts, ()) = upstream.into_parts();
//! let settings = answer::AnswerSettings::default();
//! let body = answer::read_answer(Some(&facts), &settings, false, &mut parts, Body::from(event));
//!
//! let state = parts.extensions.get::<Arc<StreamState>>().cloned().unwrap_or_else(|| unreachable!());
//! assert_eq!(body.collect().await?.to_bytes(), format!("{event}data: [DONE]\n\n"));
//! assert!(state.is_complete());
//! # Ok(())
//! # }
//! ```

mod document;
mod events;
mod judge;
mod pieces;
mod strip;
mod usage;

use std::{sync::Arc, time::Duration};

use http::{StatusCode, header::CONTENT_LENGTH, response::Parts};
use towergate_core::{
    Body, BoxError, Error, ErrorKind, Facts, Phase, Sent, StreamState, context::Answered, headers,
    label::Label, stream::AnswerKind,
};

use self::{document::DocumentBody, events::EventsBody};
use crate::{api::Api, routes};

/// How long an upstream may keep a stream open after its end (`[DONE]`, or the terminal event of
/// Responses, speech or a transcription). Less, and its connection would often be closed for want of the last chunk.
pub const AFTER_END: Duration = Duration::from_millis(250);

/// How long a stream of chat may be silent after its last `finish_reason`, before usage or `[DONE]`; and one of a run after
/// its last state.
pub const AFTER_FINISH: Duration = Duration::from_secs(2);

/// How many bytes of comments, and of other events without data, may stand between two that have some: as
/// many as a comment each second makes in ten hours.
pub const MAX_COMMENTS: u64 = 1024 * 1024;

/// How answers are read.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AnswerSettings {
    /// What is done with an event whose JSON is malformed. Default: left out.
    pub malformed: Malformed,
}

/// What is done with an event whose JSON is malformed, amid good ones. It is counted either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Malformed {
    /// It is left out.
    #[default]
    Drop,
    /// It passes as it is. Most SDKs fail on it.
    Pass,
    /// The stream ends there, as [`ErrorKind::BadAnswer`].
    Fail,
}

/// Whether the answer to a request will be read, and so must not come compressed: whether to ask
/// for `Accept-Encoding: identity`.
#[must_use]
pub fn is_read(facts: Option<&Facts>) -> bool {
    facts.is_some_and(|facts| facts.route.holds_answer || facts.route.generates)
}

/// Wraps the body of an upstream's answer in its reader, where it is to be read, and inserts the
/// `Arc<StreamState>` into the extensions. With `strips_usage` the client did not ask for a usage that the
/// request asked for all the same: it is read, and taken out of the stream.
///
/// After the end of a stream that the upstream keeps open, the body needs tokio's timer.
#[must_use]
pub fn read_answer(
    facts: Option<&Facts>,
    settings: &AnswerSettings,
    strips_usage: bool,
    parts: &mut Parts,
    body: Body,
) -> Body {
    let provider = Provider(parts.extensions.get().map(|Answered { provider }| provider.clone()));
    match plan(facts, parts) {
        None => body,
        Some(Plan::Events(api)) => {
            let state = publish(parts, AnswerKind::Events);
            if api != Api::Other {
                parts.headers.remove(CONTENT_LENGTH);
            }
            let choices = facts.map_or(1, |facts| facts.choices);
            Body::new(EventsBody::new(body, api, choices, settings.malformed, strips_usage, state, provider))
        }
        Some(Plan::Document { api, kind, strict }) => {
            let state = publish(parts, kind);
            Body::new(DocumentBody::new(body, api, strict, state, provider))
        }
    }
}

/// How an answer is read.
enum Plan {
    Events(Api),
    Document {
        api: Api,
        kind: AnswerKind,
        /// It must be JSON, and an `error` in it makes it one.
        strict: bool,
    },
}

fn plan(facts: Option<&Facts>, parts: &Parts) -> Option<Plan> {
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::PARTIAL_CONTENT];
    if !parts.status.is_success() || bodiless.contains(&parts.status) || headers::is_encoded(&parts.headers) {
        return None;
    }
    let route = facts.map(|facts| facts.route);
    let api = route.map_or(Api::Other, Api::of);
    let media_type = headers::media_type(&parts.headers);
    if headers::is_event_stream(media_type) {
        return Some(Plan::Events(api));
    }
    let route = route.filter(|route| **route != *routes::OTHER)?;
    let strict = route.holds_answer && (route.generates || api == Api::Vectors);
    match (headers::is_json(media_type), route.holds_answer) {
        (_, true) if strict => Some(Plan::Document { api, kind: AnswerKind::Json, strict }),
        (true, true) => Some(Plan::Document { api, kind: AnswerKind::Json, strict }),
        (true, false) if route.generates => Some(Plan::Document { api, kind: AnswerKind::Opaque, strict }),
        _ => None,
    }
}

fn publish(parts: &mut Parts, kind: AnswerKind) -> Arc<StreamState> {
    let state = Arc::new(StreamState::new(kind));
    parts.extensions.insert(Arc::clone(&state));
    state
}

/// Who answers: named in the errors, where the leaf said it.
#[derive(Clone)]
struct Provider(Option<Label>);

impl Provider {
    /// An error in the body of an answer; what was sent has been worked on.
    fn in_body(&self, kind: ErrorKind, message: &'static str) -> Error {
        let error = Error::new(kind, message).with_phase(Phase::Body).with_sent(Sent::Unknown);
        match &self.0 {
            Some(provider) => error.with_provider(provider.clone()),
            None => error,
        }
    }

    /// The error of the body inside: ours where it is one, else a broken connection.
    fn broken(&self, error: BoxError) -> BoxError {
        if Error::find(&*error).is_some() {
            return error;
        }
        let message = "the connection to the upstream broke inside the answer";
        self.in_body(ErrorKind::Connection, message).with_source(error).into()
    }
}

#[cfg(test)]
mod tests;
