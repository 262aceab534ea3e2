//! Several keys of one provider, and what a refusal of one of them does.

use secrecy::SecretString;
use towergate::{
    OpenAiProviderBuilder,
    core::{credentials::Credential, label::Label},
    layers::key_ring::RingKey,
};

use crate::support::{Answer, Several, chat, chat_stream};

fn with_keys(provider: OpenAiProviderBuilder) -> OpenAiProviderBuilder {
    let key = |name: &str| {
        let credential = Credential::new(&SecretString::from(format!("sk-{name}"))).unwrap();
        RingKey::new(Label::new(name), credential)
    };
    provider.keys([key("one").weight(3.0), key("two")])
}

/// The keys that a provider was sent, in order.
fn sent(several: &Several, place: usize) -> Vec<String> {
    let requests = several.sims[place].requests();
    requests
        .iter()
        .map(|request| request.headers["authorization"].to_str().unwrap().replace("Bearer sk-", ""))
        .collect()
}

/// Answers requests with this key like this.
fn refuse(several: &Several, place: usize, key: &'static str, fault: &str) {
    let with_it =
        move |parts: &http::request::Parts| parts.headers["authorization"].to_str().unwrap().ends_with(key);
    several.sims[place].script_where(with_it, [fault]).unwrap();
}

async fn ask(several: &Several, model: &str) -> Answer {
    several.http.chat(&chat(model)).await
}

#[tokio::test]
async fn a_list_of_one_key_is_that_key() {
    let one = |provider: OpenAiProviderBuilder| {
        let key = RingKey::new(Label::new("only"), Credential::try_from("sk-only").unwrap());
        provider.keys([key])
    };
    let several = Several::of(1).provider(one).start().await;
    assert_eq!(ask(&several, "gpt-4o").await.status, 200);
    assert_eq!(sent(&several, 0), ["only"]);
}

#[tokio::test]
async fn keys_share_the_requests_by_weight() {
    let several = Several::of(1).provider(with_keys).start().await;
    for _ in 0..8 {
        assert_eq!(ask(&several, "gpt-4o").await.status, 200);
    }
    assert_eq!(sent(&several, 0).iter().filter(|key| *key == "one").count(), 6);
}

#[tokio::test]
async fn a_refused_key_is_set_aside_and_the_next_one_serves_at_once() {
    for fault in ["401; times=9", "429; code=insufficient_quota; times=9", "429; retry-after=20; times=9"] {
        let several = Several::of(2).provider(with_keys).start().await;
        refuse(&several, 0, "one", fault);
        for turn in 0..3 {
            let began = tokio::time::Instant::now();
            let answer = several.http.chat(&chat_stream("gpt-4o")).await;
            assert!(answer.whole && answer.text().contains("[DONE]"), "{fault}: {answer:?}");
            assert_eq!(answer.header("x-towergate-provider"), Some("a"), "{fault}");
            assert_eq!(answer.header("x-towergate-attempts"), Some(if turn == 0 { "2" } else { "1" }));
            assert!(began.elapsed().as_secs() < 1, "{fault}");
        }
        assert_eq!(sent(&several, 0), ["one", "two", "two", "two"], "{fault}");
    }
}

#[tokio::test]
async fn where_every_key_is_refused_another_provider_serves_and_the_next_request_goes_there() {
    for fault in ["401; times=9", "429; code=insufficient_quota; times=9", "429; retry-after=20; times=9"] {
        let several = Several::of(2).provider(with_keys).start().await;
        several.sims[0].script([fault]).unwrap();
        let answer = ask(&several, "gpt-4o").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-towergate-provider")), (200, Some("b")));
        assert_eq!(several.received(), [2, 1], "{fault}");
        ask(&several, "gpt-4o").await;
        assert_eq!(several.received(), [2, 2], "{fault}");
        // A limit is for its model; what is refused is so for all.
        let other = ask(&several, "gpt-4.1").await;
        let limited = fault.contains("retry-after");
        // (Its script goes on, so that the other model is limited too; but it was asked.)
        assert_eq!(several.received()[0], if limited { 4 } else { 2 }, "{fault}: {other:?}");
    }
}

#[tokio::test]
async fn the_last_one_is_asked_although_it_is_limited() {
    for last_resort in [true, false] {
        let several = Several::of(1)
            .provider(|provider| provider.max_retries(0))
            .routing(move |routing| routing.last_resort(last_resort))
            .start()
            .await;
        several.sims[0].script(["429; retry-after=20", "401"]).unwrap();
        assert_eq!(ask(&several, "gpt-4o").await.status, 429);
        assert_eq!(ask(&several, "gpt-4o").await.status, 500);
        assert_eq!(ask(&several, "gpt-4o").await.status, 200);
    }
}
