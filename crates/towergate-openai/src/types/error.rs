//! Errors as the API reports them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

object! {
    /// The body of an answer that is an error.
    pub struct ErrorResponse {
        required {
            /// The error.
            error: ApiError,
        }
        optional {}
    }
}

object! {
    /// What the API says went wrong.
    ///
    /// Its message may repeat a part of the prompt, or a masked key: it is there to be read, and is
    /// never part of an error's text here. [`Display`](fmt::Display) is the code, else the type.
    #[derive(Default)]
    pub struct ApiError {
        required {}
        optional {
            /// A sentence for people.
            message: String,
            /// The kind of error: `invalid_request_error`.
            kind as "type": String,
            /// The request's field that is at fault.
            param: Value,
            /// The error itself: `model_not_found`.
            code: ErrorCode,
        }
    }
}

/// An error's code: OpenAI's are names, other servers send numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ErrorCode {
    /// A name.
    Name(String),
    /// A number, often the status again.
    Number(Number),
    /// Anything else.
    Other(Value),
}

// === impl ApiError ===

impl ApiError {
    /// The code, where it is a name.
    #[must_use]
    pub fn code_name(&self) -> Option<&str> {
        match &self.code {
            Some(ErrorCode::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// Reads the body of an answer that is known to be an error, in every shape that servers of
    /// this protocol use: OpenAI's envelope, the same in an array (Gemini), an `error` that is a
    /// string (Ollama), or an object that is itself the error (Mistral). `None` where it is no JSON
    /// object.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        Self::from_value(serde_json::from_slice(body).ok()?)
    }

    /// As [`read`](Self::read).
    #[must_use]
    pub fn from_value(body: Value) -> Option<Self> {
        let mut body = match body {
            Value::Array(list) => list.into_iter().next()?,
            other => other,
        };
        let reported = body.get_mut("error").map(Value::take);
        match reported.filter(|error| !error.is_null()).unwrap_or(body) {
            Value::String(message) => Some(Self { message: Some(message), ..Self::default() }),
            error @ Value::Object(_) => serde_json::from_value(error).ok(),
            _ => None,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only what looks like an identifier: anything else may be somebody's text.
        let is_name = |name: &&str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            !name.is_empty() && name.len() <= 64 && name.bytes().all(plain)
        };
        let name = self.code_name().filter(is_name).or_else(|| self.kind.as_deref().filter(is_name));
        match (name, &self.code) {
            (Some(name), _) => f.write_str(name),
            (None, Some(ErrorCode::Number(number))) => write!(f, "code {number}"),
            (None, _) => f.write_str("unnamed error"),
        }
    }
}
