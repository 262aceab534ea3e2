//! Several clients of one gateway: none gets what is another's.

use std::{collections::HashMap, sync::Arc};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Mutex;
use towergate::{Body, GatewayBuilder};

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
