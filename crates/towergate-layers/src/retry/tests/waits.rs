//! How long it waits, and when it does not wait at all.

use std::time::SystemTime;

use towergate_core::context::{Deadline, Patience};

use super::*;

fn after(time: Duration) -> std::time::Instant {
    (Instant::now() + time).into_std()
}

fn with_deadline(seconds: u64) -> Request<Body> {
    let mut request = request();
    request.extensions_mut().insert(Deadline(after(Duration::from_secs(seconds))));
    request
}

#[tokio::test(start_paused = true)]
async fn without_jitter_the_waits_are_exactly_one_two_and_four_seconds() {
    let upstream = Upstream::new([answer(500), answer(502), failed(ErrorKind::Connect), answer(503)]);
    let answer = upstream.call(&exact(), request()).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(gaps(&upstream.calls()), [1000, 2000, 4000]);
}

#[tokio::test(start_paused = true)]
async fn the_backoff_is_capped() {
    let upstream = Upstream::new([answer(500), answer(500), answer(500), answer(500)]);
    let layer = exact().max_retries(4).max_backoff(Duration::from_secs(3));
    upstream.call(&layer, request()).await.unwrap();
    assert_eq!(gaps(&upstream.calls()), [1000, 2000, 3000, 3000]);
    // At thirty seconds, where nothing is set.
    let upstream = Upstream::new(std::iter::repeat_with(|| answer(500)).take(7));
    upstream.call(&exact().max_retries(7), request()).await.unwrap();
    assert_eq!(gaps(&upstream.calls()), [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
}

#[tokio::test(start_paused = true)]
async fn with_jitter_they_are_up_to_a_quarter_shorter() {
    let mut shorter = 0;
    for _ in 0..50 {
        let upstream = Upstream::new([answer(500), answer(500), answer(500)]);
        upstream.call(&RetryLayer::new(), request()).await.unwrap();
        let gaps = gaps(&upstream.calls());
        for (gap, full) in gaps.iter().zip([1000, 2000, 4000]) {
            assert!((full * 3 / 4..=full + 1).contains(gap), "{gaps:?}");
            shorter += u32::from(*gap < full);
        }
    }
    assert!(shorter > 100, "of 150 waits {shorter} were shortened");
}

#[tokio::test(start_paused = true)]
async fn what_the_upstream_asks_for_is_obeyed_exactly() {
    for (status, fields, expected) in [
        (429, vec![("retry-after", "7")], 7000),
        (503, vec![("retry-after", "30")], 30_000),
        (500, vec![("retry-after", "7"), ("retry-after-ms", "1250.0")], 1250),
        (408, vec![("retry-after-ms", "20")], 20),
        (429, vec![("retry-after", "0")], 1000),
        (429, vec![("retry-after", "soon")], 1000),
        (429, vec![("retry-after", "-5")], 1000),
    ] {
        let upstream = Upstream::new([answer_with(status, &fields)]);
        // With jitter off, so that a backoff would be seen; on makes no difference to the rest.
        upstream.call(&exact(), request()).await.unwrap();
        assert_eq!(gaps(&upstream.calls()), [expected], "{status} {fields:?}");
    }
    let upstream = Upstream::new([answer_with(429, &[("retry-after", "7")])]);
    upstream.call(&RetryLayer::new(), request()).await.unwrap();
    assert_eq!(gaps(&upstream.calls()), [7000]);
}

#[tokio::test(start_paused = true)]
async fn a_date_is_obeyed() {
    // Dates are on the real clock and in whole seconds.
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(20));
    let upstream = Upstream::new([answer_with(503, &[("retry-after", &date)])]);
    upstream.call(&exact(), request()).await.unwrap();
    let gap = gaps(&upstream.calls())[0];
    assert!((10_000..=20_001).contains(&gap), "{gap}");
}

#[tokio::test(start_paused = true)]
async fn the_extension_comes_before_the_header_and_errors_may_ask_too() {
    let mut first = answer_with(429, &[("retry-after", "7")]).unwrap();
    first.extensions_mut().insert(RetryAfter(Duration::from_secs(3)));
    let second = Err(Error::new(ErrorKind::Connect, "x").with_retry_after(Duration::from_secs(5)));
    let mut third = answer(429).unwrap();
    third.extensions_mut().insert(RetryAfter(Duration::ZERO));
    let upstream = Upstream::new([Ok(first), second, Ok(third)]);
    upstream.call(&exact(), request()).await.unwrap();
    // No time at all is none: the third wait is the backoff.
    assert_eq!(gaps(&upstream.calls()), [3000, 5000, 4000]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_over_the_limit_goes_back_at_once() {
    let start = Instant::now();
    for value in ["31", "99999999999999999999999999"] {
        let upstream = Upstream::new([answer_with(429, &[("retry-after", value)])]);
        let answer = upstream.call(&exact(), request()).await.unwrap();
        assert_eq!(answer.headers()["retry-after"], value);
        assert_eq!((gave_up(&answer), should_retry(&answer)), (Some(GaveUp::WaitTooLong), None));
        assert_eq!(upstream.calls().len(), 1);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);

    let upstream = Upstream::new([answer_with(429, &[("retry-after", "31")])]);
    let longer = exact().max_retry_after(Duration::from_secs(40));
    assert_eq!(upstream.call(&longer, request()).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_too_says_that_only_the_wait_was_too_long() {
    let upstream = Upstream::new([answer(500), answer_with(429, &[("retry-after", "60")])]);
    let answer = upstream.call(&exact().max_retries(1), request()).await.unwrap();
    assert_eq!((gave_up(&answer), should_retry(&answer)), (Some(GaveUp::WaitTooLong), None));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_deadline_leaves_no_room_for_goes_back_at_once() {
    let start = Instant::now();
    let upstream = Upstream::new([answer_with(429, &[("retry-after", "5")])]);
    let answer = upstream.call(&exact(), with_deadline(5)).await.unwrap();
    assert_eq!((gave_up(&answer), should_retry(&answer)), (Some(GaveUp::WaitTooLong), None));
    assert_eq!(start.elapsed(), Duration::ZERO);

    let upstream = Upstream::new([answer_with(429, &[("retry-after", "5")])]);
    assert_eq!(upstream.call(&exact(), with_deadline(6)).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_clients_patience_bounds_it_too() {
    let patient = |seconds| {
        let mut request = with_deadline(600);
        request.extensions_mut().insert(Patience(after(Duration::from_secs(seconds))));
        request
    };
    let upstream = Upstream::new([answer_with(429, &[("retry-after", "5")])]);
    let answer = upstream.call(&exact(), patient(4)).await.unwrap();
    assert_eq!(gave_up(&answer), Some(GaveUp::WaitTooLong));
    let upstream = Upstream::new([answer_with(429, &[("retry-after", "5")])]);
    assert_eq!(upstream.call(&exact(), patient(6)).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_backoff_that_does_not_fit_the_deadline_is_the_end() {
    let start = Instant::now();
    let upstream = Upstream::new([answer(500), answer(500), answer(500)]);
    let answer = upstream.call(&exact(), with_deadline(3)).await.unwrap();
    assert_eq!((gave_up(&answer), should_retry(&answer)), (Some(GaveUp::Exhausted), Some("false")));
    // One second was waited; the two that come next would end at the deadline.
    assert_eq!(upstream.calls().len(), 2);
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_leaves_no_room() {
    let request = with_deadline(1);
    tokio::time::advance(Duration::from_secs(2)).await;
    let upstream = Upstream::new([failed(ErrorKind::Connect)]);
    assert!(upstream.call(&exact(), request).await.is_err());
    assert_eq!(upstream.calls().len(), 1);
}
