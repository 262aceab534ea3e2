//! How an error inside a stream reaches the client.

use super::*;

/// Frames, then what `end` says; tells when it is dropped.
struct Frames {
    frames: VecDeque<Frame<Bytes>>,
    end: Option<Error>,
    stuck: bool,
    dropped: Arc<AtomicBool>,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if self.stuck => Poll::Pending,
            None => Poll::Ready(self.end.take().map(Err)),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(
            self.frames.iter().filter_map(|frame| frame.data_ref()).map(Bytes::len).sum::<usize>() as u64,
        )
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.dropped.store(true, SeqCst);
    }
}

fn frames(data: &[&'static str], end: Option<Error>) -> (Frames, Arc<AtomicBool>) {
    let dropped = Arc::<AtomicBool>::default();
    let frames = data.iter().map(|data| Frame::data(Bytes::from_static(data.as_bytes()))).collect();
    (Frames { frames, end, stuck: false, dropped: Arc::clone(&dropped) }, dropped)
}

async fn stream(
    body: Frames,
    headers: &[(header::HeaderName, &'static str)],
) -> (Response<ResponseBody<Frames>>, Arc<RequestRecord>) {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .extend(headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))));
    let mut request = Request::new(());
    let record = RequestRecord::of(request.extensions_mut());
    let mut response = Some(response);
    let inner =
        service_fn(move |_: Request<()>| future::ready(Ok::<_, Infallible>(response.take().unwrap())));
    (RespondLayer::new(Plain).layer(inner).oneshot(request).await.unwrap(), record)
}

const EVENTS: (header::HeaderName, &str) = (header::CONTENT_TYPE, "text/event-stream; charset=utf-8");

fn cut() -> Option<Error> {
    Some(Error::new(ErrorKind::Truncated, "cut"))
}

#[tokio::test(start_paused = true)]
async fn a_streams_error_is_an_event_then_a_pause_then_an_error() {
    let (body, dropped) = frames(&["data: 1\n\n"], cut());
    let (answer, record) = stream(body, &[EVENTS, (header::CONTENT_LENGTH, "900")]).await;
    assert_eq!(header(&answer, "content-length"), None);
    let mut body = tokio_test::task::spawn(answer.into_body());
    assert_eq!(body.size_hint().exact(), None);
    let mut next = || body.enter(|cx, body| body.poll_frame(cx));
    let data = |frame: Poll<Option<Result<Frame<Bytes>, BoxError>>>| match frame {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(data(next()), "data: 1\n\n");
    assert_eq!(record.settled(), None);
    assert_eq!(data(next()), "event: error\ndata: upstream_truncated\n\n");
    assert!(dropped.load(SeqCst), "the upstream is let go at once");
    assert_eq!(record.settled(), Some(Outcome::Truncated));
    assert!(next().is_pending());
    tokio::time::advance(Duration::from_millis(900)).await;
    assert!(next().is_pending());
    tokio::time::advance(Duration::from_millis(200)).await;
    match next() {
        Poll::Ready(Some(Err(error))) => {
            assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::Truncated)
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(next(), Poll::Ready(None)));
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn an_event_is_left_out_where_it_would_do_harm() {
    let signalled = || cut().map(Error::already_signalled);
    for (data, end) in [("data: 1\n\n", signalled()), ("data: {\"half", cut())] {
        let (body, _) = frames(&[data], end);
        let started = Instant::now();
        let mut body = stream(body, &[EVENTS]).await.0.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), data);
        body.frame().await.unwrap().unwrap_err();
        // What was sent before is flushed all the same.
        assert!(started.elapsed() >= RespondLayer::GRACE);
    }
}

#[tokio::test(start_paused = true)]
async fn other_bodies_fail_as_they_are() {
    let gzip = (header::CONTENT_ENCODING, "gzip");
    for headers in [&[][..], &[(header::CONTENT_TYPE, "application/json")], &[EVENTS, gzip]] {
        let (body, _) = frames(&["x"], cut());
        let started = Instant::now();
        let (answer, record) = stream(body, headers).await;
        let mut body = answer.into_body();
        assert_eq!(body.size_hint().exact(), Some(1));
        body.frame().await.unwrap().unwrap();
        body.frame().await.unwrap().unwrap_err();
        assert_eq!((started.elapsed(), record.settled()), (Duration::ZERO, None));
    }
}

#[tokio::test]
async fn frames_and_trailers_pass_in_streams_too() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    for headers in [&[][..], &[EVENTS]] {
        let (mut body, _) = frames(&["data: 1\n", "\n"], None);
        body.frames.push_back(Frame::trailers(trailers.clone()));
        let collected = stream(body, headers).await.0.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "data: 1\n\n");
    }
    let empty = upstream(200, |response| *response.body_mut() = CoreBody::empty()).await;
    assert!(empty.body().is_end_stream());
    assert_eq!(empty.body().size_hint().exact(), Some(0));
}

#[tokio::test]
async fn a_drop_reaches_what_is_below() {
    let (mut body, dropped) = frames(&["data: 1\n\n"], None);
    body.stuck = true;
    let mut body = stream(body, &[EVENTS]).await.0.into_body();
    body.frame().await.unwrap().unwrap();
    assert!(!dropped.load(SeqCst));
    drop(body);
    assert!(dropped.load(SeqCst));

    let (held, dropped) = frames(&[], None);
    let mut held = Some(held);
    let inner = service_fn(move |_: Request<()>| {
        let held = held.take();
        async move {
            future::pending::<()>().await;
            drop(held);
            Ok::<_, Infallible>(Response::new(CoreBody::empty()))
        }
    });
    let mut call = tokio_test::task::spawn(RespondLayer::new(Plain).layer(inner).oneshot(Request::new(())));
    assert!(call.poll().is_pending());
    drop(call);
    assert!(dropped.load(SeqCst));
}
