//! The typed client: [`Client`], over any service that takes HTTP requests.
//!
//! It stands at the top of a stack: over the gateway, over the leaf alone, or over a stack of one's
//! own. The service knows where the API is and how to authenticate; the client asks for
//! `/v1/chat/completions` and its like, and nothing else of the service is its business.
//!
//! - Writes: the path, `content-type`, `accept`, the JSON body, `x-request-id` and the headers of
//!   [`CallOptions`].
//! - Reads: the status, `content-type`, `x-request-id`, `retry-after-ms` and `Retry-After` (in
//!   seconds), the body.
//! - It neither retries nor authenticates: layers do.
//! - Success: a value of [`types`](crate::types), or a [`ChatStream`] of them.
//! - Error: a [`ClientError`]. An error inside an answer of status 200 is one too.
//! - Dropping a call's future, or its stream, drops the request.
//!
//! The futures own what they need: they can be spawned, and are `Send` where the service, its
//! future and its body are. A call is under way, for [`close`](Client::close), from the moment it is
//! made until its future or stream is gone. Timeouts and the end of streams need tokio's timer.
//!
//! ```
//! use http::{Request, Response};
//! use towergate_core::Body;
//! use towergate_openai::{client::Client, types::ChatRequest};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Any service will do; this one stands for a gateway.
//! let service = tower::service_fn(|request: Request<Body>| async move {
//!     assert_eq!(request.uri().path(), "/v1/chat/completions");
//!     let answer = r#"{"id": "chatcmpl-1", "choices": [
//!         {"index": 0, "message": {"role": "assistant", "content": "Paris."}, "finish_reason": "stop"}
//!     ]}"#;
//!     Ok::<_, std::convert::Infallible>(Response::new(Body::from(answer)))
//! });
//!
//! let client = Client::new(service);
//! let request = ChatRequest::new("gpt-4o-mini").user("What is the capital of France?");
//! let answer = client.chat_completion(&request).await?;
//! assert_eq!(answer.text(), Some("Paris."));
//! # Ok(())
//! # }
//! ```

/// Runs the examples of the page about the client.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/client.md")]
struct Page;

mod answer;
mod error;
mod gate;
mod health;
mod options;
mod stream;

#[cfg(test)]
mod tests;

use std::{
    any::type_name,
    borrow::Cow,
    fmt,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;
use tower_service::Service;
use towergate_core::{Body, BoxError};

use self::{
    answer::{read_json, send, within},
    gate::Gate,
};
pub use self::{
    error::{ClientError, StreamFault},
    health::Health,
    options::CallOptions,
    stream::ChatStream,
};
use crate::types::{ChatRequest, ChatResponse, EmbeddingsRequest, EmbeddingsResponse, ModelList};

const CHAT: &str = "/v1/chat/completions";
const EMBEDDINGS: &str = "/v1/embeddings";
const MODELS: &str = "/v1/models";

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// A typed client of the OpenAI API. See the [module](self).
///
/// Clones share the service, as its own clones do, and [`close`](Self::close).
#[derive(Clone)]
pub struct Client<S> {
    service: S,
    gate: Gate,
    answer_limit: usize,
    event_limit: usize,
}

// === impl Client ===

impl<S> Client<S> {
    /// The largest answer that is read unless [`with_answer_limit`](Self::with_answer_limit) says
    /// otherwise: 64 MiB.
    pub const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

    /// The largest event of a stream that is read unless
    /// [`with_event_limit`](Self::with_event_limit) says otherwise: 16 MiB.
    pub const EVENT_LIMIT: usize = 16 * 1024 * 1024;

    /// How long [`health_check`](Self::health_check) waits unless its options say otherwise: 10 s.
    pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);

    /// A client over a service.
    pub fn new(service: S) -> Self {
        Self { service, gate: Gate::new(), answer_limit: Self::ANSWER_LIMIT, event_limit: Self::EVENT_LIMIT }
    }

    /// Sets the largest answer that is read, in bytes; streams as a whole have no limit.
    #[must_use]
    pub fn with_answer_limit(mut self, bytes: usize) -> Self {
        self.answer_limit = bytes;
        self
    }

    /// Sets the largest event of a stream that is read, in bytes.
    #[must_use]
    pub fn with_event_limit(mut self, bytes: usize) -> Self {
        self.event_limit = bytes;
        self
    }

    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.service
    }

    /// Refuses every new call, of all clones, with [`ClientError::Closed`], at once; the future
    /// resolves when what is under way has ended, streams included. Never cuts anything: give it a
    /// time limit where there is one. It may be called more than once.
    pub fn close(&self) -> impl Future<Output = ()> + Send + use<S> {
        self.gate.close();
        self.gate.clone().idle()
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }
}

