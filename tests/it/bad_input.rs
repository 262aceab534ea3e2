//! Bad input: a clean refusal or a closed connection, and the process lives.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use towergate::{layers::timeout::Timeouts, server::ConnectionClocks};

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
        b"\0\0\0\0",
        b"GET /v1/models HTTP/9.9\r\nhost: x\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx: a\rb\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx: a\r\n folded\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n",
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
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("server.request_body_timeout"), "{answer}");
}

#[tokio::test]
async fn a_body_that_grows_past_the_limit_is_a_413() {
    let world = World::builder().gateway(|gateway| gateway.max_body(1000)).start().await;
    let chunk = format!("190\r\n{}\r\n", " ".repeat(400)).repeat(5);
    let answer = raw(world.address, &post("transfer-encoding: chunked\r\n", &chunk)).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("server.max_body"), "{answer}");
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

/// Upstream is the judge of a name, and the head of the answer must stay one that clients can read.
#[tokio::test]
async fn a_model_with_a_name_of_a_megabyte_goes_through_and_is_repeated_in_no_header() {
    let world = World::start().await;
    for (length, repeated) in [(256, true), (257, false), (1 << 20, false)] {
        let model = "m".repeat(length);
        let answer = world.http1().chat(&chat(&model)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-towergate-model"), repeated.then_some(&*model));
        assert_eq!(answer.json()["model"], *model);
    }
    lives(&world).await;
}

#[tokio::test]
async fn json_that_is_no_request_is_refused_with_an_envelope() {
    let world = World::start().await;
    for (body, says) in [
        ("", "invalid_json"),
        ("{\"model\":", "JSON"),
        ("[]", "object"),
        ("\"text\"", "object"),
        ("null", "object"),
        ("{\"messages\":[]}", "model"),
        ("{\"model\":\"a\",\"messages\":[],\"model\":\"b\"}", "model"),
        ("{\"model\":\"a\",\"messages\":[],\"mod\\u0065l\":\"b\"}", "model"),
        ("{\"stream\":true,\"model\":\"a\",\"stre\\u0061m\":false}", "stream"),
    ] {
        let answer = raw(world.address, &post(&format!("content-length: {}\r\n", body.len()), body)).await;
        let (head, envelope) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400"), "{body}: {answer}");
        let envelope: serde_json::Value = serde_json::from_str(envelope).unwrap();
        let error = &envelope["error"];
        assert!(error.to_string().contains(says), "{body}: {error}");
    }
    assert_eq!(world.sim.counts().received, 0);
    lives(&world).await;
}

#[tokio::test]
async fn one_host_is_asked_for() {
    let world = World::start().await;
    for hosts in [
        "",
        "host: a\r\nhost: b\r\n",
        "host: a\r\nhost: a\r\n",
        "host: a b\r\n",
        "host: me@a\r\n",
        "host: a/b\r\n",
    ] {
        let request = format!("GET /v1/models HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        let answer = raw(world.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"error\""), "{hosts:?}: {answer}");
    }
    assert_eq!(world.sim.counts().received, 0);
    for (version, host) in [("1.1", "host: [::1]:80\r\n"), ("1.1", "host:\r\n"), ("1.0", "")] {
        let request = format!("GET /v1/models HTTP/{version}\r\n{host}connection: close\r\n\r\n");
        let answer = raw(world.address, request.as_bytes()).await;
        assert!(answer.contains(" 200 OK\r\n"), "{host:?}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_is_refused_by_its_length_is_not_asked_for() {
    let world = World::builder().gateway(|gateway| gateway.max_body(1000)).start().await;
    let answer = raw(world.address, &post("expect: 100-continue\r\ncontent-length: 1001\r\n", "")).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("server.max_body"), "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");
}

#[tokio::test]
async fn unknown_methods_and_transfer_codings_are_refused() {
    let world = World::start().await;
    for method in ["BREW", "get", "PROPFIND", "TRACE"] {
        let request = format!("{method} /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = raw(world.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("method_not_allowed"), "{answer}");
    }
    for coding in ["gzip, chunked", "x-own, chunked"] {
        let request = format!(
            "POST /v1/files HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: {coding}\r\n\r\n\
             2\r\n{{}}\r\n0\r\n\r\n"
        );
        let answer = raw(world.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("transfer_coding"), "{answer}");
    }
    assert_eq!(world.sim.counts().received, 0);
}

#[tokio::test]
async fn a_head_request_gets_a_head() {
    let world = World::start().await;
    let answer =
        raw(world.address, b"HEAD /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_offer_to_upgrade_to_http2_is_declined() {
    let world = World::start().await;
    let request = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings, close\r\n\
        upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let answer = raw(world.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let upstream = &world.sim.requests()[0];
    for name in ["upgrade", "http2-settings", "connection"] {
        assert!(!upstream.headers.contains_key(name), "{name} went upstream");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let world = World::start().await;
    let first = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{CHAT}",
        CHAT.len()
    );
    let second = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = raw(world.address, format!("{first}{second}").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    assert!(answer.ends_with("ok\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_sends_nothing_or_trickles_its_head_is_closed() {
    let quick = Duration::from_millis(100);
    let mut clocks = ConnectionClocks::default();
    (clocks.first_byte, clocks.header) = (quick, quick);
    let world = World::builder().server(move |server| server.clocks(clocks)).start().await;
    assert_eq!(raw(world.address, b"").await, "");
    let mut trickling = TcpStream::connect(world.address).await.unwrap();
    let mut answer = Vec::new();
    for byte in b"GET /v1/models HTTP/1.1\r\nx-long: ".iter().chain(std::iter::repeat(&b'y')) {
        // Each byte comes in time; the head as a whole does not.
        let closed = tokio::time::timeout(Duration::from_millis(5), trickling.read_buf(&mut answer)).await;
        if closed.is_ok() || trickling.write_all(&[*byte]).await.is_err() {
            break;
        }
    }
    assert!(answer.is_empty(), "{answer:?}");
    lives(&world).await;
}

#[tokio::test]
async fn bytes_that_are_no_text_pass_in_strings() {
    let world = World::start().await;
    let body = b"{\"model\":\"gpt-4o\",\"messages\":[],\"odd\":\"\xff\xfe\"}";
    let mut request = post(&format!("content-length: {}\r\n", body.len()), "");
    request.extend_from_slice(body);
    let answer = raw(world.address, &request).await;
    assert_eq!(world.sim.counts().received, 1, "{answer}");
    assert_eq!(world.sim.requests()[0].body, &body[..]);
}
