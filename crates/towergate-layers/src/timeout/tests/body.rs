//! The clocks of an answer's body: the first event, and the gap after it.

use super::*;

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
