//! The error envelope, in both directions.
//!
//! Written for errors of ours, always with all four keys of OpenAI's specification:
//! `{"error":{"message":…,"type":…,"param":…,"code":…}}`. `type` is `invalid_request_error` where
//! the client is at fault (a 4xx but 429), else `gateway_error`; `code` is [`Error::code`]. OpenAI's SDKs
//! choose their exception by the status, not by these.
//!
//! Inside a stream the same object stands in one event, in the shape of that API, so that
//! openai-python (a true `error`), -node (that, or `event: error`) and -go (any `error`) all raise.
//!
//! Read from upstreams, whose envelopes differ: see [`ErrorBody`]; and for what their codes mean,
//! [`classify`].
//!
//! ```
//! use towergate_core::{Error, ErrorKind};
//! use towergate_openai::envelope;
//!
//! let error = Error::new(ErrorKind::Connect, "the connection was refused");
//! assert_eq!(
//!     envelope::body(&error),
//!     concat!(
//!         r#"{"error":{"message":"the connection was refused","type":"gateway_error","#,
//!         r#""param":null,"code":"upstream_connect_failed"}}"#,
//!     ),
//! );
//! ```

mod upstream;

use bytes::Bytes;
use serde::Serialize;
use towergate_core::{Error, ErrorKind, Origin, Route};

pub(crate) use self::upstream::failure;
pub use self::upstream::{ErrorBody, classify};
use crate::api::Api;

/// The body of an answer that reports an error of ours: JSON.
#[must_use]
pub fn body(error: &Error) -> Bytes {
    write(&Envelope { error: &Object::of(error) })
}

/// One event, with its blank line, that reports an error of ours in the shape of a route's stream.
///
/// Responses get the flat error event of their specification, with the nested object that is seen
/// on the wire in it; the others `{"error": …}`, as `event: error` where their events have names.
#[must_use]
pub fn event(route: Option<&Route>, error: &Error) -> Bytes {
    let object = Object::of(error);
    let (named, data) = match route.map_or(Api::Other, Api::of) {
        Api::Responses => (true, write(&ResponsesEvent::of(&object))),
        Api::Images | Api::Speech | Api::Transcription => {
            (true, write(&TypedEvent { kind: "error", error: &object }))
        }
        Api::Assistants => (true, write(&Envelope { error: &object })),
        Api::Chat | Api::Completions | Api::Vectors | Api::Other => {
            (false, write(&Envelope { error: &object }))
        }
    };
    let name: &[u8] = if named { b"event: error\n" } else { b"" };
    [name, b"data: ", &data, b"\n\n"].concat().into()
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a Object<'a>,
}

#[derive(Serialize)]
struct TypedEvent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: &'a Object<'a>,
}

#[derive(Serialize)]
struct ResponsesEvent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
    /// Required by the specification. The stream is over, so that nothing can be resumed after it.
    sequence_number: u64,
    error: &'a Object<'a>,
}

#[derive(Serialize)]
struct Object<'a> {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: &'a str,
}

impl<'a> Object<'a> {
    fn of(error: &'a Error) -> Self {
        // A client that had not the patience to wait, or has to wait for its other requests, made no wrong request:
        // LiteLLM, which goes by the type, would report a 504 or a 429 as one.
        let invalid = error.origin() == Origin::Client
            && error.kind().status().is_client_error()
            && error.kind() != ErrorKind::TooManyRequests;
        let kind = if invalid { "invalid_request_error" } else { "gateway_error" };
        Self { message: error.to_string(), kind, param: error.param(), code: error.code() }
    }
}

impl<'a> ResponsesEvent<'a> {
    fn of(object: &'a Object<'a>) -> Self {
        Self {
            kind: "error",
            code: object.code,
            message: &object.message,
            param: object.param,
            sequence_number: 0,
            error: object,
        }
    }
}

/// Strings and numbers always serialise.
fn write(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}

#[cfg(test)]
mod tests;
