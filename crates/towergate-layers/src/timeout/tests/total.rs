//! The bound on the whole request, and the client's own patience.

use super::*;

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
