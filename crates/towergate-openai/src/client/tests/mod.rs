mod calls;
mod closing;
mod streams;

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use towergate_core::headers::X_REQUEST_ID;

use super::*;

/// What a service was asked.
#[derive(Debug)]
struct Asked {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Value,
}

type Log = Arc<Mutex<Vec<Asked>>>;

/// A client whose service gives the same answer to every request, and the log of what it was asked.
fn answering<B>(
    answer: impl Fn() -> Response<B> + Clone + Send + Sync + 'static,
) -> (
    Client<
        impl Service<Request<Body>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    >,
    Log,
)
where
    B: Send + 'static,
{
    let log = Log::default();
    let service = {
        let log = Arc::clone(&log);
        tower::service_fn(move |request: Request<Body>| {
            let (log, answer) = (Arc::clone(&log), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                log.lock().unwrap().push(Asked {
                    method: parts.method,
                    target: parts.uri.to_string(),
                    headers: parts.headers,
                    body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                });
                Ok(answer())
            }
        })
    };
    (Client::from(service), log)
}

fn document(status: u16, document: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(document.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

fn completion() -> Value {
    json!({"id": "chatcmpl-1", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Paris."}, "finish_reason": "stop"},
    ]})
}

fn hello() -> ChatRequest {
    ChatRequest::new("gpt-4o").user("Hello, secret canary!")
}

/// One step of a [`Script`].
#[derive(Debug, Clone)]
enum Step {
    Data(&'static str),
    Fail,
    /// Nothing comes any more, and the body does not end.
    Hang,
}

/// A body that plays a script, and says when it is dropped.
struct Script {
    steps: VecDeque<Step>,
    dropped: Option<oneshot::Sender<()>>,
    polls: Arc<Mutex<usize>>,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> (Self, oneshot::Receiver<()>) {
        let (dropped, told) = oneshot::channel();
        let steps = steps.into_iter().collect();
        (Self { steps, dropped: Some(dropped), polls: Arc::default() }, told)
    }
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        *self.polls.lock().unwrap() += 1;
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(data))))),
            Some(Step::Fail) => Poll::Ready(Some(Err("the connection broke".into()))),
            Some(Step::Hang) => {
                self.steps.push_front(Step::Hang);
                Poll::Pending
            }
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if let Some(dropped) = self.dropped.take() {
            let _ = dropped.send(());
        }
    }
}

/// A client that gives this one body, once.
fn giving<B: Send + 'static>(
    body: B,
) -> Client<
    impl Service<Request<Body>, Response = Response<B>, Error = BoxError, Future: Send> + Clone + Send + 'static,
> {
    let body = Arc::new(Mutex::new(Some(body)));
    Client::new(tower::service_fn(move |_: Request<Body>| {
        let body = body.lock().unwrap().take();
        async move {
            let mut response = Response::new(body.ok_or("no second answer")?);
            response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
            Ok(response)
        }
    }))
}
