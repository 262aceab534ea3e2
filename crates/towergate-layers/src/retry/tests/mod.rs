mod answers;
mod bodies;
mod bounds;
mod context;
mod observed;
mod waits;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::Instant;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_service::Service;
use towergate_core::{
    Body, BoxError, Class, Error, ErrorKind,
    classify::RetryAfter,
    context::{Attempt, GaveUp},
    headers::X_SHOULD_RETRY,
};

use super::*;

type Answer = Result<Response<Body>, Error>;

/// An upstream that answers by a script and then with 200, and remembers how it was called.
#[derive(Clone, Default)]
struct Upstream(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    script: VecDeque<Answer>,
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    at: Instant,
    attempt: u32,
    /// What was left of the request's head.
    request: Request<()>,
    body: Result<Bytes, String>,
}

impl Upstream {
    fn new(script: impl IntoIterator<Item = Answer>) -> Self {
        let record = Record { script: script.into_iter().collect(), calls: Vec::new() };
        Self(Arc::new(Mutex::new(record)))
    }

    /// As a service that reads each body to its end and then answers at once.
    fn service(
        &self,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = Error, Future: Send> + Clone + Send + use<>
    {
        let upstream = self.clone();
        service_fn(move |request: Request<Body>| {
            let upstream = upstream.clone();
            let at = Instant::now();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map(|all| all.to_bytes()).map_err(|error| error.to_string());
                let attempt = parts.extensions.get::<Attempt>().map_or(0, |attempt| attempt.0.get());
                let request = Request::from_parts(parts, ());
                let mut record = upstream.0.lock().unwrap();
                record.calls.push(Call { at, attempt, request, body });
                record.script.pop_front().unwrap_or_else(|| answer(200))
            }
        })
    }

    async fn call(&self, layer: &RetryLayer, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        layer.layer(self.service()).oneshot(request).await
    }

    fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }
}

fn answer(status: u16) -> Answer {
    Ok(Response::builder().status(status).body(Body::from("answer")).unwrap())
}

fn answer_with(status: u16, fields: &[(&'static str, &str)]) -> Answer {
    let response = fields
        .iter()
        .fold(Response::builder().status(status), |response, (name, value)| response.header(*name, *value));
    Ok(response.body(Body::from("answer")).unwrap())
}

fn failed(kind: ErrorKind) -> Answer {
    Err(Error::new(kind, "failed on script"))
}

fn request() -> Request<Body> {
    Request::post("/v1/chat/completions").body(Body::from("{}")).unwrap()
}

fn stream(chunks: &[&'static str]) -> Body {
    let frames: Vec<_> = chunks.iter().map(|chunk| Ok::<_, BoxError>(Frame::data((*chunk).into()))).collect();
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

fn exact() -> RetryLayer {
    RetryLayer::new().jitter(false)
}

fn gave_up(answer: &Response<Body>) -> Option<GaveUp> {
    answer.extensions().get().copied()
}

fn should_retry(answer: &Response<Body>) -> Option<&str> {
    answer.headers().get(X_SHOULD_RETRY).map(|value| value.to_str().unwrap())
}

/// The time between the attempts, in milliseconds.
fn gaps(calls: &[Call]) -> Vec<u128> {
    calls.windows(2).map(|pair| (pair[1].at - pair[0].at).as_millis()).collect()
}
