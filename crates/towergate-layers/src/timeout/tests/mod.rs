//! Every clock, on paused time.

mod body;
mod head;
mod total;
mod upload;

use std::{
    convert::Infallible,
    future::{Future, pending, poll_fn, ready},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Full};
use tokio::time::{Instant, sleep};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_service::Service;
use towergate_core::{
    Body, BoxError, Clock, Error, ErrorKind, Facts, Phase, Route, StreamState,
    context::{AttemptClocks, Deadline, Patience},
    label::Label,
    route::Reads,
    stream::AnswerKind,
};

use super::{AttemptTimeoutLayer, Timeouts, TotalTimeoutLayer};
use crate::scripted::Scripted;

static ROUTE: Route = Route {
    name: "chat.completions",
    index: 0,
    template: "/chat/completions",
    reads: Reads::Json,
    requires_model: true,
    generates: true,
    holds_answer: true,
    bare: true,
    stateless: true,
};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn facts(change: impl FnOnce(&mut Facts)) -> Arc<Facts> {
    let mut facts = Facts::of_route(&ROUTE, Label::new("other"));
    change(&mut facts);
    Arc::new(facts)
}

/// The facts of a stream that does not think first.
fn stream_facts() -> Arc<Facts> {
    facts(|facts| {
        facts.stream = true;
        facts.silent_head = false;
    })
}

fn request(facts: Option<Arc<Facts>>) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    if let Some(facts) = facts {
        request.extensions_mut().insert(facts);
    }
    request
}

fn events() -> Arc<StreamState> {
    Arc::new(StreamState::new(AnswerKind::Events))
}

/// A service that gives one answer, once, at once.
fn answering(
    state: Option<Arc<StreamState>>,
    body: Scripted,
) -> impl Service<Request<Body>, Response = Response<Scripted>, Error = Infallible, Future: Send> + Clone {
    let body = Arc::new(Mutex::new(Some(body)));
    service_fn(move |_: Request<Body>| {
        let mut response = Response::new(body.lock().unwrap().take().unwrap());
        if let Some(state) = &state {
            response.extensions_mut().insert(Arc::clone(state));
        }
        ready(Ok(response))
    })
}

fn silent() -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone {
    service_fn(|_: Request<Body>| pending())
}

/// The clock that ended it, and when it did.
async fn clock_of<T, E: Into<BoxError>>(result: impl Future<Output = Result<T, E>>) -> (Clock, Duration) {
    let started = Instant::now();
    let Err(error) = result.await else { panic!("no clock went off") };
    let error = error.into();
    let error = Error::find(&*error).expect("an error of ours");
    let ErrorKind::Timeout(clock) = error.kind() else { panic!("{error:?}") };
    let setting = error.setting().expect("the setting is named");
    assert!(setting == clock.setting() || setting.starts_with("models.*."), "{error}");
    (clock, started.elapsed())
}

async fn attempt_clock(
    timeouts: Timeouts,
    facts: Option<Arc<Facts>>,
    state: Option<Arc<StreamState>>,
    body: Scripted,
) -> (Clock, Duration) {
    let service = AttemptTimeoutLayer::new(&timeouts).layer(answering(state, body));
    let response = service.oneshot(request(facts)).await.unwrap();
    clock_of(response.into_body().collect()).await
}

// --- head

// --- upload

// --- first event and idle

// --- total and patience

// --- config

#[test]
fn what_cannot_work_is_named() {
    assert!(Timeouts::default().validate().is_ok());
    assert!(Timeouts::default().with_total(s(1)).validate().is_ok(), "defaults give way");
    assert!(Timeouts::uniform(s(900)).validate().is_ok());
    assert_eq!(Timeouts::uniform(s(900)).total(), s(900));
    assert_eq!(Timeouts::uniform(s(5)).total(), s(600));

    let error = Timeouts::default().with_idle(Duration::ZERO).validate().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("timeouts.idle is zero"), "{error}");
    let error = Timeouts::default().with_tunnel_idle(Duration::ZERO).validate().unwrap_err();
    assert!(error.to_string().contains("timeouts.tunnel_idle is zero"), "{error}");
    assert!(Timeouts::default().with_tunnel_idle(s(3600)).validate().is_ok(), "the total is not its bound");
    let error = Timeouts::default().with_head(s(20)).with_total(s(10)).validate().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("timeouts.head") && text.contains("server.total_timeout"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_length_that_no_clock_holds_is_no_panic() {
    let timeouts = Timeouts::uniform(Duration::MAX);
    let attempt =
        AttemptTimeoutLayer::new(&timeouts).layer(answering(None, Scripted::new(&events()).data("a")));
    let service = TotalTimeoutLayer::new(&timeouts).layer(attempt);
    let response = service.oneshot(request(None)).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "a");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_what_is_inside_passes_unchanged() {
    let timeouts = Timeouts::default();
    let body = Scripted::new(&events()).data("a").fail("the upstream's own");
    let attempt = AttemptTimeoutLayer::new(&timeouts).layer(answering(None, body));
    let service = TotalTimeoutLayer::new(&timeouts).layer(attempt);
    let error = service.oneshot(request(None)).await.unwrap().into_body().collect().await.unwrap_err();
    assert_eq!(error.to_string(), "the upstream's own");
}
