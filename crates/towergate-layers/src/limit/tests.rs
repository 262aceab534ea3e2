use std::task::Waker;

use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use proptest::prelude::*;
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task::spawn};
use tower_test::mock::{self, Mock};
use towergate_core::Body;

use super::*;

type Inner = Mock<Request<()>, Response<Body>>;

fn ready<S: Service<Request<()>>>(service: &mut S) {
    let polled = service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(()))));
}

/// A layer around a mock service, and that service's other end.
fn pair(layer: &LimitLayer) -> (Limit<Inner>, mock::Handle<Request<()>, Response<Body>>) {
    let (inner, handle) = mock::pair();
    (layer.layer(inner), handle)
}

#[tokio::test]
async fn over_the_limit_is_turned_away_at_once() {
    let layer = LimitLayer::new(1);
    let (mut service, mut inner) = pair(&layer);
    inner.allow(3);

    ready(&mut service);
    let first = spawn(service.call(Request::new(())));
    ready(&mut service);
    let mut second = spawn(service.call(Request::new(())));
    let error = assert_ready_err!(second.poll());
    let error = Error::find(&*error).unwrap();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(error.setting(), Some("server.max_in_flight"));

    drop(first);
    ready(&mut service);
    let mut third = spawn(service.call(Request::new(())));
    assert_pending!(third.poll());
}

#[tokio::test]
async fn the_permit_lives_until_the_body_ends() {
    let layer = LimitLayer::new(8);
    let in_flight = layer.in_flight();
    let (mut service, mut inner) = pair(&layer);
    let bodies = [
        (Body::empty(), 0),
        (Body::from("collected"), 1),
        (Body::new(Full::new(Bytes::from_static(b"boxed")).boxed_unsync()), 1),
    ];
    for (body, held) in bodies {
        ready(&mut service);
        let mut future = spawn(service.call(Request::new(())));
        assert_pending!(future.poll());
        assert_eq!(in_flight.count(), 1);
        inner.next_request().await.unwrap().1.send_response(Response::new(body));
        let mut response = assert_ready_ok!(future.poll());
        assert_eq!(in_flight.count(), held);
        let mut frame = spawn(response.body_mut().frame());
        drop(assert_ready!(frame.poll()));
        drop(frame);
        // Given back behind the last frame, though the body is still held.
        assert!(response.body().is_end_stream());
        assert_eq!(in_flight.count(), 0);
    }
}

#[tokio::test]
async fn a_failed_call_gives_its_permit_back_before_its_future_is_dropped() {
    let layer = LimitLayer::new(1);
    let (mut service, mut inner) = pair(&layer);
    ready(&mut service);
    let mut future = spawn(service.call(Request::new(())));
    assert_pending!(future.poll());
    inner.next_request().await.unwrap().1.send_error("broken");
    assert_ready_err!(future.poll());
    assert_eq!(layer.in_flight().count(), 0);
}

#[tokio::test]
async fn all_services_of_one_layer_share_its_permits() {
    let layer = LimitLayer::new(1);
    let (mut one, _one) = pair(&layer);
    let (mut other, _other) = pair(&layer.clone());
    ready(&mut one);
    let _held = one.call(Request::new(()));
    ready(&mut other);
    assert_ready_err!(spawn(other.call(Request::new(()))).poll());
}

#[tokio::test]
async fn nothing_is_let_in_with_no_permits_and_everything_without_a_limit() {
    let none = LimitLayer::new(0);
    let (mut service, _inner) = pair(&none);
    ready(&mut service);
    assert_ready_err!(spawn(service.call(Request::new(()))).poll());
    assert_eq!(none.in_flight().limit(), Some(0));

    let unlimited = LimitLayer::unlimited();
    let (mut service, _inner) = pair(&unlimited);
    let held: Vec<_> = std::iter::repeat_with(|| {
        ready(&mut service);
        service.call(Request::new(()))
    })
    .take(1000)
    .collect();
    assert_eq!(unlimited.in_flight().count(), held.len());
    assert_eq!(unlimited.in_flight().limit(), None);
}

proptest! {
    #[test]
    fn never_more_permits_than_the_limit(limit in 0..5usize, takes in proptest::collection::vec(any::<bool>(), 0..50)) {
        let in_flight = LimitLayer::new(limit).in_flight();
        let mut held = Vec::new();
        for take in takes {
            if take {
                let free = held.len() < limit;
                let permit = in_flight.acquire();
                prop_assert_eq!(permit.is_some(), free);
                held.extend(permit);
            } else {
                held.pop();
            }
            prop_assert_eq!(in_flight.count(), held.len());
        }
    }
}
