//! What an attempt finds in its request, and what outer layers find out.

use std::num::NonZeroU32;

use http::{HeaderValue, Method, Version};
use tower_test::mock;
use towergate_core::{
    Clock,
    context::{MaxAttempts, RequestId, RequestRecord, Standby},
};

use super::*;

#[derive(Debug, Clone, PartialEq)]
struct OfTheConnection;

#[tokio::test(start_paused = true)]
async fn an_attempt_is_the_same_request_with_only_its_own_extensions() {
    let id = RequestId::new(HeaderValue::from_static("req_1")).unwrap();
    let mut request = Request::builder()
        .method(Method::PUT)
        .uri("/v1/things?a=b")
        .version(Version::HTTP_2)
        .header("x-one", "1")
        .header("x-one", "2")
        .extension(OfTheConnection)
        .extension(id.clone())
        .body(Body::from("{}"))
        .unwrap();
    let record = RequestRecord::of(request.extensions_mut());
    let upstream = Upstream::new([answer(503), answer(503)]);
    upstream.call(&exact(), request).await.unwrap();

    let calls = upstream.calls();
    assert_eq!(calls.len(), 3);
    for (call, number) in calls.iter().zip(1..) {
        let request = &call.request;
        assert_eq!((request.method(), request.version()), (&Method::PUT, Version::HTTP_2));
        assert_eq!(request.uri(), "/v1/things?a=b");
        assert_eq!(request.headers().get_all("x-one").iter().count(), 2);
        assert_eq!(request.extensions().get(), Some(&id));
        assert_eq!(call.attempt, number);
        assert_eq!(request.extensions().get::<OfTheConnection>().is_some(), number == 1);
    }
    assert_eq!(record.attempts(), 3);
    assert_eq!(record.upstream_time(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_request_can_be_given_fewer_attempts_but_not_more() {
    for (given, expected) in [(1, 1), (2, 2), (9, 4)] {
        let mut request = request();
        request.extensions_mut().insert(MaxAttempts(NonZeroU32::new(given).unwrap()));
        let upstream = Upstream::new((0..10).map(|_| answer(503)));
        let answer = upstream.call(&exact(), request).await.unwrap();
        assert_eq!(gave_up(&answer), Some(GaveUp::Exhausted));
        assert_eq!(upstream.calls().len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn while_another_stands_ready_nothing_is_waited_for_here() {
    let asked = || {
        let mut answer = answer(429).unwrap();
        answer.headers_mut().insert("retry-after", HeaderValue::from_static("2"));
        Ok(answer)
    };
    let failures: [fn() -> Answer; 2] =
        [|| Err(Error::timeout(Clock::Head, Duration::from_secs(1))), || failed(ErrorKind::Connect)];
    for (first, calls) in [(asked(), 1), (failures[0](), 1), (failures[1](), 1), (answer(500), 2)] {
        let mut request = request();
        request.extensions_mut().insert(Standby);
        let upstream = Upstream::new([first]);
        let result = upstream.call(&exact(), request).await;
        if let (1, Ok(answer)) = (calls, &result) {
            assert_eq!(gave_up(answer), Some(GaveUp::HandedOver));
        }
        assert_eq!(upstream.calls().len(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_do_not_share_their_attempts() {
    let upstream = Upstream::new((0..8).map(|_| answer(503)));
    let service = exact().layer(upstream.service());
    let answers = futures_util::future::join_all((0..2).map(|_| service.clone().oneshot(request()))).await;
    for answer in answers {
        assert_eq!(gave_up(&answer.unwrap()), Some(GaveUp::Exhausted));
    }
    let mut attempts: Vec<u32> = upstream.calls().iter().map(|call| call.attempt).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 1, 2, 2, 3, 3, 4, 4]);

    // Nor does one service from one request to the next.
    let mut service = service;
    for _ in 0..2 {
        (&mut service).oneshot(request()).await.unwrap();
    }
    assert!(upstream.calls().iter().all(|call| call.attempt == 1));
}

#[tokio::test(start_paused = true)]
async fn the_inner_service_is_asked_for_readiness_before_each_attempt() {
    let (mock, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    handle.allow(1);
    let mut service = mock::Spawn::new(exact().layer(mock));
    tokio_test::assert_ready_ok!(service.poll_ready::<Request<Body>>());
    let mut future = tokio_test::task::spawn(service.call(request()));
    tokio_test::assert_pending!(future.poll());
    handle.next_request().await.unwrap().1.send_response(answer(503).unwrap());
    tokio_test::assert_pending!(future.poll());
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio_test::assert_pending!(future.poll());
    tokio_test::assert_pending!(handle.poll_request());
    handle.allow(1);
    tokio_test::assert_pending!(future.poll());
    handle.next_request().await.unwrap().1.send_response(answer(200).unwrap());
    tokio_test::assert_ready_ok!(future.poll());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_while_it_waits_leaves_nothing_behind() {
    let (mock, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let mut request = request();
    let record = RequestRecord::of(request.extensions_mut());
    let mut future = tokio_test::task::spawn(exact().layer(mock).oneshot(request));
    tokio_test::assert_pending!(future.poll());
    let (_, answers) = handle.next_request().await.unwrap();
    // The failed answer is dropped before the wait: its connection is not held.
    let dropped = Arc::new(());
    let mut failed = answer(500).unwrap();
    failed.extensions_mut().insert(Arc::clone(&dropped));
    answers.send_response(failed);
    tokio_test::assert_pending!(future.poll());
    assert_eq!(Arc::strong_count(&dropped), 1);

    drop(future);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(handle.next_request().await.is_none());
    assert_eq!((record.attempts(), record.upstream_time()), (1, Duration::ZERO));
    assert_eq!(Arc::strong_count(&record), 1);
}

#[test]
fn the_service_and_its_future_are_what_a_server_needs() {
    fn is_service<S: Clone + Send + Sync + 'static>(_: &S) {}
    fn is_future<F: Send + 'static>(_: &F) {}
    let inner = service_fn(|_: Request<Body>| std::future::ready(answer(200)));
    let mut service = RetryLayer::new().layer(inner);
    is_service(&service);
    let future = service.call(request());
    is_future(&future);
    // A request, a service and a timer; nothing is boxed.
    assert!(size_of_val(&future) <= 768, "{}", size_of_val(&future));
    assert_eq!(format!("{future:?}"), "ResponseFuture { .. }");
}

#[tokio::test(start_paused = true)]
async fn an_extension_of_ones_own_is_carried_where_that_is_asked_for() {
    #[derive(Clone, Debug, PartialEq)]
    struct Tenant(u32);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for layer in [exact().max_retries(1), exact().max_retries(1).carry::<Tenant>()] {
        let seen = Arc::clone(&seen);
        let service = layer.layer(service_fn(move |request: Request<Body>| {
            seen.lock().unwrap().push(request.extensions().get::<Tenant>().cloned());
            std::future::ready(answer(503))
        }));
        let mut request = request();
        request.extensions_mut().insert(Tenant(7));
        service.oneshot(request).await.unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), [Some(Tenant(7)), None, Some(Tenant(7)), Some(Tenant(7))]);
}
