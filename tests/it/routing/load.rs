//! Many requests: shares, and providers that die and come back.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use futures_util::future::join_all;
use towergate::{Candidate, layers::breaker::BreakerConfig};
use towergate_sim::SimServer;

use crate::support::{Answer, Several, chat, chat_stream};

fn weighted(weights: &'static [f64]) -> impl FnOnce(towergate::Routing) -> towergate::Routing {
    move |routing| {
        ["a", "b", "c"].into_iter().zip(weights).fold(routing, |routing, (name, weight)| {
            routing.candidate(name, Candidate::new().weight(*weight))
        })
    }
}

#[tokio::test]
async fn weights_are_exact_one_by_one_and_all_at_once() {
    let several = Several::of(2).routing(weighted(&[0.7, 0.3])).start().await;
    for count in 1..=20_u32 {
        assert_eq!(several.http.chat(&chat("gpt-4o")).await.status, 200);
        let share = f64::from(count) * 0.7;
        assert!((several.received()[0] as f64 - share).abs() < 1.0, "{:?} of {count}", several.received());
    }
    let several = Several::of(3).routing(weighted(&[5.0, 3.0, 2.0])).start().await;
    join_all((0..100).map(|_| async { several.http.chat(&chat("gpt-4o")).await })).await;
    assert_eq!(several.received(), [50, 30, 20]);
}

#[tokio::test]
async fn a_weight_of_zero_serves_only_where_nobody_else_can() {
    let several = Several::of(2).routing(weighted(&[1.0, 0.0])).start().await;
    for _ in 0..5 {
        several.http.chat(&chat("gpt-4o")).await;
    }
    assert_eq!(several.received(), [5, 0]);
    several.sims[0].script(["503; times=2"]).unwrap();
    assert_eq!(several.http.chat(&chat("gpt-4o")).await.header("x-towergate-provider"), Some("b"));
}

#[tokio::test]
async fn providers_that_are_killed_and_restarted_cost_no_request() {
    let mut breaker = BreakerConfig::default();
    breaker.open_for = Duration::from_millis(200);
    breaker.max_open_for = Duration::from_millis(400);
    let mut several = Several::of(3)
        .provider(move |provider| provider.breaker(breaker.clone()))
        .routing(weighted(&[1.0, 1.0, 1.0]))
        .start()
        .await;
    let mut upstreams: HashMap<usize, SimServer> = several.upstreams.drain(..).enumerate().collect();
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let clients = join_all((0..8).map(|client| {
        let (http, over, served) = (&several.http, &over, &served);
        async move {
            while !over.load(Relaxed) {
                // A stream may be cut by the kill; what is held until it is whole may not.
                let body = if client == 0 { chat_stream("gpt-4o") } else { chat("gpt-4o") };
                let answer = Answer::read(http.send(http.json("/v1/chat/completions", &body)).await).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                assert!(answer.whole || client == 0, "{answer:?}");
                served.fetch_add(1, Relaxed);
            }
        }
    }));
    let more = async |count: u64| {
        let until = served.load(Relaxed) + count;
        while served.load(Relaxed) < until {
            tokio::task::yield_now().await;
        }
    };
    let chaos = async {
        more(50).await;
        for round in 0..6 {
            let place = round % 3;
            let upstream = upstreams.remove(&place).unwrap();
            let address = upstream.addr();
            upstream.shutdown().await;
            more(50).await;
            let again = SimServer::start_at(several.sims[place].clone(), address).await.unwrap();
            let before = again.sim().counts().completed;
            // Its breaker lets it in again.
            again.sim().wait_until(|log| log.counts().completed >= before + 3).await;
            upstreams.insert(place, again);
        }
        over.store(true, Relaxed);
    };
    tokio::join!(clients, chaos);
}
