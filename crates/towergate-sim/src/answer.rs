//! From an answer and a fault to a response: status, header and body.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{ALT_SVC, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, SET_COOKIE, STRICT_TRANSPORT_SECURITY},
};
use serde_json::json;
use towergate_core::headers::X_REQUEST_ID;

use crate::{
    api::{Answer, Content},
    fault::{ErrorBody, Fault, Replaced},
    io::Connection,
    plan::{Filling, Piece, PlanBody},
    sim::Settings,
    text,
};

const HTML: &str =
    "<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>\n";

/// What OpenAI sends beside the answer. Some of it is there to be stripped by a gateway.
const USUAL: [(HeaderName, &str); 13] = [
    (ALT_SVC, "h3=\":443\"; ma=86400"),
    (SET_COOKIE, "__cf_bm=simulated; path=/; HttpOnly; Secure; SameSite=None"),
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains; preload"),
    (HeaderName::from_static("cf-cache-status"), "DYNAMIC"),
    (HeaderName::from_static("openai-organization"), "sim-org"),
    (HeaderName::from_static("openai-processing-ms"), "42"),
    (HeaderName::from_static("openai-version"), "2020-10-01"),
    (HeaderName::from_static("x-ratelimit-limit-requests"), "10000"),
    (HeaderName::from_static("x-ratelimit-limit-tokens"), "2000000"),
    (HeaderName::from_static("x-ratelimit-remaining-requests"), "9999"),
    (HeaderName::from_static("x-ratelimit-remaining-tokens"), "1999900"),
    (HeaderName::from_static("x-ratelimit-reset-requests"), "6ms"),
    (HeaderName::from_static("x-ratelimit-reset-tokens"), "3ms"),
];

/// The `type` that goes with a code.
pub(crate) fn kind_of(code: &str) -> &'static str {
    match code {
        "insufficient_quota"
        | "credit_balance_exhausted"
        | "organization_spend_limit_exceeded"
        | "project_spend_limit_exceeded"
        | "organization_usage_limit_exceeded"
        | "billing_hard_limit_reached" => "insufficient_quota",
        "rate_limit_exceeded" => "requests",
        "slow_down" => "rate_limit_error",
        "server_is_overloaded" => "service_unavailable_error",
        "context_length_exceeded" | "content_policy_violation" | "invalid_api_key" | "model_not_found" => {
            "invalid_request_error"
        }
        _ => "server_error",
    }
}

/// The answer with a fault's status. A 2xx answers as usual, but for the status.
pub(crate) fn of_status(fault: &Fault, status: StatusCode) -> Answer {
    let content_type = if fault.error_body == ErrorBody::Html { "text/html" } else { "application/json" };
    let content = if status.is_redirection() || fault.error_body == ErrorBody::Empty {
        Bytes::new()
    } else {
        error_body(fault, status)
    };
    Answer { status, ..Answer::new(content_type, Content::Whole(content)) }
}

fn error_body(fault: &Fault, status: StatusCode) -> Bytes {
    let code = fault.code.as_deref().or(match status.as_u16() {
        401 => Some("invalid_api_key"),
        404 => Some("model_not_found"),
        429 => Some("rate_limit_exceeded"),
        503 => Some("server_is_overloaded"),
        _ => None,
    });
    let kind = fault.kind.as_deref().unwrap_or_else(|| match code {
        Some(code) => kind_of(code),
        None if status.is_client_error() => "invalid_request_error",
        None => "server_error",
    });
    let message = fault.message.clone().unwrap_or_else(|| format!("The simulated server answers {status}."));
    let error = json!({"message": message, "type": kind, "param": null, "code": code});
    let body = match fault.error_body {
        ErrorBody::Envelope => json!({ "error": error }),
        ErrorBody::Array => json!([{ "error": error }]),
        ErrorBody::Flat => json!({
            "object": "error", "message": message, "type": kind, "param": null, "code": code,
        }),
        ErrorBody::IntCode => {
            json!({"error": {"message": message, "type": kind, "param": null, "code": status.as_u16()}})
        }
        ErrorBody::Text => json!({ "error": message }),
        ErrorBody::Html => return Bytes::from_static(HTML.as_bytes()),
        ErrorBody::Empty => return Bytes::new(),
    };
    body.to_string().into()
}

/// Makes the response, with what the fault does to it.
pub(crate) fn respond(
    mut answer: Answer,
    fault: Fault,
    settings: &Settings,
    method: &Method,
    number: u64,
    connection: Option<Connection>,
) -> Response<PlanBody> {
    match fault.replaced {
        Some(Replaced::Empty) => answer.content = Content::Whole(Bytes::new()),
        Some(Replaced::Html) => {
            answer.content_type = "text/html";
            answer.content = Content::Whole(Bytes::from_static(HTML.as_bytes()));
        }
        None => {}
    }
    if fault.wrong_content_type {
        answer.content_type = "text/plain";
    }
    let mut headers = headers(number, &answer);
    if fault.gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    for (name, value) in &fault.headers {
        headers.insert(name, value.clone());
    }
    let bodiless =
        *method == Method::HEAD || matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let body = if bodiless {
        PlanBody::new(Box::new(std::iter::empty()), Fault::new(), None).with_length(0)
    } else {
        body(answer.content, fault, settings, connection)
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = headers;
    response
}

fn body(content: Content, fault: Fault, settings: &Settings, connection: Option<Connection>) -> PlanBody {
    match content {
        Content::Whole(bytes) => {
            let length = bytes.len() as u64;
            let (first, second) = (bytes.slice(..bytes.len() / 2), bytes.slice(bytes.len() / 2..));
            let fill = fault.bytes.map_or(0, |size| size.saturating_sub(length));
            let rest = Piece { fill, filling: Filling::Spaces, ..Piece::new(second) };
            // An empty first half would be no piece.
            let pieces = [first].into_iter().filter(|half| !half.is_empty()).map(Piece::new).chain([rest]);
            PlanBody::new(Box::new(pieces), fault, connection).with_length(length).with_comment("\n")
        }
        Content::Blocks(pieces) => PlanBody::new(pieces, fault, connection),
        Content::Events(events) => {
            let pieces = Box::new(events.render(&fault));
            PlanBody::new(pieces, fault, connection)
                .with_comment(": keep-alive\n\n")
                .with_delay(settings.token_delay)
        }
    }
}

fn headers(number: u64, answer: &Answer) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in USUAL {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if matches!(answer.content, Content::Events(_)) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    if let Ok(id) = text::id("req_", number, 32).parse() {
        headers.insert(X_REQUEST_ID, id);
    }
    headers
}
