//! The faults of a public failover benchmark, with two providers that stand in for each other and, where it
//! makes a difference, three. What one provider does alone about the rest of them is in the other tests.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use towergate::{
    Candidate, ServedModel,
    core::Clock,
    layers::{breaker::BreakerConfig, timeout::Timeouts},
};
use towergate_sim::{Fault, Gate};

use crate::support::{Answer, Several, chat, chat_stream};

/// Streams, as the benchmark does, and gives what came and how many seconds it took.
async fn stream(several: &Several) -> (Answer, f64) {
    let began = Instant::now();
    let answer = several.http.chat(&chat_stream("gpt-4o")).await;
    (answer, began.elapsed().as_secs_f64())
}

/// Whether it is the whole answer.
fn is_whole(answer: &Answer) -> bool {
    answer.status == 200 && answer.whole && answer.text().ends_with("data: [DONE]\n\n")
}

fn served_by(answer: &Answer, provider: &str, fallbacks: &str) {
    assert!(is_whole(answer), "{answer:?}");
    assert_eq!(answer.header("x-towergate-provider"), Some(provider));
    assert_eq!(answer.header("x-towergate-fallbacks"), Some(fallbacks));
}

/// An upstream that answers like this from now on.
fn always(several: &Several, place: usize, fault: &str) {
    several.sims[place].script([format!("{fault}; times=1000").as_str()]).unwrap();
}

#[tokio::test]
async fn s01_a_rate_limit_with_a_wait() {
    let several = Several::of(2).start().await;
    several.sims[0].script(["429; retry-after=2"]).unwrap();
    let (answer, took) = stream(&several).await;
    served_by(&answer, "b", "1");
    assert!(took < 1.5, "another one stood ready: {took}");
    assert_eq!(several.received(), [1, 1]);
    // Alone, the wait is kept.
    let alone = Several::of(1).start().await;
    alone.sims[0].script(["429; retry-after=2"]).unwrap();
    let (answer, took) = stream(&alone).await;
    served_by(&answer, "a", "0");
    assert!((1.99..4.0).contains(&took), "{took}");
}

#[tokio::test]
async fn s02_a_rate_limit_for_ever() {
    for count in [2, 3] {
        let several = Several::of(count).start().await;
        always(&several, 0, "429");
        let (answer, took) = stream(&several).await;
        served_by(&answer, "b", "1");
        assert!((0.7..3.0).contains(&took), "there is a wait between two: {took}");
        assert_eq!(several.received()[..2], [2, 1]);
    }
}

#[tokio::test]
async fn s03_one_server_error() {
    let several = Several::of(2).start().await;
    several.sims[0].script(["500"]).unwrap();
    let (answer, _) = stream(&several).await;
    served_by(&answer, "a", "0");
    assert_eq!((several.received(), answer.header("x-towergate-attempts")), (vec![2, 0], Some("2")));
}

#[tokio::test]
async fn s04_an_outage() {
    let several = Several::of(2).start().await;
    always(&several, 0, "503");
    served_by(&stream(&several).await.0, "b", "1");
    assert_eq!(several.received(), [2, 1]);

    let three = Several::of(3).start().await;
    always(&three, 0, "503");
    always(&three, 1, "503");
    let (answer, _) = stream(&three).await;
    served_by(&answer, "c", "2");
    assert_eq!((three.received(), answer.header("x-towergate-attempts")), (vec![2, 1, 1], Some("4")));

    always(&three, 2, "503");
    let (answer, _) = stream(&three).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-should-retry")), (502, Some("false")));
    assert_eq!(answer.header("x-towergate-attempts"), Some("4"));
}

#[tokio::test]
async fn s05_a_reset_before_any_byte() {
    let several = Several::of(2).start().await;
    several.sims[0].script(["reset-before-head"]).unwrap();
    let (answer, _) = stream(&several).await;
    assert!(is_whole(&answer));
    assert_eq!(answer.header("x-towergate-attempts"), Some("2"));
}

#[tokio::test]
async fn s06_a_provider_that_never_answers_is_not_tried_again() {
    let head = Duration::from_millis(300);
    let several = Several::of(2)
        .provider(move |provider| provider.timeouts(Timeouts::default().with_head(head)))
        .start()
        .await;
    always(&several, 0, "stall-head");
    let (answer, took) = stream(&several).await;
    served_by(&answer, "b", "1");
    assert!(took < 5.0, "{took}");
    assert_eq!(several.received(), [1, 1]);
    several.sims[0].wait_until(|log| log.counts().dropped_before_head == 1).await;
}

#[tokio::test]
async fn s07_a_first_token_that_is_long_in_coming() {
    let model = || ServedModel::new("gpt-4o").failover_after(Duration::from_millis(300));
    let several = Several::of(2)
        .routing(move |routing| {
            routing
                .candidate("a", Candidate::new().serves(model()))
                .candidate("b", Candidate::new().priority(2).serves(model()))
        })
        .start()
        .await;
    let gate = Gate::new();
    several.sims[0].script([Fault::new().hold_at(0, &gate)]).unwrap();
    let (answer, took) = stream(&several).await;
    served_by(&answer, "b", "1");
    assert!(took < 5.0, "{took}");
    several.sims[0].wait_until(|log| log.counts().dropped_in_body == 1).await;
    // Whoever is the last one standing is waited for.
    several.sims[0].script(["503; times=2"]).unwrap();
    several.sims[1].script(["delay-at=0:600ms"]).unwrap();
    let (answer, took) = stream(&several).await;
    served_by(&answer, "b", "1");
    assert!(took > 0.5, "{took}");
}

