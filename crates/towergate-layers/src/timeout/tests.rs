//! Every clock, on paused time.

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
    assert_eq!(error.setting(), Some(clock.setting()));
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

#[tokio::test(start_paused = true)]
async fn the_head_clock_follows_what_is_asked_for() {
    let run = |timeouts: Timeouts, facts| {
        let service = AttemptTimeoutLayer::new(&timeouts).layer(silent());
        async move { clock_of(service.oneshot(request(facts))).await }
    };
    let default = Timeouts::default();
    assert_eq!(run(default, Some(stream_facts())).await, (Clock::Head, s(30)));
    let whole = facts(|_| {});
    assert_eq!(run(default, Some(Arc::clone(&whole))).await, (Clock::Total, s(600)));
    assert_eq!(run(default, None).await, (Clock::Total, s(600)), "nothing is known");
    assert_eq!(run(default.with_head(s(7)), Some(whole)).await, (Clock::Head, s(7)));
    assert_eq!(run(Timeouts::uniform(s(9)), None).await, (Clock::Head, s(9)));
}

#[tokio::test(start_paused = true)]
async fn the_requests_own_clocks_stand_in_place_of_the_layers() {
    let mut request = request(None);
    request.extensions_mut().insert(AttemptClocks { head: Some(s(3)), ..AttemptClocks::default() });
    let service = AttemptTimeoutLayer::new(&Timeouts::default().with_head(s(9))).layer(silent());
    assert_eq!(clock_of(service.oneshot(request)).await, (Clock::Head, s(3)));
    let timeouts = Timeouts::default().with_head(s(1)).with_idle(s(2));
    let set = AttemptClocks { first_event: Some(s(4)), idle: Some(s(5)), ..AttemptClocks::default() };
    assert_eq!(
        timeouts.overridden(&set),
        Timeouts::default().with_head(s(1)).with_first_event(s(4)).with_idle(s(5))
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_ready_with_the_clock_wins() {
    let late = service_fn(|_: Request<Body>| async {
        sleep(s(30)).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let service = AttemptTimeoutLayer::new(&Timeouts::default()).layer(late);
    service.oneshot(request(Some(stream_facts()))).await.unwrap();

    let service = TotalTimeoutLayer::new(&Timeouts::default().with_total(s(30))).layer(late);
    service.oneshot(request(None)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_attempt_names_its_provider_and_drops_what_it_waited_for() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let service = service_fn(move |_: Request<Body>| {
        let held = Arc::clone(&held);
        async move {
            let _held = held;
            pending::<Result<Response<Body>, Infallible>>().await
        }
    });
    let layer = AttemptTimeoutLayer::new(&Timeouts::default()).provider(Label::new("openai"));
    let error = layer.layer(service).oneshot(request(Some(stream_facts()))).await.unwrap_err();
    let error = Error::find(&*error).unwrap();
    assert_eq!(error.provider(), Some(&Label::new("openai")));
    assert!(error.to_string().contains("timeouts.head"), "{error}");
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_an_attempt_that_may_wait_longer() {
    let service = AttemptTimeoutLayer::new(&Timeouts::default()).layer(silent());
    let mut request = request(Some(stream_facts()));
    request.extensions_mut().insert(Deadline((Instant::now() + s(5)).into_std()));
    assert_eq!(clock_of(service.oneshot(request)).await, (Clock::Total, s(5)));
}

// --- upload

/// Reads the request, and then never answers.
fn reading() -> impl Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Clone {
    service_fn(|request: Request<Body>| async {
        request.into_body().collect().await?;
        pending().await
    })
}

#[tokio::test(start_paused = true)]
async fn a_pause_in_the_upload_is_the_clients() {
    let upload = Scripted::new(&events()).wait(s(29)).data("a").wait(s(31)).data("b");
    let service = TotalTimeoutLayer::new(&Timeouts::default()).layer(reading());
    let clock = clock_of(service.oneshot(Request::new(upload))).await;
    assert_eq!(clock, (Clock::RequestBody, s(29 + 30)));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_nobody_reads_does_not_pause() {
    let service = service_fn(|request: Request<Body>| async {
        let mut body = request.into_body();
        body.frame().await.unwrap()?;
        sleep(s(60)).await;
        body.frame().await.unwrap()?;
        Ok::<_, BoxError>(Response::new(Body::empty()))
    });
    let upload = Scripted::new(&events()).data("a").wait(s(1)).data("b");
    let service = TotalTimeoutLayer::new(&Timeouts::default()).layer(service);
    service.oneshot(Request::new(upload)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_collected_upload_stays_collected() {
    let service = service_fn(|request: Request<Body>| async move {
        Ok::<_, Infallible>(Response::new(Body::from(request.body().as_bytes().unwrap().to_vec())))
    });
    let timeouts = Timeouts::default();
    let attempt = AttemptTimeoutLayer::new(&timeouts).layer(service);
    let service = TotalTimeoutLayer::new(&timeouts).layer(attempt);
    let response = service.oneshot(Request::new(Body::from("prompt"))).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "prompt");
}

#[tokio::test(start_paused = true)]
async fn the_head_clock_begins_when_the_upload_is_over() {
    // Ten pieces, 20 s apart: 200 s of upload are no silence of the upstream.
    let mut upload = Scripted::new(&events());
    for _ in 0..10 {
        upload = upload.wait(s(20)).data("piece");
    }
    let timeouts = Timeouts::default().with_head(s(30));
    let service = AttemptTimeoutLayer::new(&timeouts).layer(reading());
    assert_eq!(clock_of(service.oneshot(Request::new(upload))).await, (Clock::Head, s(200 + 30)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_pauses_does_not_make_the_upstream_slow() {
    let upload = Scripted::new(&events()).wait(s(300)).data("piece");
    let timeouts = Timeouts::default().with_head(s(30));
    let service = AttemptTimeoutLayer::new(&timeouts).layer(reading());
    assert_eq!(clock_of(service.oneshot(Request::new(upload))).await, (Clock::Head, s(300 + 30)));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_the_upstream_gave_up_is_over() {
    let service = service_fn(|request: Request<Body>| async {
        let mut body = request.into_body();
        let mut frame = pin!(body.frame());
        poll_fn(|cx| {
            assert!(frame.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(body);
        pending::<Result<Response<Body>, Infallible>>().await
    });
    let upload = Scripted::new(&events()).hang();
    let timeouts = Timeouts::default().with_head(s(30));
    let service = AttemptTimeoutLayer::new(&timeouts).layer(service);
    assert_eq!(clock_of(service.oneshot(Request::new(upload))).await, (Clock::Head, s(30)));
}

// --- first event and idle

#[tokio::test(start_paused = true)]
async fn comments_are_no_first_event() {
    let state = events();
    let mut body = Scripted::new(&state);
    for _ in 0..100 {
        body = body.wait(s(4)).data(": keep-alive\n\n");
    }
    let clock = attempt_clock(Timeouts::default(), Some(stream_facts()), Some(state), body).await;
    assert_eq!(clock, (Clock::FirstEvent, s(30)));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_thinks_may_be_silent_at_first() {
    let thinking = facts(|facts| {
        facts.stream = true;
        facts.silent_head = false;
        facts.silent_first_event = true;
    });
    let state = events();
    let body = Scripted::new(&state).wait(s(500)).content("data: {}\n\n").hang();
    let run = attempt_clock(Timeouts::default(), Some(Arc::clone(&thinking)), Some(state), body).await;
    assert_eq!(run, (Clock::Total, s(600)), "idle would be 620");

    let state = events();
    let body = Scripted::new(&state).hang();
    let timeouts = Timeouts::default().with_first_event(s(45));
    assert_eq!(attempt_clock(timeouts, Some(thinking), Some(state), body).await, (Clock::FirstEvent, s(45)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_pauses_is_idle_and_one_that_flows_is_not() {
    let state = events();
    let mut body = Scripted::new(&state);
    for _ in 0..4 {
        body = body.wait(s(29)).event("data: {}\n\n");
    }
    let body = body.hang();
    let clock = attempt_clock(Timeouts::default(), Some(stream_facts()), Some(state), body).await;
    assert_eq!(clock, (Clock::Idle, s(4 * 29 + 120)));
}

#[tokio::test(start_paused = true)]
async fn comments_do_not_keep_a_stream_alive() {
    let state = events();
    let mut body = Scripted::new(&state).event("data: {}\n\n");
    for _ in 0..100 {
        body = body.wait(s(10)).data(": keep-alive\n\n");
    }
    let clock = attempt_clock(Timeouts::default(), Some(stream_facts()), Some(state), body).await;
    assert_eq!(clock, (Clock::Idle, s(120)));
}

#[tokio::test(start_paused = true)]
async fn one_long_event_is_progress_and_a_trickle_is_not() {
    let piece = |length: usize, state: &Arc<StreamState>| {
        let mut body = Scripted::new(state);
        for _ in 0..400 {
            body = body.wait(s(1)).marked(vec![b'x'; length], |state| state.set_mid_event(true));
        }
        body.content("\n\n")
    };
    // 50 bytes a second: a KiB every 21 s.
    let state = events();
    let body = piece(50, &state);
    let service = AttemptTimeoutLayer::new(&Timeouts::default()).layer(answering(Some(state), body));
    let response = service.oneshot(request(Some(stream_facts()))).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 400 * 50 + 2);

    let state = events();
    let body = piece(1, &state);
    let clock = attempt_clock(Timeouts::default(), Some(stream_facts()), Some(state), body).await;
    assert_eq!(clock, (Clock::FirstEvent, s(30)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_not_an_idle_upstream() {
    let state = events();
    let body = Scripted::new(&state).event("a").wait(s(100)).event("b").wait(s(100)).event("c");
    let service = AttemptTimeoutLayer::new(&Timeouts::default()).layer(answering(Some(state), body));
    let mut body = service.oneshot(request(Some(stream_facts()))).await.unwrap().into_body();
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
        sleep(s(119)).await;
    }
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn other_answers_go_by_the_gap_between_their_pieces() {
    let body = Scripted::new(&events()).wait(s(119)).data("a").wait(s(119)).data("b").hang();
    let clock = attempt_clock(Timeouts::default(), None, None, body).await;
    assert_eq!(clock, (Clock::Idle, s(2 * 119 + 120)));
    // The head of a generation came early, the answer comes when it is finished.
    let body = Scripted::new(&events()).wait(s(300)).data("{").hang();
    let clock = attempt_clock(Timeouts::default(), Some(facts(|_| {})), None, body).await;
    assert_eq!(clock, (Clock::Idle, s(300 + 120)));
}

#[tokio::test(start_paused = true)]
async fn after_its_error_a_body_is_over() {
    let service = AttemptTimeoutLayer::new(&Timeouts::default())
        .layer(answering(None, Scripted::new(&events()).hang()));
    let mut body = service.oneshot(request(None)).await.unwrap().into_body();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(Error::find(&*error).unwrap().phase(), Phase::Body);
    assert!(body.is_end_stream());
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn frames_trailers_and_hints_pass() {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("checksum", "1".parse().unwrap());
    let timeouts = Timeouts::default();
    let plain = Scripted::new(&events()).data("ab").data("c");
    let attempt = AttemptTimeoutLayer::new(&timeouts).layer(answering(None, plain));
    let service = TotalTimeoutLayer::new(&timeouts).layer(attempt);
    let body = service.oneshot(request(None)).await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), Some(3));
    assert!(!body.is_end_stream());

    let with_trailers = Scripted::new(&events()).data("ab").trailers(trailers.clone());
    let attempt = AttemptTimeoutLayer::new(&timeouts).layer(answering(None, with_trailers));
    let service = TotalTimeoutLayer::new(&timeouts).layer(attempt);
    let body = service.oneshot(request(None)).await.unwrap().into_body();
    let collected = body.collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "ab");
}

// --- total and patience

#[tokio::test(start_paused = true)]
async fn the_total_bounds_the_head() {
    let service = TotalTimeoutLayer::new(&Timeouts::default().with_total(s(8))).layer(silent());
    assert_eq!(clock_of(service.oneshot(request(None))).await, (Clock::Total, s(8)));
}

#[tokio::test(start_paused = true)]
async fn the_total_cuts_a_stream_that_flows() {
    let mut body = Scripted::new(&events());
    for _ in 0..1000 {
        body = body.wait(s(1)).data("data: {}\n\n");
    }
    let service =
        TotalTimeoutLayer::new(&Timeouts::default().with_total(s(100))).layer(answering(None, body));
    let mut body = service.oneshot(request(None)).await.unwrap().into_body();
    let started = Instant::now();
    let error = loop {
        if let Err(error) = body.frame().await.unwrap() {
            break error;
        }
    };
    let error = Error::find(&*error).unwrap();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout(Clock::Total), Phase::Body));
    assert_eq!(started.elapsed(), s(100));
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_total_cuts_a_body_that_never_waits() {
    /// Always has a frame.
    struct Flood;
    impl http_body::Body for Flood {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }
    let service = service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(Flood))));
    let service = TotalTimeoutLayer::new(&Timeouts::default().with_total(s(10))).layer(service);
    let mut body = service.oneshot(request(None)).await.unwrap().into_body();
    let mut frames = 0;
    while body.frame().await.unwrap().is_ok() {
        frames += 1;
        assert!(frames < 100, "nothing cuts it");
        sleep(s(1)).await;
    }
    assert_eq!(frames, 11, "that of the tenth second was ready in time");
}

#[tokio::test(start_paused = true)]
async fn no_clock_bounds_a_tunnel() {
    let timeouts = Timeouts::default();
    let inner = service_fn(|_: Request<Body>| {
        let mut response = Response::new(Body::new(Scripted::new(&events()).wait(s(10_000)).data("over")));
        *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
        ready(Ok::<_, Infallible>(response))
    });
    let attempt = AttemptTimeoutLayer::new(&timeouts).layer(inner);
    let service = TotalTimeoutLayer::new(&timeouts).layer(attempt);
    let body = service.oneshot(request(Some(stream_facts()))).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "over");
}

#[tokio::test(start_paused = true)]
async fn an_earlier_deadline_is_kept_and_named() {
    let seen = Arc::new(Mutex::new(None));
    let see = Arc::clone(&seen);
    let timeouts = Timeouts::default();
    let service = AttemptTimeoutLayer::new(&timeouts).layer(service_fn(move |request: Request<Body>| {
        *see.lock().unwrap() = request.extensions().get::<Deadline>().copied();
        pending::<Result<Response<Body>, Infallible>>()
    }));
    let service = TotalTimeoutLayer::new(&timeouts).layer(service);
    let deadline = Deadline((Instant::now() + s(5)).into_std());
    let mut request = request(None);
    request.extensions_mut().insert(deadline);
    let error = service.oneshot(request).await.unwrap_err();
    assert_eq!(*seen.lock().unwrap(), Some(deadline));
    // It is the attempt that found it; the figure is that of the request.
    assert!(error.to_string().contains("(5 s)"), "{error}");
}

async fn patience_of(fields: &[(&'static str, &'static str)]) -> Option<Duration> {
    let names = ["x-stainless-timeout", "x-stainless-read-timeout"].map(HeaderName::from_static);
    let seen = Arc::new(Mutex::new(None));
    let see = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Body>| {
        *see.lock().unwrap() = request.extensions().get::<Patience>().copied();
        ready(Ok::<_, Infallible>(Response::new(Body::empty())))
    });
    let service = TotalTimeoutLayer::new(&Timeouts::default()).patience_headers(names).layer(service);
    let mut request = request(None);
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    service.oneshot(request).await.unwrap();
    seen.lock().unwrap().map(|Patience(until)| Instant::from_std(until) - Instant::now())
}

#[tokio::test(start_paused = true)]
async fn patience_is_read_from_its_headers() {
    let ms = Duration::from_millis;
    assert_eq!(patience_of(&[]).await, None);
    assert_eq!(patience_of(&[("x-stainless-timeout", "60")]).await, Some(ms(59_750)));
    assert_eq!(patience_of(&[("x-stainless-timeout", "1.0")]).await, Some(ms(950)));
    let both = [("x-stainless-timeout", "60"), ("x-stainless-read-timeout", " 20 ")];
    assert_eq!(patience_of(&both).await, Some(ms(19_750)));
    let junk = ["0", "-1", "NaN", "inf", "not given", "", "1e300"];
    for value in junk {
        assert_eq!(patience_of(&[("x-stainless-timeout", value)]).await, None, "{value}");
        let twice = [("x-stainless-timeout", value), ("x-stainless-timeout", "10")];
        assert_eq!(patience_of(&twice).await, Some(ms(9_750)), "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn patience_bounds_the_head_and_never_a_stream() {
    let layer = TotalTimeoutLayer::new(&Timeouts::default())
        .patience_headers([HeaderName::from_static("x-stainless-timeout")]);
    let patient = || {
        let mut request = request(None);
        request.headers_mut().insert("x-stainless-timeout", "2".parse().unwrap());
        request
    };
    let clock = clock_of(layer.layer(silent()).oneshot(patient())).await;
    assert_eq!(clock, (Clock::ClientPatience, Duration::from_millis(1_900)));

    // The total comes first.
    let mut request = patient();
    request.extensions_mut().insert(Deadline((Instant::now() + s(1)).into_std()));
    assert_eq!(clock_of(layer.layer(silent()).oneshot(request)).await, (Clock::Total, s(1)));

    let body = Scripted::new(&events()).data("a").wait(s(60)).data("b");
    let response = layer.layer(answering(None, body)).oneshot(patient()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ab");
}

#[tokio::test(start_paused = true)]
async fn a_collected_answer_stays_collected() {
    let service =
        service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(Body::from("whole")))));
    let service = TotalTimeoutLayer::new(&Timeouts::default()).layer(service);
    let request = Request::builder().method(Method::POST).body(Full::new(Bytes::from("in"))).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.body().as_bytes(), Some(&b"whole"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_body_drops_what_is_inside() {
    let body = Scripted::new(&events()).data("a").hang();
    let alive = body.alive();
    let timeouts = Timeouts::default();
    let attempt = AttemptTimeoutLayer::new(&timeouts).layer(answering(None, body));
    let service = TotalTimeoutLayer::new(&timeouts).layer(attempt);
    let mut body = service.oneshot(request(None)).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(body);
    assert_eq!(Arc::strong_count(&alive), 1);
}

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
    assert!(text.contains("timeouts.head") && text.contains("timeouts.total"), "{text}");
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
