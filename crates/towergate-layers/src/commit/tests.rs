//! Every rule of what is held, with bodies that write the state of a stream as the leaf does.

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
    label::Label,
    memory::MemoryBudget,
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

#[tokio::test(start_paused = true)]
async fn a_document_is_held_whole_and_collected() {
    let state = json();
    let body = Scripted::new(&state).wait(s(3)).data(r#"{"id":1}"#);
    let (held, response) = held_for(answer(Some(&state), body)).await;
    assert_eq!(held, s(3));
    assert_eq!(response.body().as_bytes(), Some(&br#"{"id":1}"#[..]));
    assert!(response.extensions().get::<Arc<StreamState>>().is_some());
    assert!(response.extensions().get::<Class>().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_document_in_pieces_keeps_its_pieces_and_its_trailers() {
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", "1".parse().unwrap());
    let state = json();
    let body = Scripted::new(&state).data("{").wait(s(3)).data("}").trailers(trailers.clone());
    let (held, response) = held_for(answer(Some(&state), body)).await;
    assert_eq!(held, s(3));
    let mut body = response.into_body();
    assert_eq!(body.size_hint().exact(), Some(2));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{");
    assert_eq!(body.size_hint().exact(), Some(1));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "}");
    assert!(!body.is_end_stream());
    assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    assert!(body.is_end_stream());
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_document_that_breaks_is_an_error() {
    let state = json();
    let cut = Error::new(ErrorKind::Truncated, "cut").with_sent(Sent::Unknown);
    let body = Scripted::new(&state).data("{").fail(cut);
    assert_eq!(kind_of(commit(answer(Some(&state), body)).await), ErrorKind::Truncated);

    let body = Scripted::new(&state).data("{").fail("a foreign error");
    let error = commit(answer(Some(&state), body)).await.unwrap_err();
    let error = Error::find(&*error).unwrap();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert_eq!(error.provider(), Some(&Label::new("openai")));
}

#[tokio::test(start_paused = true)]
async fn an_empty_200_is_no_answer() {
    let state = json();
    for body in [Scripted::new(&state), Scripted::new(&state).wait(s(1)), Scripted::new(&state).data("")] {
        assert_eq!(kind_of(commit(answer(Some(&state), body)).await), ErrorKind::BadAnswer);
    }
    // Nobody could tell what it is, but an answer it is not.
    for body in [Scripted::new(&state), Scripted::new(&state).wait(s(1))] {
        assert_eq!(kind_of(commit(answer(None, body)).await), ErrorKind::BadAnswer);
    }
    let nothing_expected =
        through(CommitLayer::new(ByStatus), Request::new(Body::empty()), answer(None, Scripted::new(&state)));
    assert!(nothing_expected.await.is_ok());
    assert!(commit(with_status(204, Scripted::new(&state))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_error_in_a_document_is_an_answer_of_its_own() {
    let state = json();
    let body = Scripted::new(&state).marked(r#"{"error":{}}"#, |state| state.set_failure(failure()));
    let response = commit(answer(Some(&state), body)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

// --- events

#[tokio::test(start_paused = true)]
async fn a_stream_is_held_until_it_has_content() {
    let state = events();
    let body = Scripted::new(&state)
        .data(": hello\n\n")
        .wait(s(2))
        .event("data: role\n\n")
        .wait(s(2))
        .content("data: word\n\n")
        .wait(s(2))
        .content("data: word\n\n");
    let (held, response) = held_for(answer(Some(&state), body)).await;
    assert_eq!(held, s(4));
    assert_eq!(text(response).await, ": hello\n\ndata: role\n\ndata: word\n\ndata: word\n\n");
}

#[tokio::test(start_paused = true)]
async fn an_error_before_content_is_an_answer_of_its_own() {
    let state = events();
    let body = Scripted::new(&state)
        .event("event: response.created\n\n")
        .marked("data: error\n\n", |state| state.set_failure(failure()))
        .hang();
    let alive = body.alive();
    let mut response = typed("text/event-stream", answer(Some(&state), body));
    for (name, value) in [
        ("content-length", "99"),
        ("content-encoding", "identity"),
        ("x-request-id", "req_1"),
        ("retry-after", "7"),
    ] {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = commit(response).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.body().as_bytes(), Some(&failure().body[..]));
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(response.headers()["x-request-id"], "req_1");
    assert!(!response.headers().contains_key("content-length"));
    assert!(!response.headers().contains_key("content-encoding"));
    let extensions = response.extensions();
    assert_eq!(extensions.get(), Some(&Class::Overloaded));
    assert_eq!(extensions.get(), Some(&RetryAfter(s(7))));
    assert!(extensions.get::<Answered>().is_some());
    assert!(extensions.get::<Arc<StreamState>>().is_none());
    assert_eq!(Arc::strong_count(&alive), 1, "the stream is dropped");
}

#[tokio::test(start_paused = true)]
async fn an_error_told_by_a_failing_body_is_the_same() {
    let state = events();
    state.set_failure(failure());
    let body = Scripted::new(&state).fail(Error::new(ErrorKind::BadAnswer, "told").already_signalled());
    let response = commit(answer(Some(&state), body)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn an_error_after_content_is_the_streams_own() {
    let state = events();
    let body = Scripted::new(&state)
        .content("data: word\n\n")
        .marked("data: error\n\n", |state| state.set_failure(failure()));
    let response = commit(answer(Some(&state), body)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "data: word\n\ndata: error\n\n");
    // Both in one frame.
    let state = events();
    let body = Scripted::new(&state).marked("data: word\n\ndata: error\n\n", |state| {
        state.set_content();
        state.set_failure(failure());
    });
    assert_eq!(commit(answer(Some(&state), body)).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_without_content() {
    let state = events();
    let body = Scripted::new(&state).event("data: role\n\n").wait(s(1));
    assert_eq!(kind_of(commit(answer(Some(&state), body)).await), ErrorKind::BadAnswer);

    let state = events();
    let body = Scripted::new(&state).marked("data: done\n\n", StreamState::set_complete).wait(s(1));
    let response = commit(answer(Some(&state), body)).await.unwrap();
    assert_eq!(text(response).await, "data: done\n\n", "nothing to say is an answer too");

    let state = events();
    let slow = Error::timeout(Clock::FirstEvent, s(30));
    let body = Scripted::new(&state).event("data: role\n\n").fail(slow);
    let kind = kind_of(commit(answer(Some(&state), body)).await);
    assert_eq!(kind, ErrorKind::Timeout(Clock::FirstEvent));
}

#[tokio::test(start_paused = true)]
async fn a_head_is_held_for_15_s_from_the_first_data_event() {
    let state = events();
    let body = Scripted::new(&state)
        .data(": hello\n\n")
        .wait(s(20))
        .event("data: role\n\n")
        .wait(s(14))
        .event("data: role\n\n")
        .wait(s(14))
        .fail("late");
    let (held, response) = held_for(answer(Some(&state), body)).await;
    assert_eq!(held, s(20 + 15));
    let mut body = response.into_body();
    let mut seen = Vec::new();
    let error = loop {
        match body.frame().await.unwrap() {
            Ok(frame) => seen.extend(frame.into_data().unwrap()),
            Err(error) => break error,
        }
    };
    assert_eq!(seen, b": hello\n\ndata: role\n\ndata: role\n\n");
    assert_eq!(error.to_string(), "late");
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_with_the_clock_wins() {
    let state = events();
    let body = Scripted::new(&state).event("data: role\n\n").wait(s(15)).marked("error", |state| {
        state.set_failure(failure());
    });
    let response = commit(answer(Some(&state), body)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[cfg(feature = "timeout")]
#[tokio::test(start_paused = true)]
async fn a_slow_first_event_is_an_error_and_a_slow_later_one_is_the_streams() {
    use crate::timeout::{AttemptTimeoutLayer, Timeouts};

    let run = |body: Scripted, state: Arc<StreamState>| {
        let response = Mutex::new(Some(answer(Some(&state), body)));
        let service = service_fn(move |_: Request<Body>| {
            ready(Ok::<_, Infallible>(response.lock().unwrap().take().unwrap()))
        });
        let timeouts = Timeouts::default().with_first_event(s(30));
        let service = AttemptTimeoutLayer::new(&timeouts).layer(service);
        CommitLayer::new(ByStatus).layer(service).oneshot(of_route(&CHAT))
    };
    let state = events();
    let silent = Scripted::new(&state).data(": hello\n\n").hang();
    assert_eq!(kind_of(run(silent, state).await), ErrorKind::Timeout(Clock::FirstEvent));

    let state = events();
    let stalled = Scripted::new(&state).content("data: word\n\n").hang();
    let mut body = run(stalled, state).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::Timeout(Clock::Idle));
}

// --- what is not held

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

/// Tells a quota from a rate by the body.
struct ByBody;

impl Classify for ByBody {
    fn classify(&self, status: StatusCode, _: &HeaderMap, body: Option<&[u8]>) -> Class {
        match body {
            Some(b"quota") => Class::QuotaExhausted,
            _ => Class::of_status(status),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_read_and_classified() {
    let body = Scripted::new(&json()).data("quo").wait(s(1)).data("ta");
    let mut response = with_status(429, body);
    response.headers_mut().insert("retry-after", "20".parse().unwrap());
    response.headers_mut().insert("retry-after-ms", "19500".parse().unwrap());
    response.headers_mut().insert("content-length", "5".parse().unwrap());
    let response = through(CommitLayer::new(ByBody), of_route(&CHAT), response).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Class::QuotaExhausted));
    assert_eq!(response.extensions().get(), Some(&RetryAfter(Duration::from_millis(19_500))));
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(response.body().as_bytes(), Some(&b"quota"[..]));
}

#[tokio::test(start_paused = true)]
async fn an_encoded_error_goes_by_its_status() {
    let mut response = with_status(429, Scripted::new(&json()).data("quota"));
    response.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    let response = through(CommitLayer::new(ByBody), of_route(&CHAT), response).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Class::RateLimited));
    assert_eq!(response.body().as_bytes(), Some(&b"quota"[..]));
}

#[tokio::test(start_paused = true)]
async fn an_error_too_long_or_too_slow_goes_by_its_status() {
    let long = Scripted::new(&json()).data(vec![b'x'; 40_000]).data(vec![b'x'; 40_000]).data("end");
    let response = commit(with_status(503, long)).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Class::Overloaded));
    assert_eq!(response.body().size_hint().exact(), Some(80_003));
    assert_eq!(text(response).await.len(), 80_003);

    let slow = Scripted::new(&json()).data("wait").wait(s(60)).data(" for it");
    let (held, response) = held_for(with_status(500, slow)).await;
    assert_eq!(held, s(15));
    assert_eq!(response.extensions().get(), Some(&Class::ServerError));
    assert_eq!(text(response).await, "wait for it");
}

#[tokio::test(start_paused = true)]
async fn an_error_whose_body_breaks_keeps_its_status() {
    let mut response = with_status(429, Scripted::new(&json()).data("quo").fail("reset"));
    response.headers_mut().insert("content-length", "5".parse().unwrap());
    let response = commit(response).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.extensions().get(), Some(&Class::RateLimited));
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(response.body().as_bytes(), Some(&[][..]));
}

#[tokio::test(start_paused = true)]
async fn an_error_without_a_body() {
    let response = commit(with_status(502, Scripted::new(&json()))).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Class::ServerError));
    assert_eq!(response.body().as_bytes(), Some(&[][..]));
}

// --- memory

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

#[test]
fn past_its_cap_an_answer_streams_on() {
    let state = json();
    let body = Scripted::new(&state).data("0123").data("4567").wait(s(9)).data("89");
    let alive = body.alive();
    let layer = CommitLayer::new(ByStatus).max_held(7);
    let (response, counted) = early_commits(through(layer, of_route(&CHAT), answer(Some(&state), body)));
    assert_eq!(counted, [("size".to_owned(), 1)]);
    let response = response.unwrap();
    assert_eq!(Arc::strong_count(&alive), 2, "not read to its end");
    drop(response);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn chunks_of_one_byte_are_bounded_too() {
    let state = json();
    let mut body = Scripted::new(&state);
    for _ in 0..1000 {
        body = body.data("x");
    }
    let layer = CommitLayer::new(ByStatus).max_held(4096);
    let (response, counted) =
        early_commits(through(layer, of_route(&CHAT), answer(Some(&state), body.wait(s(1)))));
    assert_eq!(counted, [("size".to_owned(), 1)]);
    assert!(response.is_ok());
}

#[test]
fn past_the_budget_an_answer_streams_on_and_the_bytes_come_back() {
    let budget = MemoryBudget::new(1000);
    let layer = CommitLayer::new(ByStatus).budget(budget.clone());
    let state = events();
    let body = Scripted::new(&state).data(vec![b'x'; 600]).data(vec![b'x'; 600]).wait(s(9)).data("end");
    let ((response, used), counted) = early_commits(async {
        let response = through(layer, of_route(&CHAT), answer(Some(&state), body)).await.unwrap();
        let used = budget.used();
        (text(response).await.len(), used)
    });
    assert_eq!(counted, [("memory".to_owned(), 1)]);
    assert_eq!(response, 1203);
    assert!((600..1000).contains(&used), "{used}");
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_head_released_by_time_is_counted() {
    let state = events();
    let body = Scripted::new(&state).event("data: role\n\n").hang();
    let layer = CommitLayer::new(ByStatus).hold_max(s(3));
    let (_, counted) = early_commits(through(layer, of_route(&CHAT), answer(Some(&state), body)));
    assert_eq!(counted, [("time".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_collected_answer_keeps_its_reservation_while_it_lives() {
    let budget = MemoryBudget::new(1000);
    let layer = CommitLayer::new(ByStatus).budget(budget.clone());
    let state = json();
    let body = Scripted::new(&state).data("{}");
    let mut response = through(layer, of_route(&CHAT), answer(Some(&state), body)).await.unwrap();
    assert!(budget.used() >= 2);
    let bytes = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    drop(response);
    assert!(budget.used() >= 2, "somebody still writes them");
    drop(bytes);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_while_held_leaves_nothing() {
    let budget = MemoryBudget::new(1000);
    let layer = CommitLayer::new(ByStatus).budget(budget.clone());
    let state = events();
    let body = Scripted::new(&state).data(": hello\n\n").hang();
    let alive = body.alive();
    let held = through(layer, of_route(&CHAT), answer(Some(&state), body));
    assert!(tokio::time::timeout(s(1), held).await.is_err());
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(budget.used(), 0);
}

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
