//! What the simulated OpenAI tells of what it saw, and gates.

use http_body_util::BodyExt as _;
use serde_json::json;
use towergate_sim::{Event, Fault, Gate, Sim};

use crate::support::{ask, call, chat, post, soon};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn requests_are_remembered() {
    let sim = Sim::new();
    let mut request = post(CHAT, &chat("x", false));
    request.headers_mut().insert("x-one", "1".parse().unwrap());
    call(&sim, request).await.into_body().collect().await.unwrap();
    let requests = soon(sim.wait_for(1)).await;
    assert_eq!(requests[0].uri.path(), CHAT);
    assert_eq!(requests[0].headers["x-one"], "1");
    assert_eq!(requests[0].body, chat("x", false).to_string());
    assert!(requests[0].body_complete && requests[0].connection.is_none());
    assert_eq!(
        sim.events(),
        [Event::Arrived(1), Event::Received(1), Event::Answered(1), Event::Completed(1)]
    );
    assert_eq!(sim.counts().in_flight(), 0);
    sim.forget();
    assert!(sim.requests().is_empty());
    assert_eq!(sim.counts().received, 1);
}

#[tokio::test]
async fn a_dropped_request_is_told_from_a_dropped_answer() {
    let sim = Sim::new();
    let gate = Gate::new();
    sim.script([Fault::new().hold_head(&gate)]).unwrap();
    let asking = tokio::spawn({
        let sim = sim.clone();
        async move { call(&sim, post(CHAT, &chat("x", true))).await }
    });
    soon(gate.reached()).await;
    assert_eq!(sim.counts().in_flight(), 1);
    asking.abort();
    soon(sim.wait_until(|log| log.events().contains(&Event::DroppedBeforeHead(1)))).await;

    let mut body = call(&sim, post(CHAT, &chat("x", true))).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(sim.events().last(), Some(&Event::DroppedInBody(2)));
    assert_eq!((sim.counts().in_flight(), sim.counts().dropped()), (0, 2));
}

#[tokio::test]
async fn a_gate_holds_a_stream_at_its_event() {
    let sim = Sim::new();
    let gate = Gate::new();
    sim.script([Fault::new().hold_at(2, &gate)]).unwrap();
    let mut body = call(&sim, post(CHAT, &chat("x", true))).await.into_body();
    body.frame().await.unwrap().unwrap();
    body.frame().await.unwrap().unwrap();
    let (frame, ()) = soon(async {
        tokio::join!(body.frame(), async {
            gate.reached().await;
            assert_eq!(sim.counts().completed, 0);
            gate.open();
        })
    })
    .await;
    frame.unwrap().unwrap();
    body.collect().await.unwrap();
    assert_eq!(sim.counts().completed, 1);
}

#[tokio::test]
async fn what_a_fault_breaks_is_not_a_peer_that_went() {
    let sim = Sim::new();
    for fault in ["reset-before-head", "cut-after=1"] {
        let body = chat(&format!("fault:{fault}"), true);
        assert!(call(&sim, post(CHAT, &body)).await.into_body().collect().await.is_err());
    }
    assert_eq!((sim.counts().broken, sim.counts().dropped()), (2, 0));
    ask(&sim, "/v1/nothing", &json!({})).await;
    assert_eq!(sim.counts().completed, 1);
}
