//! Every rule of what is held, with bodies that write the state of a stream as the leaf does.

mod bounds;
mod document;
mod errors;
mod events;

use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use proptest::prelude::*;
use tokio::time::Instant;
use tower::{Layer as _, ServiceExt as _, service_fn};
use towergate_core::{
    Body, BoxError, Class, Clock, Error, ErrorKind, Facts, Route, Sent, StreamState,
    classify::RetryAfter,
    context::Answered,
    context::RequestRecord,
    label::Label,
    memory::{ClientMemory, MemoryBudget},
    protocol::{ByStatus, Classify},
    route::Reads,
    stream::{AnswerKind, Failure},
};

use super::CommitLayer;
use crate::scripted::Scripted;

static CHAT: Route = Route {
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
static UPLOAD: Route =
    Route { name: "audio.transcriptions", index: 1, reads: Reads::Nothing, ..copy_of_chat() };
static SPEECH: Route = Route { name: "audio.speech", index: 2, holds_answer: false, ..copy_of_chat() };

const fn copy_of_chat() -> Route {
    Route {
        name: "",
        index: 0,
        template: "",
        reads: Reads::Json,
        requires_model: true,
        generates: true,
        holds_answer: true,
        bare: false,
        stateless: true,
    }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn json() -> Arc<StreamState> {
    Arc::new(StreamState::new(AnswerKind::Json))
}

fn events() -> Arc<StreamState> {
    Arc::new(StreamState::new(AnswerKind::Events))
}

fn failure() -> Failure {
    Failure {
        class: Class::Overloaded,
        status: StatusCode::SERVICE_UNAVAILABLE,
        body: Bytes::from_static(br#"{"error":{"code":"server_is_overloaded"}}"#),
    }
}

/// An answer of the leaf's, its status and headers open to change.
fn answer(state: Option<&Arc<StreamState>>, body: Scripted) -> Response<Scripted> {
    let mut response = Response::new(body);
    response.extensions_mut().insert(Answered { provider: Label::new("openai") });
    if let Some(state) = state {
        response.extensions_mut().insert(Arc::clone(state));
    }
    response
}

fn with_status(status: u16, body: Scripted) -> Response<Scripted> {
    let mut response = answer(None, body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn typed(content_type: &'static str, mut response: Response<Scripted>) -> Response<Scripted> {
    response.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
    response
}

fn of_route(route: &'static Route) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(Arc::new(Facts::of_route(route, Label::new("other"))));
    request
}

async fn through(
    layer: CommitLayer,
    request: Request<Body>,
    response: Response<Scripted>,
) -> Result<Response<Body>, BoxError> {
    let response = Mutex::new(Some(response));
    let service = service_fn(move |_: Request<Body>| {
        ready(Ok::<_, Infallible>(response.lock().unwrap().take().unwrap()))
    });
    layer.layer(service).oneshot(request).await
}

async fn commit(response: Response<Scripted>) -> Result<Response<Body>, BoxError> {
    through(CommitLayer::new(ByStatus), of_route(&CHAT), response).await
}

/// How long the head was held.
async fn held_for(response: Response<Scripted>) -> (Duration, Response<Body>) {
    let started = Instant::now();
    let response = commit(response).await.unwrap();
    (started.elapsed(), response)
}

fn kind_of(result: Result<Response<Body>, BoxError>) -> ErrorKind {
    let error = result.unwrap_err();
    let error = Error::find(&*error).expect("an error of ours");
    assert_eq!(error.sent(), Sent::Unknown);
    error.kind()
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

// --- documents

// --- events

// --- what is not held

/// The reasons counted while `run` ran.
fn early_commits<T>(run: impl Future<Output = T>) -> (T, Vec<(String, u64)>) {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let value = metrics::with_local_recorder(&recorder, || runtime.block_on(run));
    let counted = snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
        let reason = key.key().labels().next().unwrap().value().to_owned();
        let DebugValue::Counter(count) = value else { panic!("not a counter") };
        assert_eq!(key.key().name(), "towergate_early_commits_total");
        (reason, count)
    });
    (value, counted.collect())
}

#[tokio::test(start_paused = true)]
async fn what_is_not_read_commits_at_once() {
    let opaque = Arc::new(StreamState::new(AnswerKind::Opaque));
    for state in [None, Some(&opaque)] {
        let body = Scripted::new(&opaque).wait(s(5)).data("audio");
        let started = Instant::now();
        let response = through(CommitLayer::new(ByStatus), of_route(&SPEECH), answer(state, body)).await;
        assert_eq!(started.elapsed(), s(0));
        assert_eq!(text(response.unwrap()).await, "audio");
    }
}

#[tokio::test(start_paused = true)]
async fn redirects_and_answers_to_head_pass() {
    for status in [101, 204, 302, 304] {
        let (held, response) = held_for(with_status(status, Scripted::new(&json()).wait(s(1)))).await;
        assert_eq!((held, response.status().as_u16()), (s(0), status));
        assert!(response.extensions().get::<Class>().is_none());
    }
    let state = json();
    let mut request = of_route(&CHAT);
    *request.method_mut() = Method::HEAD;
    let response = answer(Some(&state), Scripted::new(&state));
    assert!(through(CommitLayer::new(ByStatus), request, response).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_unread_answer_shows_a_byte_or_is_let_go() {
    let body = Scripted::new(&json()).wait(s(2)).data("x").wait(s(2)).data("y");
    let (held, response) = held_for(answer(None, body)).await;
    assert_eq!(held, s(2));
    assert_eq!(text(response).await, "xy");
    let (held, _) = held_for(answer(None, Scripted::new(&json()).hang())).await;
    assert_eq!(held, s(15));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_content_type_is_no_answer() {
    let get = |route, content_type| {
        let response = typed(content_type, answer(None, Scripted::new(&json()).data("<secret>")));
        through(CommitLayer::new(ByStatus), of_route(route), response)
    };
    for wrong in ["text/html; charset=utf-8", "TEXT/HTML", "text/plain", "application/xhtml+xml"] {
        let error = get(&CHAT, wrong).await.unwrap_err();
        let error = Error::find(&*error).unwrap();
        assert_eq!(error.kind(), ErrorKind::BadAnswer);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    for right in ["application/json", "application/problem+json", "Text/Event-Stream;charset=utf-8"] {
        assert!(get(&CHAT, right).await.is_ok(), "{right}");
    }
    assert!(get(&UPLOAD, "text/plain").await.is_ok(), "subtitles");
    assert!(get(&UPLOAD, "text/html").await.is_err());
    assert!(get(&SPEECH, "audio/mpeg").await.is_ok());
}

// --- errors

// --- memory

#[tokio::test(start_paused = true)]
async fn a_future_does_not_print_what_it_holds() {
    let state = json();
    let response = answer(Some(&state), Scripted::new(&state).data("canary").hang()).map(Body::new);
    let response = Mutex::new(Some(response));
    let service = service_fn(move |_: Request<Body>| {
        ready(Ok::<_, Infallible>(response.lock().unwrap().take().unwrap()))
    });
    let mut service = CommitLayer::new(ByStatus).layer(service);
    let mut future = tokio_test::task::spawn(tower_service::Service::call(&mut service, of_route(&CHAT)));
    assert!(future.poll().is_pending());
    let printed = format!("{:?}", &*future);
    assert!(printed.contains("6 bytes") && !printed.contains("canary"), "{printed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is held, and wherever it is let go: the bytes and the length are those of the answer.
    #[test]
    fn no_byte_is_lost_or_moved(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..12),
        content_at in 0usize..14,
        max_held in 0usize..200,
        budget in 0usize..2000,
        as_events: bool,
    ) {
        let state = if as_events { events() } else { json() };
        let mut body = Scripted::new(&state);
        for (at, chunk) in chunks.iter().enumerate() {
            body = if at == content_at { body.content(chunk.clone()) } else { body.event(chunk.clone()) };
        }
        let whole = chunks.concat();
        let budget = MemoryBudget::new(budget);
        let layer = CommitLayer::new(ByStatus).max_held(max_held).budget(budget.clone());
        let (response, _) = early_commits(through(layer, of_route(&CHAT), answer(Some(&state), body)));
        if let Ok(response) = response {
            prop_assert_eq!(response.body().size_hint().exact(), Some(whole.len() as u64));
            let collected = tokio_test::block_on(response.into_body().collect()).unwrap().to_bytes();
            prop_assert_eq!(&collected[..], &whole[..]);
        } else {
            prop_assert!(whole.is_empty() || as_events);
        }
        prop_assert_eq!(budget.used(), 0);
    }
}
