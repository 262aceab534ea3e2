//! Handing over: only before the client has got anything, and leaving nothing behind.

use http_body_util::BodyExt as _;
use towergate_sim::{Fault, Gate};

use crate::support::{Several, chat, chat_stream, counted};

#[tokio::test]
async fn a_stream_is_handed_over_before_its_first_content_and_never_after() {
    let several = Several::of(2).provider(|provider| provider.max_retries(0)).start().await;
    let first = [
        "error-at=0:server_is_overloaded",
        "error-at=1:server_error",
        "truncate-after=1",
        "empty-200",
        "html-200",
    ];
    for (turn, fault) in (1..).zip(first) {
        several.sims[0].script([fault]).unwrap();
        let answer = several.http.chat(&chat_stream("gpt-4o")).await;
        assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{fault}: {answer:?}");
        assert_eq!(
            (answer.header("x-towergate-provider"), several.received()[1]),
            (Some("b"), turn),
            "{fault}"
        );
        well(&several).await;
    }
    let before = several.received()[1];
    for fault in ["error-at=5:server_error", "cut-after=5", "reset-after=5", "truncate-after=5"] {
        several.sims[0].script([fault]).unwrap();
        let answer = several.http.chat(&chat_stream("gpt-4o")).await;
        assert!(!answer.text().contains("[DONE]"), "{fault}: {answer:?}");
        assert_eq!(
            (answer.header("x-towergate-provider"), several.received()[1]),
            (Some("a"), before),
            "{fault}"
        );
        well(&several).await;
    }
}

/// One good answer in between, so that no breaker opens.
async fn well(several: &Several) {
    let answer = several.http.chat(&chat("gpt-4o")).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-towergate-provider")), (200, Some("a")));
}

#[tokio::test]
async fn a_client_that_leaves_while_another_takes_over_leaves_nothing() {
    let several = Several::of(2).start().await;
    let gate = Gate::new();
    several.sims[0].script(["503; times=2"]).unwrap();
    several.sims[1].script([Fault::new().hold_head(&gate)]).unwrap();
    let request = several.http.json("/v1/chat/completions", &chat("gpt-4o"));
    let asking = tokio::spawn({
        let http = several.http.clone();
        async move { http.try_send(request).await.map(drop) }
    });
    several.sims[1].wait_for(1).await;
    asking.abort();
    several.sims[1].wait_until(|log| log.counts().dropped_before_head == 1).await;
    assert!(several.sims.iter().all(|sim| sim.counts().in_flight() == 0));
    assert_eq!(several.received(), [2, 1]);
    // And in the body of the other's answer.
    several.sims[0].script(["503; times=2"]).unwrap();
    several.sims[1].script([Fault::new().hold_at(3, &gate)]).unwrap();
    let mut response =
        several.http.send(several.http.json("/v1/chat/completions", &chat_stream("gpt-4o"))).await;
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    several.sims[1].wait_until(|log| log.counts().dropped_in_body == 1).await;
}

#[test]
fn each_change_is_counted() {
    let counted = counted(async {
        let several = Several::of(3).provider(|provider| provider.max_retries(0)).start().await;
        several.sims[0].script(["429"]).unwrap();
        several.sims[1].script(["401"]).unwrap();
        let answer = several.http.chat(&chat("gpt-4o")).await;
        assert_eq!(answer.header("x-towergate-fallbacks"), Some("2"));
    });
    assert_eq!(counted["towergate_failovers_total{}"], 2);
}

#[tokio::test]
async fn a_model_that_fails_does_not_take_the_others_of_its_provider_with_it() {
    let several = Several::of(1)
        .provider(|provider| provider.max_retries(0))
        .routing(|routing| routing.fallback_models("fault:503", ["gpt-4o"]))
        .start()
        .await;
    for turn in 0..40 {
        let answer = several.http.chat(&chat("fault:503")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-towergate-model")),
            (200, Some("gpt-4o")),
            "{turn}"
        );
    }
    // Its breaker spares the model that fails most of the attempts, though not the provider.
    assert!((41..60).contains(&several.received()[0]), "{:?}", several.received());
}
