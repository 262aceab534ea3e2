//! Upstreams' error bodies, and what their codes mean.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use towergate_core::{Class, stream::Failure};

use crate::json::{Fault, Reader, decode};

/// A longer error object is not kept as it is: only its message, cut, and its codes.
const OBJECT_CAP: usize = 16 * 1024;
/// Characters of a message that is kept in its place.
const MESSAGE_CAP: usize = 2048;

/// Codes, and types, that no waiting clears.
const QUOTA: [&str; 8] = [
    "billing_hard_limit_reached",
    "billing_not_active",
    "credit_balance_exhausted",
    "insufficient_quota",
    "organization_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "project_spend_limit_exceeded",
    "quota_exceeded",
];

/// Codes, and types, of a request that is longer than the model's context (the second is llama.cpp's).
const CONTEXT_LENGTH: [&str; 2] = ["context_length_exceeded", "exceed_context_size_error"];
/// What vLLM, which has no code for it, says then, in OpenAI's own words.
const TOO_LONG: &str = "maximum context length is";

/// Codes, and types, of a request that was refused for its content.
const CONTENT_POLICY: [&str; 4] =
    ["content_filter", "content_policy_violation", "moderation_blocked", "responsible_ai_policy_violation"];

/// An upstream's error, read tolerantly.
///
/// Understood are `{"error": {…}}`, `{"error": "text"}`, an array of those (Gemini), the fields at
/// the top level (Mistral, and the error event of Responses), a `code` that is a number (vLLM,
/// llama.cpp, OpenRouter), and white space in front (DeepSeek).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorBody {
    /// What happened, for people.
    pub message: Option<String>,
    /// `type`.
    pub kind: Option<String>,
    /// `code`; a number as text.
    pub code: Option<String>,
    /// `param`.
    pub param: Option<String>,
    /// The status that the body names, as `code` or as `status`.
    pub status: Option<StatusCode>,
}

// === impl ErrorBody ===

impl ErrorBody {
    /// Reads an error body; none where there is no error in it.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        if reader.peek() != Some(b'[') {
            return Self::parse_object(&mut reader);
        }
        let mut first = None;
        // A cut tail does not matter once the first element was read.
        let _ = reader.array(|element| {
            if first.is_none() {
                first = Self::parse_object(element);
                return Ok(());
            }
            element.skip().map(drop)
        });
        first
    }

    fn parse_object(reader: &mut Reader<'_>) -> Option<Self> {
        let (mut top, mut inner, mut is_error) = (Self::default(), None, false);
        let read = reader.object(|key, value| {
            match key {
                b"error" if value.peek() == Some(b'{') => {
                    let mut error = Self::default();
                    error.read_fields(value)?;
                    inner = Some(error);
                }
                b"error" => {
                    let value = value.skip()?;
                    if let Some(message) = decode(value).filter(|message| !message.is_empty()) {
                        inner = Some(Self { message: Some(message.into_owned()), ..Self::default() });
                    }
                }
                b"object" => is_error |= value.text()?.as_deref() == Some("error"),
                _ => top.read_field(key, value)?,
            }
            Ok(())
        });
        is_error |= top.kind.is_some() || top.code.is_some();
        if top.kind.as_deref() == Some("error") {
            top.kind = None;
        }
        match inner {
            Some(inner) => Some(Self { status: inner.status.or(top.status), ..inner }),
            None => (read.is_ok() && is_error && top.message.is_some()).then_some(top),
        }
    }

    fn read_fields(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        reader.object(|key, value| self.read_field(key, value)).map(drop)
    }

    fn read_field(&mut self, key: &[u8], value: &mut Reader<'_>) -> Result<(), Fault> {
        let value = value.skip()?;
        let text = || decode(value).map(Cow::into_owned);
        match key {
            b"message" => self.message = text(),
            b"type" => self.kind = text(),
            b"param" => self.param = text(),
            b"code" => {
                self.code = text().or_else(|| number(value).map(|code| code.to_string()));
                self.status = named_status(value).or(self.status);
            }
            b"status" | b"status_code" => self.status = self.status.or(named_status(value)),
            _ => {}
        }
        Ok(())
    }

    /// Whether it says that there is no credit or quota left.
    #[must_use]
    pub fn is_quota(&self) -> bool {
        self.labels().any(|label| QUOTA.contains(&label))
    }

    /// What a refusal means beyond its status.
    fn class(&self) -> Option<Class> {
        let is = |codes: &[&str]| self.labels().any(|label| codes.contains(&label));
        if self.is_quota() {
            Some(Class::QuotaExhausted)
        } else if is(&CONTEXT_LENGTH) || self.message.as_deref().is_some_and(|text| text.contains(TOO_LONG)) {
            Some(Class::ContextLength)
        } else if is(&CONTENT_POLICY) {
            Some(Class::ContentPolicy)
        } else {
            None
        }
    }

    /// The status it would have had as an answer of its own: the one it names, else by its code and
    /// type; 500 where neither is known.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status.or_else(|| self.labels().find_map(status_of)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code, then the type.
    fn labels(&self) -> impl Iterator<Item = &str> {
        self.code.as_deref().into_iter().chain(self.kind.as_deref())
    }

    fn to_envelope(&self) -> Bytes {
        let message = self.message.as_deref().unwrap_or("the upstream reported an error without a message");
        let message: String = message.chars().take(MESSAGE_CAP).collect();
        let envelope = json!({
            "error": { "message": message, "type": self.kind, "param": self.param, "code": self.code }
        });
        envelope.to_string().into()
    }
}

