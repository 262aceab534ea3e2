//! What is repeated, and what the answer says that goes back.

use http::HeaderValue;
use towergate_core::{Clock, Sent, context::CallerCredential};

use super::*;

#[tokio::test(start_paused = true)]
async fn transient_answers_are_repeated_until_one_is_good() {
    for status in [408, 429, 500, 502, 503, 504, 520, 529] {
        let upstream = Upstream::new([answer(status), answer(status), answer(status)]);
        let answer = upstream.call(&exact(), request()).await.unwrap();
        assert_eq!(answer.status(), 200, "{status}");
        assert_eq!((gave_up(&answer), should_retry(&answer)), (None, None));
        let attempts: Vec<u32> = upstream.calls().iter().map(|call| call.attempt).collect();
        assert_eq!(attempts, [1, 2, 3, 4]);
    }
}

#[tokio::test(start_paused = true)]
async fn other_answers_go_back_as_they_are() {
    for status in [200, 201, 204, 302, 307, 400, 403, 404, 409, 413, 422] {
        let upstream = Upstream::new([answer_with(status, &[("retry-after", "1")])]);
        let answer = upstream.call(&exact(), request()).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!((gave_up(&answer), should_retry(&answer)), (None, None), "{status}");
        assert_eq!(answer.headers().len(), 1);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "answer");
        assert_eq!(upstream.calls().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_class_that_was_read_counts_more_than_the_status() {
    for (status, class) in
        [(429, Class::QuotaExhausted), (401, Class::AuthRefused), (403, Class::AuthRefused)]
    {
        let mut first = answer(status).unwrap();
        first.extensions_mut().insert(class);
        let upstream = Upstream::new([Ok(first)]);
        let answer = upstream.call(&exact(), request()).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!((gave_up(&answer), should_retry(&answer)), (None, Some("false")));
        assert_eq!(upstream.calls().len(), 1);
    }
    let mut first = answer(200).unwrap();
    first.extensions_mut().insert(Class::Overloaded);
    let upstream = Upstream::new([Ok(first)]);
    upstream.call(&exact(), request()).await.unwrap();
    assert_eq!(upstream.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_callers_own_key_is_not_touched() {
    let upstream = Upstream::new([answer(401)]);
    let mut request = request();
    request.extensions_mut().insert(CallerCredential);
    let answer = upstream.call(&exact(), request).await.unwrap();
    assert_eq!((answer.status(), should_retry(&answer)), (StatusCode::UNAUTHORIZED, None));
}

#[tokio::test(start_paused = true)]
async fn used_up_attempts_tell_the_client_to_stop() {
    for status in [408, 429, 500, 503] {
        let upstream = Upstream::new([answer(status), answer(status)]);
        let answer = upstream.call(&exact().max_retries(1), request()).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!((gave_up(&answer), should_retry(&answer)), (Some(GaveUp::Exhausted), Some("false")));
        assert_eq!(upstream.calls().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn no_retries_means_one_attempt() {
    let upstream = Upstream::new([answer(500)]);
    let answer = upstream.call(&exact().max_retries(0), request()).await.unwrap();
    assert_eq!((gave_up(&answer), should_retry(&answer)), (Some(GaveUp::Exhausted), Some("false")));
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_upstreams_own_word_on_retrying_is_kept() {
    let upstream = Upstream::new([answer_with(503, &[("x-should-retry", "false")])]);
    let answer = upstream.call(&exact(), request()).await.unwrap();
    assert_eq!((gave_up(&answer), should_retry(&answer)), (None, Some("false")));
    assert_eq!(upstream.calls().len(), 1);

    let yes = || answer_with(503, &[("x-should-retry", "true")]);
    let upstream = Upstream::new([yes(), yes()]);
    let answer = upstream.call(&exact().max_retries(1), request()).await.unwrap();
    assert_eq!((gave_up(&answer), should_retry(&answer)), (Some(GaveUp::Exhausted), Some("true")));
    assert_eq!(upstream.calls().len(), 2);

    let upstream = Upstream::new([answer_with(409, &[("x-should-retry", "true")])]);
    let answer = upstream.call(&exact(), request()).await.unwrap();
    assert_eq!((answer.status(), should_retry(&answer)), (StatusCode::CONFLICT, Some("true")));
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_attempt_are_repeated_and_the_last_one_comes_back() {
    for kind in [
        ErrorKind::Connect,
        ErrorKind::Connection,
        ErrorKind::BadAnswer,
        ErrorKind::Truncated,
        ErrorKind::Timeout(Clock::Connect),
        ErrorKind::Timeout(Clock::Head),
        ErrorKind::Timeout(Clock::FirstEvent),
        ErrorKind::Timeout(Clock::Idle),
    ] {
        let upstream = Upstream::new([failed(kind), failed(kind), failed(kind)]);
        let error = upstream.call(&exact().max_retries(2), request()).await.unwrap_err();
        assert_eq!(Error::find(&*error).unwrap().kind(), kind);
        assert_eq!(upstream.calls().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn other_errors_come_back_at_once() {
    for kind in [
        ErrorKind::Timeout(Clock::Total),
        ErrorKind::Timeout(Clock::RequestBody),
        ErrorKind::ClientGone,
        ErrorKind::Overloaded,
        ErrorKind::Unavailable,
        ErrorKind::Misconfigured,
        ErrorKind::Internal,
    ] {
        let upstream = Upstream::new([failed(kind)]);
        assert!(upstream.call(&exact(), request()).await.is_err());
        assert_eq!(upstream.calls().len(), 1, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_bill_can_be_refused() {
    let layer = exact().retry_maybe_billed(false);
    for status in [408, 500, 502, 504] {
        let upstream = Upstream::new([answer(status)]);
        let answer = upstream.call(&layer, request()).await.unwrap();
        assert_eq!((gave_up(&answer), should_retry(&answer)), (Some(GaveUp::MaybeBilled), Some("false")));
    }
    for sent in [Sent::Nothing, Sent::NotProcessed] {
        let upstream = Upstream::new([Err(Error::new(ErrorKind::Connection, "x").with_sent(sent))]);
        assert!(upstream.call(&layer, request()).await.is_ok());
    }
    let upstream = Upstream::new([Err(Error::new(ErrorKind::Connection, "x").with_sent(Sent::Unknown))]);
    assert!(upstream.call(&layer, request()).await.is_err());
    for status in [429, 503] {
        let upstream = Upstream::new([answer(status)]);
        assert_eq!(upstream.call(&layer, request()).await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_of_ones_own_decides() {
    #[derive(Debug)]
    struct Conflicts;

    impl RetryPolicy for Conflicts {
        fn decide(&self, attempted: &Attempted<'_>) -> Verdict {
            match attempted {
                Attempted::Answer { status: StatusCode::CONFLICT, .. } => {
                    Verdict::Retry { reason: Reason::Other, maybe_billed: false }
                }
                Attempted::Answer { .. } | Attempted::Failed(_) => Verdict::Return,
            }
        }
    }

    let layer = exact().policy(Conflicts);
    let upstream = Upstream::new([answer(409)]);
    assert_eq!(upstream.call(&layer, request()).await.unwrap().status(), 200);
    let upstream = Upstream::new([answer(503)]);
    let answer = upstream.call(&layer, request()).await.unwrap();
    assert_eq!(answer.headers().get(X_SHOULD_RETRY), Some(&HeaderValue::from_static("false")));
}
