//! The gap in an upload, and what it does to the other clocks.

use super::*;

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
