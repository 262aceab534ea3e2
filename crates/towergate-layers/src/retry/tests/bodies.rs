//! Sending a body a second time.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::Full;
use towergate_core::{
    context::RequestRecord,
    memory::{ClientMemory, MemoryBudget},
};

use super::*;

fn upload(body: Body) -> Request<Body> {
    Request::post("/v1/files").body(body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn collected_and_streamed_bodies_are_sent_again_whole() {
    for body in [Body::from("abcd"), stream(&["ab", "", "cd"])] {
        let upstream = Upstream::new([answer(503), failed(ErrorKind::Connection)]);
        upstream.call(&exact(), upload(body)).await.unwrap();
        let calls = upstream.calls();
        assert_eq!(calls.len(), 3);
        for call in calls {
            assert_eq!(call.body.unwrap(), "abcd");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_body_of_any_type_is_sent_again_whole() {
    let upstream = Upstream::new([answer(503)]);
    let body = Full::new(Bytes::from_static(b"abcd")).map_err(|never| -> BoxError { match never {} }).boxed();
    let request = Request::post("/v1/files").body(body).unwrap();
    exact().layer(upstream.service()).oneshot(request).await.unwrap();
    let bodies: Vec<_> = upstream.calls().into_iter().map(|call| call.body.unwrap()).collect();
    assert_eq!(bodies, ["abcd", "abcd"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_body_is_sent_again_whatever_its_length_and_whether_it_was_read() {
    let statuses = Mutex::new(vec![200, 503]);
    let unread = Arc::new(move |_: Request<Body>| {
        let status = statuses.lock().unwrap().pop().unwrap();
        async move { Response::builder().status(status).body(Body::empty()) }
    });
    let service = exact().replay_cap(1).layer(service_fn(move |request| unread(request)));
    let request = Request::post("/").body(Full::new(Bytes::from_static(b"abcd"))).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_the_cap_is_sent_once() {
    for chunks in [["abc", "de"], ["abcde", ""]] {
        let upstream = Upstream::new([answer(503)]);
        let answer = upstream.call(&exact().replay_cap(4), upload(stream(&chunks))).await.unwrap();
        assert_eq!((gave_up(&answer), should_retry(&answer)), (Some(GaveUp::NotReplayable), Some("false")));
        let calls = upstream.calls();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].body.as_ref().unwrap(), "abcde");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_known_to_be_too_long_is_not_kept_at_all() {
    let long = || Body::new(http_body_util::Full::new(Bytes::from_static(b"abcde")).boxed_unsync());
    let upstream = Upstream::new([answer(503)]);
    let answer = upstream.call(&exact().replay_cap(4), upload(long())).await.unwrap();
    assert_eq!(gave_up(&answer), Some(GaveUp::NotReplayable));
    assert_eq!(upstream.calls()[0].body.as_ref().unwrap(), "abcde");

    // An error about it comes back too, and a success is none of its business.
    let upstream = Upstream::new([failed(ErrorKind::Connect)]);
    let error = upstream.call(&exact().replay_cap(4), upload(long())).await.unwrap_err();
    assert_eq!(error.to_string(), format!("failed on script{}", GaveUp::UNREPEATED));
    let upstream = Upstream::default();
    let answer = upstream.call(&exact().replay_cap(4), upload(long())).await.unwrap();
    assert_eq!((gave_up(&answer), should_retry(&answer)), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_failed_upload_is_not_repeated() {
    let frames = vec![Ok(Frame::data(Bytes::from("ab"))), Err(BoxError::from("the client went away"))];
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    let upstream = Upstream::new([failed(ErrorKind::Connection)]);
    assert!(upstream.call(&exact(), upload(body)).await.is_err());
    assert_eq!(upstream.calls().len(), 1);
}

/// A client that has sent one piece and goes on later.
struct Slow(Option<Bytes>);

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_is_returned_while_the_upload_runs() {
    for status in [413, 429, 503] {
        let early = service_fn(move |request: Request<Body>| async move {
            let mut body = request.into_body();
            body.frame().await.unwrap().unwrap();
            answer(status)
        });
        let slow = upload(Body::new(Slow(Some(Bytes::from_static(b"first")))));
        let start = Instant::now();
        let answer = exact().layer(early).oneshot(slow).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(gave_up(&answer), (status != 413).then_some(GaveUp::NotReplayable));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_was_leaves_the_stream_for_the_next_attempt() {
    let body = stream(&["ab", "cd"]);
    let calls = Arc::new(Mutex::new(0));
    let refused_once = service_fn(move |request: Request<Body>| {
        let calls = Arc::clone(&calls);
        async move {
            let first = std::mem::replace(&mut *calls.lock().unwrap(), 1) == 0;
            if first {
                return Err(Error::new(ErrorKind::Connect, "refused"));
            }
            assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "abcd");
            answer(200)
        }
    });
    assert_eq!(exact().layer(refused_once).oneshot(upload(body)).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn memory_for_kept_bodies_is_bounded_and_given_back() {
    let memory = MemoryBudget::new(100);
    let layer = exact().replay_cap(8).replay_memory(memory.clone());
    let other = memory.reservation();
    let upstream = Upstream::new([answer(503)]);
    assert_eq!(upstream.call(&layer, upload(stream(&["ab"]))).await.unwrap().status(), 200);
    assert_eq!(memory.used(), 0);

    let mut other = other;
    other.grow(99).unwrap();
    let upstream = Upstream::new([answer(503)]);
    let refused = upstream.call(&layer, upload(stream(&["ab"]))).await.unwrap();
    assert_eq!(gave_up(&refused), Some(GaveUp::NotReplayable));

    // Below an intake layer it is that one's budget, and the share of the client.
    let (intakes, client) = (MemoryBudget::new(1000).per_client(100), ClientMemory::default());
    let mut others = intakes.reservation_of(Some(&client));
    for (held, status) in [(0, 200), (90, 503)] {
        others.grow(held).unwrap();
        let mut request = upload(stream(&["ab"]));
        let record = RequestRecord::of(request.extensions_mut());
        record.set_memory(intakes.clone());
        record.set_client_memory(client.clone());
        let upstream = Upstream::new([answer(503)]);
        assert_eq!(upstream.call(&layer, request).await.unwrap().status(), status);
        assert_eq!((intakes.used(), memory.used()), (held, 99));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_with_no_body_is_repeated() {
    let get = Request::get("/v1/models").body(Body::new(http_body_util::Empty::<Bytes>::new())).unwrap();
    let upstream = Upstream::new([answer(503)]);
    assert_eq!(upstream.call(&exact(), get).await.unwrap().status(), 200);
}
