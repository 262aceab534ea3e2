//! A provider of one's own beside OpenAI: it answers in process, and takes over while OpenAI does not answer.

use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::service_fn;
use towergate::{
    Availability, Body, BuildError, Candidate, Gateway, HealthCheck, OpenAiProvider, Provider,
    ProviderService, Registry, Routing, ServiceProvider,
    core::{BoxError, label::Label},
};

/// A model that says that the others are away. Whatever speaks the API can stand here: a model that runs in
/// this process, a cache, a queue.
///
/// [`ServiceProvider`] puts the usual layers around a service: retries, clocks, breaker, metrics. It would do alone; a
/// type of one's own can say more of itself, here that it never fails a health check.
#[derive(Debug)]
pub struct Offline(ServiceProvider);

impl Offline {
    /// Answers with this text.
    pub fn new(text: &'static str) -> Self {
        Self(ServiceProvider::new("offline", service_fn(move |request| answer(text, request))))
    }
}

impl Provider for Offline {
    fn name(&self) -> &Label {
        self.0.name()
    }

    fn service(&self) -> ProviderService {
        self.0.service()
    }

    fn health_check(&self) -> HealthCheck {
        self.0.health_check()
    }

    /// It cannot be away.
    fn availability(&self, _: Option<&str>) -> Availability {
        Availability::Ready
    }
}

/// OpenAI first, and the other one where it does not answer.
///
/// # Errors
///
/// What [`OpenAiProvider::from_env`] finds wrong with the environment.
pub async fn gateway() -> Result<Gateway, BuildError> {
    let mut registry = Registry::new();
    registry.register("openai", OpenAiProvider::from_env().await?.build()?);
    registry.register("offline", Offline::new("The models are away. Please come again later."));
    let routing = Routing::new(registry).candidate("offline", Candidate::new().priority(2));
    Gateway::builder().routing(routing).build()
}

/// The API, as far as this model goes. The path is the one that the client used.
async fn answer(text: &str, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/v1/models") => {
            let model = json!({"id": "offline", "object": "model", "created": 0, "owned_by": "me"});
            Ok(json_answer(StatusCode::OK, &json!({"object": "list", "data": [model]})))
        }
        (&Method::POST, "/v1/chat/completions") => {
            let asked: Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes())?;
            Ok(if asked["stream"] == true { streamed(text) } else { whole(text) })
        }
        _ => {
            let error = json!({"message": "this provider has chat completions only", "type": "invalid_request_error"});
            Ok(json_answer(StatusCode::NOT_FOUND, &json!({"error": error})))
        }
    }
}

fn whole(text: &str) -> Response<Body> {
    let message = json!({"role": "assistant", "content": text});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let completion = json!({
        "id": "chatcmpl-offline", "object": "chat.completion", "created": 0, "model": "offline", "choices": [choice],
    });
    json_answer(StatusCode::OK, &completion)
}

fn streamed(text: &str) -> Response<Body> {
    let chunk = |delta: Value, finish_reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
        let chunk = json!({
            "id": "chatcmpl-offline", "object": "chat.completion.chunk", "created": 0, "model": "offline",
            "choices": [choice],
        });
        format!("data: {chunk}\n\n")
    };
    let content = chunk(json!({"role": "assistant", "content": text}), Value::Null);
    let events = content + &chunk(json!({}), "stop".into()) + "data: [DONE]\n\n";
    of_type("text/event-stream", events)
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = of_type("application/json", body.to_string());
    *response.status_mut() = status;
    response
}

fn of_type(content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