/// What an upstream's answer means, by its status and, where there is a body, by its code.
#[must_use]
pub fn classify(status: StatusCode, body: Option<&[u8]>) -> Class {
    match status.as_u16() {
        402 => Class::QuotaExhausted,
        // Groq: no capacity in the flex tier.
        498 => Class::RateLimited,
        401 => Class::AuthRefused,
        400..500 => {
            let error = body.and_then(ErrorBody::parse);
            error.and_then(|error| error.class()).unwrap_or_else(|| Class::of_status(status))
        }
        _ => Class::of_status(status),
    }
}

/// An error that came inside an answer, as the failure it is. `data` is the event, or the document,
/// that it stands in; for `response.failed` the response in it.
pub(crate) fn failure(data: &[u8]) -> Failure {
    let error = ErrorBody::parse(data).unwrap_or_default();
    let status = error.status();
    let body = error_object(data)
        .map_or_else(|| error.to_envelope(), |object| [b"{\"error\":", object, b"}"].concat().into());
    Failure { class: classify(status, Some(&body)), status, body }
}

/// The error object as the upstream wrote it.
fn error_object(data: &[u8]) -> Option<&[u8]> {
    let mut object = None;
    Reader::new(data)
        .object(|key, value| {
            let is_object = value.peek() == Some(b'{');
            let value = value.skip()?;
            if key == b"error" && is_object && value.len() <= OBJECT_CAP {
                object = Some(value);
            }
            Ok(())
        })
        .ok()?;
    object
}

fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn named_status(value: &[u8]) -> Option<StatusCode> {
    let text = decode(value);
    let number = text.map_or_else(|| number(value), |text| text.parse().ok())?;
    let number = u16::try_from(number).ok().filter(|number| (400..600).contains(number))?;
    StatusCode::from_u16(number).ok()
}

fn status_of(label: &str) -> Option<StatusCode> {
    let status = match label {
        _ if QUOTA.contains(&label) => StatusCode::TOO_MANY_REQUESTS,
        "rate_limit_exceeded" | "rate_limit_error" | "slow_down" | "tokens" | "requests" => {
            StatusCode::TOO_MANY_REQUESTS
        }
        "server_is_overloaded"
        | "overloaded"
        | "overloaded_error"
        | "engine_overloaded"
        | "service_unavailable"
        | "service_unavailable_error"
        | "unavailable_error" => StatusCode::SERVICE_UNAVAILABLE,
        "server_error" | "internal_error" | "internal_server_error" | "api_error" => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        "timeout" | "timeout_error" | "vector_store_timeout" => StatusCode::GATEWAY_TIMEOUT,
        "invalid_api_key" | "authentication_error" => StatusCode::UNAUTHORIZED,
        "permission_error" | "request_forbidden" | "unsupported_country_region_territory" => {
            StatusCode::FORBIDDEN
        }
        "model_not_found" | "not_found_error" => StatusCode::NOT_FOUND,
        "context_length_exceeded"
        | "content_policy_violation"
        | "content_filter"
        | "bio_policy"
        | "moderation_blocked"
        | "data_residency_mismatch"
        | "empty_image_file"
        | "failed_to_download_image" => StatusCode::BAD_REQUEST,
        _ if ["invalid_", "unsupported_", "image_", "string_above_", "integer_"]
            .iter()
            .any(|prefix| label.starts_with(prefix)) =>
        {
            StatusCode::BAD_REQUEST
        }
        _ => return None,
    };
    Some(status)
}
