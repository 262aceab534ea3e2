//! What caches and browsers between the gateway and its clients are told.

use http::{Method, Request};
use tower::ServiceExt as _;
use towergate::Body;

use super::support::{Answer, Http, Upstream, World, chat, raw};

const READ: &str = "authorization, api-key, x-api-key";

/// An answer with these fields.
fn answering(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}content-length: 2\r\n\r\n{{}}")
}

async fn ask(http: &Http, credential: Option<(&str, &str)>) -> Answer {
    let mut request = http.request(Method::GET, "/v1/unknown");
    if let Some((name, value)) = credential {
        request = request.header(name, value);
    }
    http.read(request.body(Default::default()).unwrap()).await
}

#[tokio::test]
async fn an_answer_to_an_authenticated_request_is_no_shared_caches() {
    for (says, becomes, vary) in [
        ("", "private", READ),
        ("cache-control: public, s-maxage=60, max-age=5\r\n", "private, max-age=5", READ),
        ("cache-control: no-store\r\nvary: *\r\n", "no-store", "*"),
        (
            "cache-control: no-cache\r\nvary: Origin, API-Key\r\n",
            "private, no-cache",
            "Origin, API-Key, authorization, x-api-key",
        ),
        ("cache-control: private=\"set-cookie\"\r\n", "private", READ),
        ("cache-control: max-age=1\r\ncache-control: public\r\n", "private, max-age=1", READ),
        ("cache-control: private, max-age=1\r\n", "private, max-age=1", READ),
    ] {
        let upstream = Upstream::raw(answering(says)).await;
        let guarded = |world: super::support::World| async move {
            for http in [world.http1(), world.http2()] {
                for credential in
                    [("authorization", "Bearer tg-a"), ("api-key", "tg-a"), ("x-api-key", "tg-a")]
                {
                    let answer = ask(&http, Some(credential)).await;
                    assert_eq!(answer.status, 200);
                    assert_eq!(
                        (answer.header("cache-control"), answer.header("vary")),
                        (Some(becomes), Some(vary)),
                        "{says} {credential:?}"
                    );
                }
            }
        };
        let keys = towergate::parse_client_keys("alice=tg-a").unwrap();
        let world =
            World::builder().base_url(upstream.base_url()).gateway(|gateway| gateway.client_keys(keys));
        guarded(world.start().await).await;
        // The caller's own key is one, too; and so is one that nobody asked for.
        let world =
            World::builder().base_url(upstream.base_url()).provider(|provider| provider.pass_through_auth());
        guarded(world.start().await).await;
        guarded(World::builder().base_url(upstream.base_url()).start().await).await;
    }
}

#[tokio::test]
async fn what_anybody_may_have_is_cached_as_upstream_says() {
    let upstream = Upstream::raw(answering("cache-control: public, max-age=5\r\nvary: accept\r\n")).await;
    let world = World::builder().base_url(upstream.base_url()).start().await;
    let answer = ask(&world.http1(), None).await;
    assert_eq!(
        (answer.header("cache-control"), answer.header("vary")),
        (Some("public, max-age=5"), Some("accept"))
    );
    let upstream = Upstream::raw(answering("")).await;
    let world = World::builder().base_url(upstream.base_url()).start().await;
    let answer = ask(&world.http1(), None).await;
    assert_eq!((answer.header("cache-control"), answer.header("vary")), (None, None));
}

/// A 404 may be stored where nothing is said of it (RFC 9110, section 15.1).
#[tokio::test]
async fn our_own_answers_to_authenticated_requests_are_private_too() {
    let keys = towergate::parse_client_keys("alice=tg-a").unwrap();
    let world = World::builder().gateway(|gateway| gateway.client_keys(keys)).start().await;
    for (path, status) in [("/elsewhere", 404), ("/v1/chat/completions", 200), ("/v1/models/unknown-1", 404)]
    {
        let request = world.http1().request(Method::POST, path).header("authorization", "Bearer tg-a");
        let body = chat("gpt-4o").to_string();
        let request = request.header("content-type", "application/json").body(body.into()).unwrap();
        let answer = world.http1().read(request).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(
            (answer.header("cache-control"), answer.header("vary")),
            (Some("private"), Some(READ)),
            "{path}"
        );
    }
    // A stream, in process.
    let request = Request::post("/v1/chat/completions")
        .header("api-key", "tg-a")
        .body(Body::from(super::support::chat_stream("gpt-4o").to_string()))
        .unwrap();
    let answer = world.gateway.clone().oneshot(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["cache-control"]),
        (200, &"private, no-cache".parse().unwrap())
    );
}

#[tokio::test]
async fn upstream_has_no_say_in_the_gateways_origin() {
    const GONE: [&str; 26] = [
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "access-control-max-age",
        "accept-ch",
        "alt-svc",
        "cdn-cache-control",
        "clear-site-data",
        "cloudflare-cdn-cache-control",
        "critical-ch",
        "expect-ct",
        "nel",
        "public-key-pins",
        "refresh",
        "report-to",
        "reporting-endpoints",
        "service-worker-allowed",
        "set-cookie",
        "set-cookie2",
        "strict-transport-security",
        "surrogate-control",
        "timing-allow-origin",
        "x-accel-redirect",
        "x-sendfile",
    ];
    let mut fields: String = GONE.iter().map(|name| format!("{name}: *\r\n")).collect();
    fields += "proxy-status: theirs\r\nx-towergate-modified: theirs\r\nx-towergate-model: theirs\r\n\
        x-accel-buffering: no\r\nx-content-type-options: nosniff\r\n";
    for status in ["200 OK", "400 Bad Request", "404 Not Found", "301 Moved Permanently", "500 Oh"] {
        let upstream = Upstream::raw(answering(&fields).replace("200 OK", status)).await;
        let world = World::builder().base_url(upstream.base_url()).quick_retries(0).start().await;
        for http in [world.http1(), world.http2()] {
            for answer in [http.get("/v1/unknown").await, http.chat(&chat("gpt-4o")).await] {
                for gone in GONE {
                    assert!(!answer.headers.contains_key(gone), "{status} {gone}");
                }
                let theirs = answer.headers.iter().find(|(_, value)| *value == "theirs");
                assert!(theirs.is_none(), "{status} {theirs:?}");
                if status != "500 Oh" {
                    assert_eq!(answer.header("x-accel-buffering"), Some("no"), "{status}");
                    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{status}");
                }
            }
        }
    }
    // And as the client reads them.
    let upstream = Upstream::raw(answering(&fields)).await;
    let world = World::builder().base_url(upstream.base_url()).start().await;
    let answer =
        raw(world.address, b"GET /v1/unknown HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && !answer.contains("theirs") && !answer.contains('*'),
        "{answer}"
    );
}
