//! Shutdown: what is under way ends.

use towergate_sim::{Fault, Gate};

use super::support::{Answer, World, chat, chat_stream};

#[tokio::test]
async fn a_stream_under_way_ends_and_readiness_goes_first() {
    let mut world = World::builder()
        .server(|server| server.drain_delay(std::time::Duration::from_millis(300)))
        .start()
        .await;
    let gate = Gate::new();
    world.sim.script([Fault::new().hold_at(3, &gate)]).unwrap();
    let http = world.http1();
    let held = http.send(http.json("/v1/chat/completions", &chat_stream("gpt-4o"))).await;
    assert_eq!(http.get("/readyz").await.status, 200);
    world.begin_shutdown();
    while http.get("/readyz").await.status != 503 {}
    assert_eq!(http.chat(&chat("gpt-4o")).await.status, 200, "it still serves");
    gate.open();
    let answer = Answer::read(held).await;
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(world.shutdown().await.cut, 0);
}

#[tokio::test]
async fn under_load_no_request_is_lost() {
    let mut world = World::builder()
        .server(|server| server.drain_delay(std::time::Duration::from_millis(300)))
        .start()
        .await;
    let address = world.address;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let http = world.http1();
        clients.spawn(async move {
            let mut served = 0_u32;
            // New connections are refused only once the listener is closed; until then every
            // request must be answered.
            while let Ok(response) = http.try_send(http.json("/v1/chat/completions", &chat("gpt-4o"))).await {
                let answer = Answer::read(response).await;
                assert!(answer.whole && answer.status == 200, "{answer:?}");
                served += 1;
            }
            assert!(tokio::net::TcpStream::connect(address).await.is_err(), "lost while it still listened");
            served
        });
    }
    world.sim.wait_for(100).await;
    world.begin_shutdown();
    let served: u32 = clients.join_all().await.into_iter().sum();
    let report = world.shutdown().await;
    assert!(served > 100);
    assert_eq!(report.cut, 0);
}