/// The calls. Each has a form with options.
impl<S, B> Client<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Asks for a chat completion, whole: `stream` is left out of the request if it is set.
    ///
    /// # Errors
    ///
    /// Any [`ClientError`] but [`Stream`](ClientError::Stream).
    pub fn chat_completion(
        &self,
        request: &ChatRequest,
    ) -> impl Future<Output = Result<ChatResponse, ClientError>> + use<S, B> {
        self.chat_completion_with(request, &CallOptions::default())
    }

    /// As [`chat_completion`](Self::chat_completion).
    pub fn chat_completion_with(
        &self,
        request: &ChatRequest,
        options: &CallOptions,
    ) -> impl Future<Output = Result<ChatResponse, ClientError>> + use<S, B> {
        let request = post(CHAT, JSON, as_streamed(request, false).as_ref(), options);
        self.document(request, options.timeout_or(None), "chat completion")
    }

    /// Asks for a chat completion, streamed: `stream` is set in the request. Usage comes in the last
    /// chunk where [`include_usage`](ChatRequest::include_usage) asks for it.
    ///
    /// # Errors
    ///
    /// Any [`ClientError`]; those of the stream itself come as its items.
    pub fn chat_completion_stream(
        &self,
        request: &ChatRequest,
    ) -> impl Future<Output = Result<ChatStream<B>, ClientError>> + use<S, B> {
        self.chat_completion_stream_with(request, &CallOptions::default())
    }

    /// As [`chat_completion_stream`](Self::chat_completion_stream). The timeout ends with the head:
    /// a stream that flows is not cut by it.
    pub fn chat_completion_stream_with(
        &self,
        request: &ChatRequest,
        options: &CallOptions,
    ) -> impl Future<Output = Result<ChatStream<B>, ClientError>> + use<S, B> {
        let request = post(CHAT, EVENTS, as_streamed(request, true).as_ref(), options);
        let ticket = self.gate.enter();
        let (service, timeout) = (self.service.clone(), options.timeout_or(None));
        let (answer_limit, event_limit) = (self.answer_limit, self.event_limit);
        async move {
            let ticket = ticket?;
            let request = request?;
            let opened = async move {
                let response = send(service, request).await?;
                ChatStream::open(response, ticket, answer_limit, event_limit).await
            };
            within(timeout, opened).await
        }
    }

    /// Asks for embeddings.
    ///
    /// # Errors
    ///
    /// Any [`ClientError`] but [`Stream`](ClientError::Stream).
    pub fn embeddings(
        &self,
        request: &EmbeddingsRequest,
    ) -> impl Future<Output = Result<EmbeddingsResponse, ClientError>> + use<S, B> {
        self.embeddings_with(request, &CallOptions::default())
    }

    /// As [`embeddings`](Self::embeddings).
    pub fn embeddings_with(
        &self,
        request: &EmbeddingsRequest,
        options: &CallOptions,
    ) -> impl Future<Output = Result<EmbeddingsResponse, ClientError>> + use<S, B> {
        let request = post(EMBEDDINGS, JSON, request, options);
        self.document(request, options.timeout_or(None), "list of embeddings")
    }

    /// Asks for the models.
    ///
    /// # Errors
    ///
    /// Any [`ClientError`] but [`Stream`](ClientError::Stream).
    pub fn models(&self) -> impl Future<Output = Result<ModelList, ClientError>> + use<S, B> {
        self.models_with(&CallOptions::default())
    }

    /// As [`models`](Self::models).
    pub fn models_with(
        &self,
        options: &CallOptions,
    ) -> impl Future<Output = Result<ModelList, ClientError>> + use<S, B> {
        let request = options.request(Method::GET, MODELS, JSON, Body::empty());
        self.document(request, options.timeout_or(None), "list of models")
    }

    /// Checks whether the API answers, by its list of models: it runs no model and costs no tokens.
    /// What goes wrong is in the result. Waits for [`HEALTH_TIMEOUT`](Self::HEALTH_TIMEOUT) at most.
    pub fn health_check(&self) -> impl Future<Output = Health> + use<S, B> {
        self.health_check_with(&CallOptions::default())
    }

    /// As [`health_check`](Self::health_check).
    pub fn health_check_with(&self, options: &CallOptions) -> impl Future<Output = Health> + use<S, B> {
        let request = options.request(Method::GET, MODELS, JSON, Body::empty());
        let timeout = options.timeout_or(Some(Self::HEALTH_TIMEOUT));
        let models = self.document::<ModelList>(request, timeout, "list of models");
        async move {
            let (checked_at, began) = (SystemTime::now(), Instant::now());
            let (models_seen, error) = match models.await {
                Ok(models) => (models.data.len(), None),
                Err(error) => (0, Some(error)),
            };
            Health { healthy: error.is_none(), latency: began.elapsed(), error, checked_at, models_seen }
        }
    }

    /// A call whose answer is one document.
    fn document<T: DeserializeOwned>(
        &self,
        request: Result<Request<Body>, ClientError>,
        timeout: Option<Duration>,
        expected: &'static str,
    ) -> impl Future<Output = Result<T, ClientError>> + use<T, S, B> {
        let ticket = self.gate.enter();
        let (service, limit) = (self.service.clone(), self.answer_limit);
        async move {
            let _ticket = ticket?;
            let request = request?;
            let answered = async move {
                let response = send(service, request).await?;
                read_json(response, limit, expected).await
            };
            within(timeout, answered).await
        }
    }
}

impl<S> From<S> for Client<S> {
    fn from(service: S) -> Self {
        Self::new(service)
    }
}

impl<S> fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("service", &type_name::<S>())
            .field("answer_limit", &self.answer_limit)
            .field("event_limit", &self.event_limit)
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// The request as the method needs it; copied only if it is not so already.
fn as_streamed(request: &ChatRequest, streamed: bool) -> Cow<'_, ChatRequest> {
    // Stream options without a stream are refused.
    let options_fit = streamed || request.stream_options.is_none();
    if request.stream.unwrap_or(false) == streamed && options_fit {
        return Cow::Borrowed(request);
    }
    let mut request = request.clone();
    request.stream = streamed.then_some(true);
    if !streamed {
        request.stream_options = None;
    }
    Cow::Owned(request)
}

fn post(
    path: &'static str,
    accept: &'static str,
    body: &impl Serialize,
    options: &CallOptions,
) -> Result<Request<Body>, ClientError> {
    let body = serde_json::to_vec(body).map_err(|_| ClientError::Request("it cannot be written as JSON"))?;
    options.request(Method::POST, path, accept, body.into())
}
