//! The endpoints: a request in, an answer without faults out.

mod audio;
mod chat;
mod completions;
mod echo;
mod embeddings;
mod files;
mod images;
mod models;
mod moderations;
mod multipart;
mod responses;
mod sse;

use bytes::Bytes;
use http::{Method, StatusCode, request::Parts};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use self::sse::Events;
use self::sse::{Event, Mark, Shape};
use crate::{fault::Fault, plan::Pieces, read::Upload, sim::Settings, text};

/// A request, with what the endpoints ask of it.
pub(crate) struct Ask<'a> {
    pub(crate) settings: &'a Settings,
    /// How long replies are.
    pub(crate) fault: &'a Fault,
    pub(crate) parts: &'a Parts,
    pub(crate) upload: &'a Upload,
    /// The body, where it is JSON.
    pub(crate) json: Value,
    /// From the body: what the reply is made of.
    pub(crate) seed: u64,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) content: Content,
}

/// The body of an answer.
pub(crate) enum Content {
    Whole(Bytes),
    /// Bytes of any kind, in blocks that are not collected.
    Blocks(Pieces),
    Events(Events),
}

/// A refusal, in OpenAI's envelope.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) kind: &'static str,
    pub(crate) code: Option<&'static str>,
    pub(crate) param: Option<&'static str>,
}

type Answered = Result<Answer, Refusal>;

/// The path below the base path: what follows the first `/v1`.
pub(crate) fn below_base(path: &str) -> &str {
    match path.split_once("/v1") {
        Some((_, rest)) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => path,
    }
}

/// Whether the body of this path is JSON, to be read whole.
pub(crate) fn is_json(parts: &Parts) -> bool {
    let path = below_base(parts.uri.path());
    let multipart = parts
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("multipart/"));
    parts.method == Method::POST
        && !multipart
        && matches!(
            path,
            "/chat/completions"
                | "/completions"
                | "/responses"
                | "/embeddings"
                | "/moderations"
                | "/audio/speech"
                | "/images/generations"
                | "/images/edits"
        )
}

/// The model that a request names, in JSON or in a form.
pub(crate) fn model<'a>(parts: &Parts, upload: &'a Upload, json: &'a Value) -> Option<&'a str> {
    let model = json.get("model").and_then(Value::as_str);
    model.or_else(|| multipart::Form::read(&parts.headers, &upload.body).text("model"))
}

/// Answers a request. The body, where it is JSON, is an object by now.
pub(crate) fn answer(ask: &Ask<'_>) -> Answered {
    let path = below_base(ask.parts.uri.path());
    if path == "/echo" || path.starts_with("/echo/") {
        return Ok(echo::answer(ask));
    }
    let method = &ask.parts.method;
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (method.as_str(), segments.as_slice()) {
        ("POST", ["chat", "completions"]) => chat::answer(ask),
        ("POST", ["completions"]) => completions::answer(ask),
        ("POST", ["responses"]) => responses::answer(ask),
        ("POST", ["embeddings"]) => embeddings::answer(ask),
        ("POST", ["moderations"]) => moderations::answer(ask),
        ("POST", ["audio", "speech"]) => audio::speech(ask),
        ("POST", ["audio", "transcriptions" | "translations"]) => audio::transcription(ask),
        ("POST", ["images", "generations" | "edits" | "variations"]) => images::answer(ask),
        ("GET" | "HEAD", ["models"]) => models::list(ask),
        ("GET" | "HEAD" | "DELETE", ["models", model]) => models::one(ask, model),
        ("GET" | "HEAD" | "POST", ["files"]) => files::collection(ask),
        ("GET" | "HEAD" | "DELETE", ["files", id]) => files::one(ask, id),
        ("GET" | "HEAD", ["files", id, "content"]) => Ok(files::content(ask, id)),
        (method, _) => Err(Refusal {
            status: StatusCode::NOT_FOUND,
            message: format!("Invalid URL ({method} {})", ask.parts.uri.path()),
            kind: "invalid_request_error",
            code: None,
            param: None,
        }),
    }
}

// === impl Ask ===

impl Ask<'_> {
    /// The model, which the endpoint requires.
    fn model(&self) -> Result<&str, Refusal> {
        let model = self.json.get("model").and_then(Value::as_str).filter(|model| !model.is_empty());
        let model = model.ok_or_else(|| Refusal::invalid("you must provide a model parameter", "model"))?;
        known(model)
    }

    /// A field that the endpoint requires.
    fn required(&self, name: &'static str) -> Result<&Value, Refusal> {
        self.json.get(name).filter(|value| !value.is_null()).ok_or_else(|| Refusal {
            code: Some("missing_required_parameter"),
            ..Refusal::invalid(format!("Missing required parameter: '{name}'."), name)
        })
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.json.get(name).and_then(Value::as_u64)
    }

    fn flag(&self, name: &str) -> bool {
        self.json.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.json.get(name).and_then(Value::as_str)
    }

    fn id(&self, prefix: &str, len: usize) -> String {
        text::id(prefix, self.seed, len)
    }
}

/// Models whose names begin with `unknown-` do not exist.
fn known(model: &str) -> Result<&str, Refusal> {
    if model.starts_with("unknown-") {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        let refusal = Refusal::invalid(message, "model");
        return Err(Refusal {
            status: StatusCode::NOT_FOUND,
            code: Some("model_not_found"),
            param: None,
            ..refusal
        });
    }
    Ok(model)
}

// === impl Answer ===

impl Answer {
    pub(crate) fn new(content_type: &'static str, content: Content) -> Self {
        Self { status: StatusCode::OK, content_type, content }
    }

    /// A JSON answer.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        // What is serialised here are our own values: maps with string keys.
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        Self::new("application/json", Content::Whole(bytes.into()))
    }

    fn events(events: Events) -> Self {
        Self::new("text/event-stream; charset=utf-8", Content::Events(events))
    }
}

// === impl Refusal ===

impl Refusal {
    /// A 400 for a parameter.
    pub(crate) fn invalid(message: impl Into<String>, param: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            kind: "invalid_request_error",
            code: None,
            param: Some(param),
        }
    }

    /// A 400 for the body as a whole.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self { param: None, ..Self::invalid(message, "") }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let envelope = json!({"error": {
            "message": refusal.message,
            "type": refusal.kind,
            "param": refusal.param,
            "code": refusal.code,
        }});
        Self { status: refusal.status, ..Self::json(&envelope) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_path_is_what_ends_in_v1() {
        assert_eq!(below_base("/v1/models"), "/models");
        assert_eq!(below_base("/openai/v1/models"), "/models");
        assert_eq!(below_base("/models"), "/models");
        assert_eq!(below_base("/v1beta/models"), "/v1beta/models");
        assert_eq!(below_base("/v1"), "");
    }
}
