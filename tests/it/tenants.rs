//! Several clients of one gateway: none gets what is another's.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Mutex,
};
use towergate::{Body, Gateway, GatewayBuilder, core::memory::MemoryBudget, layers::timeout::Timeouts};

use super::support::{Answer, Http, Upstream, World, chat};

fn with_keys(keys: &'static str) -> impl FnOnce(GatewayBuilder) -> GatewayBuilder + Send + 'static {
    move |gateway| gateway.client_keys(towergate::parse_client_keys(keys).unwrap())
}

/// An upstream that gives a second request with the same idempotency key the response to the first, as OpenAI's and
/// others do. Each response has a number; the keys are kept as they came.
async fn remembering() -> (Upstream, Arc<Mutex<HashMap<Vec<u8>, usize>>>) {
    let seen = Arc::new(Mutex::new(HashMap::new()));
    let upstream = {
        let seen = Arc::clone(&seen);
        Upstream::start(move |request: Request<Incoming>| {
            let seen = Arc::clone(&seen);
            async move {
                let key = request.headers().get("idempotency-key").map(|key| key.as_bytes().to_vec());
                let mut seen = seen.lock().await;
                let next = seen.len();
                let number = *seen.entry(key.unwrap_or_default()).or_insert(next);
                let body = format!("{{\"number\":{number},\"choices\":[]}}");
                Response::builder().header("content-type", "application/json").body(Body::from(body)).unwrap()
            }
        })
        .await
    };
    (upstream, seen)
}

async fn ask(http: &Http, client: &str, key: &str) -> Answer {
    let mut request = http.json("/v1/chat/completions", &chat("gpt-4o"));
    request.headers_mut().insert("authorization", format!("Bearer {client}").parse().unwrap());
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    http.read(request).await
}

#[tokio::test]
async fn the_same_idempotency_key_of_two_clients_is_two() {
    let (upstream, seen) = remembering().await;
    let world = World::builder()
        .base_url(upstream.base_url())
        .gateway(with_keys("alice=a,bob=b,alice=a2"))
        .start()
        .await;
    for http in [world.http1(), world.http2()] {
        let alices = ask(&http, "a", "k-1").await;
        let bobs = ask(&http, "b", "k-1").await;
        assert_ne!(alices.body, bobs.body, "a client got another one's response");
        // What one client says twice is the same, under each of its keys.
        for client in ["a", "a2"] {
            let again = ask(&http, client, "k-1").await;
            assert_eq!(again.body, alices.body);
            assert_eq!(again.header("x-towergate-modified"), Some("idempotency-key"));
        }
        assert_ne!(ask(&http, "a", "k-2").await.body, alices.body);
        assert_eq!(http.chat(&chat("gpt-4o")).await.status, StatusCode::UNAUTHORIZED);
    }
    assert!(!seen.lock().await.keys().any(|key| key.starts_with(b"k-")), "a client's own key went up");
}

#[tokio::test]
async fn the_idempotency_key_of_the_only_client_passes_as_it_is() {
    for keys in [Some("alice=a,alice=a2"), Some("a"), None] {
        let (upstream, seen) = remembering().await;
        let world = World::builder().base_url(upstream.base_url());
        let world = match keys {
            Some(keys) => world.gateway(with_keys(keys)),
            None => world,
        };
        let answer = ask(&world.start().await.http1(), "a", "\"K 1\"").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-towergate-modified")), (200, None));
        assert_eq!(seen.lock().await.keys().collect::<Vec<_>>(), [&b"\"K 1\"".to_vec()]);
    }
}

/// A chat request of about so many bytes.
fn long_chat(length: usize) -> serde_json::Value {
    let mut request = chat("gpt-4o");
    request["messages"][0]["content"] = "x".repeat(length).into();
    request
}

async fn say(http: &Http, client: &str, length: usize) -> Answer {
    let mut request = http.json("/v1/chat/completions", &long_chat(length));
    request.headers_mut().insert("authorization", format!("Bearer {client}").parse().unwrap());
    http.read(request).await
}

/// An upload that is announced as whole and sent in half. Resolves once it was written.
async fn half_an_upload(
    world: &World,
    client: &str,
    content_type: &str,
    path: &str,
    sent: usize,
) -> TcpStream {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {client}\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n",
        2 * sent
    );
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    // Where it is refused, it may be before all of it was read.
    let _ = socket.write_all(&[head.as_bytes(), &b" ".repeat(sent)].concat()).await;
    socket
}

async fn until(mut holds: impl FnMut() -> bool) {
    let holding = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), holding).await.expect("in time");
}

const TWO: &str = "alice=a,bob=b";

