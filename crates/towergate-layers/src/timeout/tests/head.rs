//! The clock of the head, and which clocks an attempt has.

use super::*;

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
    let set = timeouts.overridden(&set);
    assert_eq!((set.head(None), set.first_event(None), set.idle()), (Some(s(1)), Some(s(4)), s(5)));
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
async fn a_clock_names_what_the_user_would_change() {
    let of_variable = Timeouts::uniform(s(3)).changed_by("OPENAI_TIMEOUT");
    let own = AttemptClocks { head: Some(s(1)), ..AttemptClocks::default() };
    for (clocks, setting) in
        [(AttemptClocks::default(), "OPENAI_TIMEOUT"), (own, "models.*.head, models.*.failover_after")]
    {
        let mut request = request(Some(stream_facts()));
        request.extensions_mut().insert(clocks);
        let service = AttemptTimeoutLayer::new(&of_variable).layer(silent());
        let error = service.oneshot(request).await.unwrap_err();
        assert_eq!(Error::find(&*error).unwrap().setting(), Some(setting));
    }
    let own = of_variable.overridden(&own);
    assert_eq!(own.setting(Clock::Idle), "OPENAI_TIMEOUT");
    assert_eq!(own.setting(Clock::Total), "server.total_timeout");
    let error = Timeouts::uniform(s(0)).changed_by("OPENAI_TIMEOUT").validate().unwrap_err();
    assert_eq!(error.setting(), Some("OPENAI_TIMEOUT"));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_an_attempt_that_may_wait_longer() {
    let service = AttemptTimeoutLayer::new(&Timeouts::default()).layer(silent());
    let mut request = request(Some(stream_facts()));
    request.extensions_mut().insert(Deadline((Instant::now() + s(5)).into_std()));
    assert_eq!(clock_of(service.oneshot(request)).await, (Clock::Total, s(5)));
}
