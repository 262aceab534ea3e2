//! Streams of events: held until there is content.

use super::*;

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
