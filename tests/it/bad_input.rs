//! Bad input: a clean refusal or a closed connection, and the process lives.

use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use towergate::layers::timeout::Timeouts;

use super::support::{World, chat, raw};

const CHAT: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hello!"}]}"#;

fn post(head: &str, body: &str) -> Vec<u8> {
    format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{head}\r\n{body}").into_bytes()
}

async fn lives(world: &World) {
    assert_eq!(world.http1().chat(&chat("gpt-4o")).await.status, 200);
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let world = World::start().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"GARBAGE\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost : x\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST /v1/models HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\nab",
    ] {
        let answer = raw(world.address, bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let fields: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    assert!(raw(world.address, &post(&fields, "")).await.starts_with("HTTP/1.1 431"));
    lives(&world).await;
    assert_eq!(world.sim.counts().received, 1, "none of it went upstream");
}

#[tokio::test]
async fn traversal_is_refused_however_it_is_written() {
    let world = World::start().await;
    for path in ["/v1/../admin", "/v1/%2e%2e/admin", "/v1/.%2E/admin", "/v1/files/%2e%2e%2fx", "/v1/./models"]
    {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = raw(world.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"error\""), "{path}: {answer}");
    }
    assert_eq!(world.sim.counts().received, 0);
}

#[tokio::test]
async fn methods_that_no_gateway_forwards_are_refused() {
    let world = World::start().await;
    for line in ["TRACE /v1/models", "CONNECT example.com:443"] {
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = raw(world.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{line}: {answer}");
    }
    assert_eq!(world.sim.counts().received, 0);
}

#[tokio::test]
async fn old_and_odd_but_legal_requests_are_served() {
    let world = World::start().await;
    let length = CHAT.len();
    let old = format!(
        "POST /v1/chat/completions HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{CHAT}"
    );
    assert!(raw(world.address, old.as_bytes()).await.starts_with("HTTP/1.0 200"));
    let absolute = format!(
        "POST http://elsewhere.example/v1/chat/completions HTTP/1.1\r\nhost: elsewhere.example\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{CHAT}"
    );
    assert!(raw(world.address, absolute.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let waiting = post(&format!("expect: 100-continue\r\ncontent-length: {length}\r\n"), CHAT);
    let answer = raw(world.address, &waiting).await;
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn of_two_framings_the_length_is_never_forwarded() {
    let world = World::start().await;
    let chunked = format!("{:x}\r\n{CHAT}\r\n0\r\n\r\n", CHAT.len());
    let answer =
        raw(world.address, &post("content-length: 4\r\ntransfer-encoding: chunked\r\n", &chunked)).await;
    if answer.starts_with("HTTP/1.1 200") {
        let requests = world.sim.requests();
        assert_eq!(requests[0].body, CHAT.as_bytes());
        assert_eq!(requests[0].headers["content-length"], CHAT.len().to_string().as_str());
    } else {
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
}

#[tokio::test]
async fn an_upload_that_pauses_too_long_is_a_408() {
    let world = World::builder()
        .gateway(|gateway| {
            gateway.timeouts(Timeouts::default().with_request_body(Duration::from_millis(100)))
        })
        .start()
        .await;
    let answer = raw(world.address, &post("content-length: 100\r\n", "{\"model\"")).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("timeouts.request_body"), "{answer}");
}

#[tokio::test]
async fn a_body_that_grows_past_the_limit_is_a_413() {
    let world = World::builder().gateway(|gateway| gateway.max_body(1000)).start().await;
    let chunk = format!("190\r\n{}\r\n", " ".repeat(400)).repeat(5);
    let answer = raw(world.address, &post("transfer-encoding: chunked\r\n", &chunk)).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("limits.max_body"), "{answer}");
}

#[tokio::test]
async fn all_bodies_together_are_bounded() {
    let memory = towergate::core::memory::MemoryBudget::new(1000);
    let world = World::builder()
        .gateway({
            let memory = memory.clone();
            move |gateway| gateway.memory(memory)
        })
        .start()
        .await;
    let mut held = TcpStream::connect(world.address).await.unwrap();
    held.write_all(&post("content-length: 900\r\n", &" ".repeat(800))).await.unwrap();
    while memory.used() < 800 {
        tokio::task::yield_now().await;
    }
    let answer = raw(world.address, &post("content-length: 900\r\n", &" ".repeat(900))).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("limits.memory"), "{answer}");
    drop(held);
    while memory.used() > 0 {
        tokio::task::yield_now().await;
    }
    lives(&world).await;
}

#[tokio::test]
async fn json_that_upstream_might_understand_passes() {
    let world = World::start().await;
    let deep = format!(
        "{{\"model\":\"gpt-4o\",\"messages\":[],\"deep\":{}1{}}}",
        "[".repeat(1000),
        "]".repeat(1000)
    );
    for body in [deep.as_str(), " \n{\"model\":\"m\",\"messages\":[],\"new\":{\"a\":[null,1e400]}}"] {
        let seen = world.sim.counts().received;
        let _ = raw(world.address, &post(&format!("content-length: {}\r\n", body.len()), body)).await;
        assert_eq!(world.sim.counts().received, seen + 1, "{body:.60}");
        assert_eq!(world.sim.requests().last().unwrap().body, body.as_bytes());
    }
}