#[tokio::test]
async fn uploads_that_one_client_does_not_end_leave_the_others_served() {
    let memory = MemoryBudget::new(4 << 20).per_client(1 << 20);
    let budget = memory.clone();
    let world =
        World::builder().gateway(with_keys(TWO)).gateway(|gateway| gateway.memory(budget)).start().await;
    let mut held = Vec::new();
    for _ in 0..45 {
        held.push(half_an_upload(&world, "a", "application/json", "/v1/chat/completions", 100_000).await);
    }
    // What it may hold it holds.
    until(|| memory.used() > 900_000).await;
    assert!(memory.used() <= 1 << 20);
    for http in [world.http1(), world.http2()] {
        for length in [10, 900_000] {
            let answer = say(&http, "b", length).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        let answer = say(&http, "a", 900_000).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, Some("1")));
        let error = answer.error();
        assert_eq!((&error["code"], &error["type"]), (&"too_many_requests".into(), &"gateway_error".into()));
        assert!(error["message"].to_string().contains("[setting: limits.memory_per_client]"), "{error}");
        assert_eq!(answer.header("x-should-retry"), None);
        // That would fit at no time.
        let answer = say(&http, "a", 1 << 20).await;
        assert_eq!(answer.status, 413);
        assert!(answer.error()["message"].to_string().contains("limits.memory_per_client"), "{answer:?}");
    }
    drop(held);
    until(|| memory.used() == 0).await;
    assert_eq!(say(&world.http1(), "a", 900_000).await.status, 200);
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn an_upload_that_stands_still_holds_nothing_for_long() {
    let memory = MemoryBudget::new(4 << 20).per_client(1 << 20);
    let budget = memory.clone();
    let clocks = Timeouts::default().with_request_body(Duration::from_millis(200));
    let world = World::builder()
        .gateway(with_keys(TWO))
        .gateway(move |gateway| gateway.memory(budget).timeouts(clocks))
        .start()
        .await;
    for content_type in ["application/json", "multipart/form-data; boundary=x", "application/octet-stream"] {
        let mut held = half_an_upload(&world, "a", content_type, "/v1/chat/completions", 50_000).await;
        let mut answer = String::new();
        held.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{content_type}: {answer}");
        assert!(answer.contains("server.request_body_timeout"), "{content_type}: {answer}");
        until(|| memory.used() == 0).await;
    }
}

/// Kept uploads are replays: past the share they are sent, and not kept.
#[tokio::test]
async fn replays_of_one_client_leave_room_for_those_of_another() {
    let memory = MemoryBudget::new(1 << 20).per_client(300_000);
    let budget = memory.clone();
    let world = World::builder()
        .quick_retries(2)
        .gateway(with_keys(TWO))
        .gateway(|gateway| gateway.memory(budget))
        .start()
        .await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(half_an_upload(&world, "a", "application/octet-stream", "/v1/echo", 100_000).await);
    }
    world.sim.wait_until(|log| log.counts().arrived == 8).await;
    until(|| memory.used() > 150_000).await;
    assert!(memory.used() <= 300_000);
    for (client, attempts) in [("b", 2), ("a", 1)] {
        world.sim.script(["status=503"]).unwrap();
        let http = world.http1();
        let request = http
            .request(http::Method::POST, "/v1/echo")
            .header("content-type", "application/octet-stream")
            .header("authorization", format!("Bearer {client}"))
            .body(vec![7; 200_000].into())
            .unwrap();
        let answer = http.read(request).await;
        assert_eq!(answer.header("x-towergate-attempts"), Some(attempts.to_string().as_str()), "{client}");
        assert_eq!(answer.status == 200, attempts == 2);
        world.sim.clear_script();
    }
    drop(held);
    until(|| memory.used() == 0).await;
}

/// Answers that are held until they are known to be such count as well, and go on all the same.
#[tokio::test]
async fn held_answers_take_the_share_of_their_client() {
    let memory = MemoryBudget::new(1 << 20).per_client(200_000);
    let budget = memory.clone();
    let world =
        World::builder().gateway(with_keys(TWO)).gateway(|gateway| gateway.memory(budget)).start().await;
    let gate = towergate_sim::Gate::new();
    world.sim.script([towergate_sim::Fault::try_from("tokens=30000").unwrap().hold_at(1, &gate)]).unwrap();
    let http = world.http1();
    let asking = tokio::spawn(async move { say(&http, "a", 10).await });
    until(|| memory.used() > 10_000).await;
    assert!(memory.used() <= 200_000);
    assert_eq!(say(&world.http1(), "b", 150_000).await.status, 200);
    gate.open();
    let answer = asking.await.unwrap();
    assert!(answer.status == 200 && answer.whole);
    until(|| memory.used() == 0).await;
}

#[tokio::test]
async fn a_reload_keeps_count_of_what_requests_under_way_hold() {
    let world = World::builder()
        .gateway(with_keys(TWO))
        .gateway(|gateway| gateway.memory(MemoryBudget::new(4 << 20).per_client(1 << 20)))
        .start()
        .await;
    let again = |memory: MemoryBudget| {
        let provider = towergate::OpenAiProvider::builder()
            .base_url(&world.upstream.base_url())
            .api_key(super::support::PROVIDER_KEY)
            .unwrap();
        let settings = with_keys("alice=a2,bob=b")(Gateway::builder().provider(provider.build().unwrap()));
        world.gateway.replace(settings.memory(memory)).unwrap();
    };
    let mut held = Vec::new();
    for _ in 0..9 {
        held.push(half_an_upload(&world, "a", "application/json", "/v1/chat/completions", 100_000).await);
    }
    let http = world.http1();
    // Once what it may hold is held.
    let refused = async |client: &str| {
        while say(&http, client, 200_000).await.status != 429 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), refused("a")).await.unwrap();
    again(MemoryBudget::new(4 << 20).per_client(1 << 20));
    // The same client, under another key.
    assert_eq!(say(&http, "a2", 200_000).await.status, 429);
    assert_eq!(say(&http, "b", 900_000).await.status, 200);
    again(MemoryBudget::new(4 << 20).per_client(2 << 20));
    assert_eq!(say(&http, "a2", 200_000).await.status, 200);
    again(MemoryBudget::new(1 << 20));
    assert_eq!(say(&http, "b", 900_000).await.status, 503);
    drop(held);
    let served = async {
        while say(&http, "b", 900_000).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), served).await.unwrap();
}
