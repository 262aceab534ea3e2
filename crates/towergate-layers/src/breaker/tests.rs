use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::{Instant, advance};
use tower::{ServiceExt as _, service_fn};
use towergate_core::{Body as CoreBody, Clock, ErrorKind, Sent, label::Label};

use super::*;

fn config() -> BreakerConfig {
    BreakerConfig { consecutive_failures: 3, ..BreakerConfig::default() }
}

fn breaker(config: BreakerConfig) -> BreakerHandle {
    BreakerHandle::new(Label::new("test"), config)
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What the inner service gives: an answer with this status and body, or an error.
type Answer = Result<(u16, CoreBody), Error>;

async fn attempt(
    breaker: &BreakerHandle,
    answer: Answer,
) -> Result<Response<ResponseBody<CoreBody>>, BoxError> {
    attempt_with(breaker, answer, Request::new(())).await
}

async fn attempt_with(
    breaker: &BreakerHandle,
    answer: Answer,
    request: Request<()>,
) -> Result<Response<ResponseBody<CoreBody>>, BoxError> {
    let answer = Arc::new(Mutex::new(Some(answer)));
    let service = BreakerLayer::new(breaker.clone()).layer(service_fn(move |_: Request<()>| {
        let answer = answer.lock().unwrap().take().unwrap();
        async move {
            let (status, body) = answer?;
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok::<_, BoxError>(response)
        }
    }));
    service.oneshot(request).await
}

async fn status(breaker: &BreakerHandle, status: u16) {
    let response = attempt(breaker, Ok((status, CoreBody::from("x")))).await.unwrap();
    response.into_body().collect().await.unwrap();
}

async fn open(breaker: &BreakerHandle) {
    for _ in 0..3 {
        status(breaker, 503).await;
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

fn cut() -> CoreBody {
    let frames = [Ok(Frame::data(Bytes::from("half"))), Err(Error::new(ErrorKind::Truncated, "cut"))];
    CoreBody::new(StreamBody::new(futures_util::stream::iter(frames)))
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_a_success_between_does_not_let_them() {
    let breaker = breaker(config());
    for status in [500, 502, 200, 503, 529] {
        self::status(&breaker, status).await;
    }
    assert_eq!((breaker.state(), breaker.available_at()), (BreakerState::Closed, None));
    status(&breaker, 504).await;
    assert_eq!(breaker.state(), BreakerState::Open);
    let until = breaker.available_at().unwrap();
    assert!(until > Instant::now() + s(3) && until <= Instant::now() + s(5));
    let error = attempt(&breaker, Ok((200, CoreBody::empty()))).await.unwrap_err();
    let error = Error::find(&*error).unwrap();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Unavailable, Sent::Nothing));
    assert_eq!(error.retry_after(), Some(until - Instant::now()));
    assert!(error.to_string().contains("test"));
}

#[tokio::test(start_paused = true)]
async fn a_share_of_failures_opens_it_once_there_are_enough() {
    let config = BreakerConfig { consecutive_failures: 0, failure_ratio: 0.5, min_requests: 10, ..config() };
    let breaker = breaker(config);
    for _ in 0..4 {
        status(&breaker, 500).await;
        status(&breaker, 200).await;
    }
    status(&breaker, 500).await;
    assert_eq!(breaker.state(), BreakerState::Closed, "five of nine: too few to tell");
    advance(s(11)).await;
    for _ in 0..9 {
        status(&breaker, 500).await;
    }
    assert_eq!(breaker.state(), BreakerState::Closed, "what is old does not count");
    status(&breaker, 500).await;
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn what_is_the_callers_or_the_keys_says_nothing() {
    let breaker = breaker(BreakerConfig { consecutive_failures: 1, ..config() });
    for status in [400, 401, 402, 403, 404, 422, 429] {
        self::status(&breaker, status).await;
    }
    for kind in [ErrorKind::BadRequest, ErrorKind::ClientGone, ErrorKind::Misconfigured] {
        attempt(&breaker, Err(Error::new(kind, "x"))).await.unwrap_err();
    }
    attempt(&breaker, Err(Error::timeout(Clock::Total, s(1)))).await.unwrap_err();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn errors_and_bodies_that_break_are_failures() {
    let errors = [
        Error::new(ErrorKind::Connect, "x"),
        Error::new(ErrorKind::Connection, "x"),
        Error::new(ErrorKind::BadAnswer, "x"),
        Error::timeout(Clock::Head, s(1)),
        Error::new(ErrorKind::UpstreamStatus(StatusCode::BAD_GATEWAY), "x"),
    ];
    for error in errors {
        let breaker = breaker(BreakerConfig { consecutive_failures: 1, ..config() });
        attempt(&breaker, Err(error)).await.unwrap_err();
        assert_eq!(breaker.state(), BreakerState::Open);
    }
    let breaker = breaker(BreakerConfig { consecutive_failures: 1, ..config() });
    let response = attempt(&breaker, Ok((200, cut()))).await.unwrap();
    assert_eq!(breaker.state(), BreakerState::Closed);
    response.into_body().collect().await.unwrap_err();
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_good_head_of_a_probe_closes_it_and_a_failure_opens_it_for_longer() {
    let breaker = breaker(config());
    open(&breaker).await;
    let mut most = 5;
    for _ in 0..4 {
        let until = breaker.available_at().unwrap();
        let left = until - Instant::now();
        assert!(left <= s(most) && left >= s(most).mul_f64(0.79), "{left:?} of {most}");
        advance(left).await;
        assert_eq!(breaker.available_at(), None);
        status(&breaker, 503).await;
        assert_eq!(breaker.state(), BreakerState::Open);
        most = (most * 2).min(30);
    }
    advance(s(30)).await;
    let streaming = attempt(&breaker, Ok((200, CoreBody::from("x")))).await.unwrap();
    assert_eq!(breaker.state(), BreakerState::Closed, "the head is enough");
    drop(streaming);
    // Well for long: it starts anew.
    advance(s(31)).await;
    open(&breaker).await;
    assert!(breaker.available_at().unwrap() - Instant::now() <= s(5));
}

#[tokio::test(start_paused = true)]
async fn probes_are_bounded_and_never_lost() {
    let breaker = breaker(config());
    open(&breaker).await;
    advance(s(5)).await;
    let pending = BreakerLayer::new(breaker.clone())
        .layer(service_fn(|_: Request<()>| std::future::pending::<Result<Response<CoreBody>, BoxError>>()));
    for _ in 0..3 {
        let mut probe = tokio_test::task::spawn(pending.clone().oneshot(Request::new(())));
        tokio_test::assert_pending!(probe.poll());
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.available_at().is_some());
        assert!(attempt(&breaker, Ok((200, CoreBody::empty()))).await.is_err(), "one at a time");
        drop(probe);
        assert_eq!(breaker.available_at(), None, "given back");
    }
    // One that learns nothing is given back too.
    status(&breaker, 429).await;
    assert_eq!((breaker.state(), breaker.available_at()), (BreakerState::HalfOpen, None));
    status(&breaker, 200).await;
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_was_let_pass_before_does_not_count_after() {
    let breaker = breaker(config());
    let old = attempt(&breaker, Ok((200, cut()))).await.unwrap();
    open(&breaker).await;
    advance(s(5)).await;
    status(&breaker, 200).await;
    for _ in 0..2 {
        status(&breaker, 500).await;
    }
    old.into_body().collect().await.unwrap_err();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_last_resort_passes_and_does_not_close_it() {
    let breaker = breaker(config());
    open(&breaker).await;
    let mut request = Request::new(());
    request.extensions_mut().insert(LastResort);
    let response = attempt_with(&breaker, Ok((200, CoreBody::empty())), request).await.unwrap();
    assert_eq!((response.status(), breaker.state()), (StatusCode::OK, BreakerState::Open));
}

#[tokio::test(start_paused = true)]
async fn one_that_never_opens() {
    let breaker = breaker(BreakerConfig::never());
    for _ in 0..100 {
        status(&breaker, 500).await;
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn each_change_is_counted_once() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let breaker = breaker(config());
    let _recorder = metrics::set_default_local_recorder(&recorder);
    open(&breaker).await;
    advance(s(5)).await;
    status(&breaker, 200).await;
    let mut seen: Vec<String> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels: Vec<_> = key.key().labels().map(|label| label.value().to_owned()).collect();
            format!("{} {} {value:?}", key.key().name(), labels.join(" "))
        })
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "towergate_breaker_changes_total test closed Counter(1)",
            "towergate_breaker_changes_total test half_open Counter(1)",
            "towergate_breaker_changes_total test open Counter(1)",
            "towergate_breaker_state test Gauge(0.0)",
        ]
    );
}