#[tokio::test]
async fn s08_s14_a_stream_that_is_cut_is_no_answer_and_is_not_continued_elsewhere() {
    let several = Several::of(2).start().await;
    several.sims[0].script(["tokens=60; cut-after=40"]).unwrap();
    let (answer, _) = stream(&several).await;
    assert!(!answer.whole && !answer.text().contains("[DONE]"), "{answer:?}");
    let last: Vec<&str> = answer.text().trim_end().rsplit("data: ").collect();
    let error: Value = serde_json::from_str(last[0]).unwrap();
    assert_eq!(error["error"]["code"], "upstream_truncated");
    assert_eq!(several.received(), [1, 0]);
}

#[tokio::test]
async fn s09_a_stream_that_falls_silent_ends_and_the_next_is_served() {
    let idle = Duration::from_millis(300);
    let several = Several::of(2)
        .provider(move |provider| provider.timeouts(Timeouts::default().with_idle(idle)))
        .start()
        .await;
    several.sims[0].script(["tokens=60; stall-after=20"]).unwrap();
    let (answer, took) = stream(&several).await;
    assert!(!answer.whole && answer.text().contains(Clock::Idle.code()) && took < 10.0, "{took} {answer:?}");
    served_by(&stream(&several).await.0, "a", "0");
    assert_eq!(several.received(), [2, 0]);
}

#[tokio::test]
async fn s10_s11_malformed_and_unended_streams_need_nobody_else() {
    let several = Several::of(2).start().await;
    several.sims[0].script(["tokens=20; bad-json-at=9", "tokens=20; no-done"]).unwrap();
    for _ in 0..2 {
        let (answer, took) = stream(&several).await;
        served_by(&answer, "a", "0");
        assert!(took < 8.0);
    }
    assert_eq!(several.received(), [2, 0]);
}

#[tokio::test]
async fn s12_a_request_that_is_too_long() {
    let several = Several::of(2)
        .routing(|routing| {
            routing
                .candidate("a", Candidate::new().model("gpt-4o"))
                .candidate("b", Candidate::new().priority(2).model("gpt-4o").alias("large", "gpt-4.1"))
                .context_length_fallbacks("gpt-4o", ["large"])
        })
        .start()
        .await;
    always(&several, 0, "400; code=context_length_exceeded");
    let (answer, _) = stream(&several).await;
    served_by(&answer, "b", "1");
    assert_eq!(answer.header("x-towergate-model"), Some("gpt-4.1"));
    assert_eq!(several.received(), [1, 1]);
}

#[tokio::test]
async fn s13_a_refusal_of_the_content_reaches_the_caller() {
    let several = Several::of(2).start().await;
    always(&several, 0, "400; code=content_policy_violation; message=not this");
    let (answer, _) = stream(&several).await;
    assert_eq!(answer.status, 400);
    let error = answer.error();
    assert_eq!(
        (error["code"].as_str(), error["message"].as_str()),
        (Some("content_policy_violation"), Some("not this"))
    );
    assert_eq!(several.received(), [1, 0]);
}

#[tokio::test]
async fn s15_an_outage_that_passes() {
    let mut breaker = BreakerConfig::default();
    breaker.consecutive_failures = 3;
    breaker.open_for = Duration::from_millis(300);
    breaker.max_open_for = Duration::from_millis(600);
    let several = Several::of(2).provider(move |provider| provider.breaker(breaker.clone())).start().await;
    always(&several, 0, "503");
    let mut served = 0;
    for _ in 0..30 {
        let answer = stream(&several).await.0;
        assert!(is_whole(&answer) && answer.header("x-towergate-provider") == Some("b"), "{answer:?}");
        served += 1;
    }
    let during = several.received()[0];
    assert!((3..=served / 2).contains(&during), "{during} attempts at a provider that is out");
    several.sims[0].clear_script();
    let recovered = Instant::now();
    while stream(&several).await.0.header("x-towergate-provider") != Some("a") {
        assert!(recovered.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(recovered.elapsed() < Duration::from_secs(3), "{:?}", recovered.elapsed());
    served_by(&stream(&several).await.0, "a", "0");
}

#[tokio::test]
async fn s16_model_and_usage_are_those_of_who_answered() {
    let several = Several::of(2)
        .routing(|routing| {
            routing
                .candidate("a", Candidate::new().model("gpt-4o"))
                .candidate("b", Candidate::new().priority(2).alias("gpt-4o", "llama-3.3-70b"))
        })
        .start()
        .await;
    always(&several, 0, "503");
    let answer = several.http.chat(&chat("gpt-4o")).await;
    assert_eq!(answer.header("x-towergate-model"), Some("llama-3.3-70b"));
    let json = answer.json();
    assert_eq!(json["model"], "llama-3.3-70b");
    let direct = crate::support::Http::new(format!("http://{}", several.upstreams[1].addr()), false);
    let expected = direct.chat(&chat("llama-3.3-70b")).await.json();
    assert_eq!(json["usage"], expected["usage"]);
}
