//! Web pages: which of them may call, by the hosts and origins that their browsers send.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Version};
use http_body_util::{BodyExt as _, Full};
use tokio::net::TcpStream;
use towergate::{
    GatewayBuilder,
    layers::guard::{AllowedHosts, AllowedOrigins},
    server::Server,
};

use super::support::{Answer, Http, World, chat, chat_stream, metered, raw};

const EVIL: &str = "https://evil.example";
const APP: &str = "https://app.example.com";
/// What a browser sends to ask for a WebSocket.
const WEBSOCKET: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

fn origins<const N: usize>(origins: [&str; N]) -> AllowedOrigins {
    AllowedOrigins::new(origins.map(|origin| origin.parse().unwrap()))
}

/// As the proxy serves on a loopback address without client keys.
fn keyless(gateway: GatewayBuilder) -> GatewayBuilder {
    gateway.allowed_hosts(AllowedHosts::loopback())
}

fn with_keys(gateway: GatewayBuilder) -> GatewayBuilder {
    keyless(gateway).client_keys(towergate::parse_client_keys("right").unwrap())
}

async fn world(with: impl FnOnce(GatewayBuilder) -> GatewayBuilder + Send + 'static) -> World {
    World::builder().gateway(with).start().await
}

async fn send(http: &Http, method: Method, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    let request = fields
        .iter()
        .fold(http.request(method, path), |request, (name, value)| request.header(*name, *value));
    http.read(request.body(Full::from(body.to_owned())).unwrap()).await
}

/// A chat as a page sends it without asking for leave: what a form could send, too.
async fn simple_post(http: &Http, fields: &[(&str, &str)]) -> Answer {
    let fields = [fields, &[("content-type", "text/plain")]].concat();
    send(http, Method::POST, "/v1/chat/completions", &fields, &chat("gpt-4o").to_string()).await
}

/// The head of what comes of an attempt to open a WebSocket.
async fn websocket(address: SocketAddr, fields: &[(&str, &str)]) -> String {
    let lines: String =
        WEBSOCKET.iter().chain(fields).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET /v1/echo HTTP/1.1\r\nhost: {address}\r\n{lines}\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(tokio::io::AsyncReadExt::read_buf(&mut stream, &mut head).await.unwrap(), 0, "{head:?}");
    }
    String::from_utf8(head).unwrap()
}

#[track_caller]
fn refused(answer: &Answer, code: &str, setting: &str) {
    let error = answer.error();
    assert_eq!((answer.status.as_u16(), error["code"].as_str()), (403, Some(code)), "{answer:?}");
    assert!(error["message"].as_str().unwrap().contains(setting), "{error}");
}

#[tokio::test]
async fn a_page_of_another_origin_sends_nothing_upstream() {
    let world = world(keyless).await;
    let http = world.http1();
    let elsewhere = format!("http://127.0.0.1:{}", world.address.port() ^ 1);
    let pages: [&[(&str, &str)]; 7] = [
        &[("origin", EVIL), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
        &[("origin", EVIL)],
        &[("origin", "null")],
        &[("origin", &elsewhere), ("sec-fetch-site", "same-site")],
        &[("origin", &elsewhere)],
        &[("origin", http.url()), ("origin", EVIL)],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
    ];
    for fields in pages {
        for http in [&http, &world.http2()] {
            refused(&simple_post(http, fields).await, "origin_not_allowed", "server.allowed_origins");
            let listed = send(http, Method::GET, "/v1/models", fields, "").await;
            refused(&listed, "origin_not_allowed", "server.cors");
        }
    }
    let preflight = [("origin", EVIL), ("access-control-request-method", "POST")];
    let preflight = send(&http, Method::OPTIONS, "/v1/chat/completions", &preflight, "").await;
    refused(&preflight, "origin_not_allowed", "server.cors");
    assert_eq!(world.sim.counts().received, 0);
}

#[tokio::test]
async fn own_pages_sdks_and_curl_notice_nothing() {
    let world = world(keyless).await;
    let localhost = format!("localhost:{}", world.address.port());
    let own = format!("http://{localhost}");
    let callers: [&[(&str, &str)]; 7] = [
        &[],
        &[("host", &localhost)],
        &[("host", &localhost), ("origin", &own)],
        &[("host", &localhost), ("origin", &own), ("sec-fetch-site", "same-origin")],
        // Behind a proxy that puts its own name for the gateway in place of the host.
        &[("origin", APP), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
        &[("host", "host.docker.internal:8080"), ("sec-fetch-mode", "cors")],
    ];
    for fields in callers {
        assert_eq!(simple_post(&world.http1(), fields).await.status, 200, "{fields:?}");
    }
    let without = b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}";
    assert!(raw(world.address, without).await.contains(" 400 "), "as far as the intake");
    let own = format!("http://{}", world.address);
    assert!(websocket(world.address, &[("origin", &own)]).await.starts_with("HTTP/1.1 101"));
    assert!(websocket(world.address, &[]).await.starts_with("HTTP/1.1 101"));
}

#[tokio::test]
async fn a_rebound_name_is_refused() {
    let world = world(keyless).await;
    let http = world.http1();
    for host in [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "0.0.0.0:8080",
    ] {
        let origin = format!("http://{host}");
        let own = [("host", host), ("origin", &*origin), ("sec-fetch-site", "same-origin")];
        refused(&simple_post(&http, &own).await, "host_not_allowed", "server.allowed_hosts");
        refused(&send(&http, Method::GET, "/v1/models", &own[..1], "").await, "host_not_allowed", host);
    }
    for head in [
        "GET http://evil.example/v1/models HTTP/1.1\r\nhost: localhost",
        "GET http://localhost/v1/models HTTP/1.1\r\nhost: evil.example",
        "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nhost: evil.example",
        "GET /v1/models HTTP/1.1\r\nhost: localhost@evil.example",
    ] {
        let answer = raw(world.address, format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("server.allowed_hosts"), "{answer}");
    }
    let absolute = "GET http://localhost/v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    assert_eq!(world.sim.counts().received, 0);
    assert!(raw(world.address, absolute.as_bytes()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn over_http2_the_authority_is_the_host() {
    let world = world(keyless).await;
    let (mut client, connection) =
        h2::client::handshake(TcpStream::connect(world.address).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    for (uri, host, origin, status) in [
        ("http://evil.example/v1/models", None, None, 403),
        ("http://evil.example/v1/models", Some("localhost"), None, 403),
        ("http://localhost/v1/models", Some("evil.example"), None, 403),
        ("http://localhost:8080/v1/models", None, Some("http://localhost:3000"), 403),
        ("http://localhost:8080/v1/models", None, Some("http://localhost:8080"), 200),
        ("http://[::1]:8080/v1/models", None, Some("http://[0:0::1]:8080"), 200),
    ] {
        let mut request = Request::get(uri).version(Version::HTTP_2).body(()).unwrap();
        for (name, value) in [("host", host), ("origin", origin)] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        client = client.ready().await.unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        assert_eq!(answer.await.unwrap().status(), status, "{uri} {host:?} {origin:?}");
    }
}

#[tokio::test]
async fn websockets_check_their_origin_with_and_without_client_keys() {
    let key = ("sec-websocket-protocol", "openai-insecure-api-key.right");
    for (world, others) in [
        (world(keyless).await, &[][..]),
        (world(with_keys).await, &[key][..]),
        // Mounted in an app.
        (World::start().await, &[][..]),
    ] {
        for origin in [EVIL, "null", "http://localhost:1"] {
            let head = websocket(world.address, &[others, &[("origin", origin)]].concat()).await;
            assert!(head.starts_with("HTTP/1.1 403"), "{head}");
        }
        let own = format!("http://{}", world.address);
        let head = websocket(world.address, &[others, &[("origin", &own)]].concat()).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    }
    let world = world(|gateway| with_keys(gateway).allowed_origins(origins([APP]))).await;
    assert!(websocket(world.address, &[key, ("origin", APP)]).await.starts_with("HTTP/1.1 101"));
    assert!(websocket(world.address, &[key, ("origin", EVIL)]).await.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn with_client_keys_or_mounted_in_an_app_the_host_is_not_looked_at() {
    let fields = [("host", "gateway.example.com"), ("origin", APP), ("authorization", "Bearer right")];
    for world in [world(with_keys).await, World::start().await] {
        assert_eq!(simple_post(&world.http1(), &fields).await.status, 200);
    }
}

#[tokio::test]
async fn hosts_and_origins_that_are_named_come_in() {
    let world = world(|gateway| {
        let hosts = AllowedHosts::loopback().and(["gateway.example.com".parse().unwrap()]);
        gateway.allowed_hosts(hosts).allowed_origins(origins([APP]))
    })
    .await;
    let http = world.http1();
    let named = [("host", "gateway.example.com"), ("origin", APP), ("sec-fetch-site", "cross-site")];
    let answer = simple_post(&http, &named).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), None, "it may send, and not read");
    refused(&simple_post(&http, &[("origin", EVIL)]).await, "origin_not_allowed", "server.allowed_origins");
}

/// A server with operators' paths on the API's listener and on one of their own.
async fn operators(
    with: fn(GatewayBuilder) -> GatewayBuilder,
    test: impl AsyncFnOnce(SocketAddr, SocketAddr),
) {
    let world = world(with).await;
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let server = Server::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .admin_listen(Some(([127, 0, 0, 1], 0).into()))
        .metrics(recorder.handle())
        .health(world.gateway.clone());
    let server = server.bind(world.gateway.clone()).await.unwrap();
    let (address, admin) = (server.local_addr(), server.admin_addr().unwrap());
    let serving = tokio::spawn(server.serve(std::future::pending()));
    test(address, admin).await;
    serving.abort();
}

async fn status(address: SocketAddr, path: &str, fields: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{fields}\r\n");
    let answer = raw(address, request.as_bytes()).await;
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

const PATHS: [&str; 4] = ["/metrics", "/health", "/healthz", "/readyz"];

#[tokio::test]
async fn operators_paths_are_under_the_same_rule() {
    operators(keyless, async |address, admin| {
        for (address, path) in PATHS.iter().flat_map(|path| [(address, path), (admin, path)]) {
            for foreign in [
                "host: evil.example\r\n",
                "host: localhost\r\norigin: https://evil.example\r\n",
                "host: localhost\r\nsec-fetch-site: cross-site\r\n",
                "host: evil.example\r\nsec-fetch-site: none\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n",
            ] {
                assert_eq!(status(address, path, foreign).await, 403, "{path} {foreign}");
            }
            for own in [
                "host: localhost\r\n",
                "host: 127.0.0.1:9090\r\nsec-fetch-site: none\r\n",
                // A link on somebody's page.
                "host: localhost\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n",
            ] {
                assert_eq!(status(address, path, own).await, 200, "{path} {own}");
            }
        }
        let request = b"GET /metrics HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
        for address in [address, admin] {
            let answer = raw(address, request).await;
            assert!(answer.contains("\r\nx-request-id: ") && answer.contains(r#""code":"host_not_allowed""#), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_operators_listener_asks_for_no_keys_and_so_is_guarded_with_them() {
    operators(with_keys, async |address, admin| {
        for path in PATHS {
            assert_eq!(status(admin, path, "host: evil.example\r\n").await, 403, "{path}");
            assert_eq!(status(admin, path, "host: localhost\r\n").await, 200, "{path}");
        }
        // A load balancer's probe of what is public.
        assert_eq!(status(address, "/readyz", "host: gateway.example.com\r\n").await, 200);
    })
    .await;
}

#[tokio::test]
async fn a_probe_of_a_pod_names_its_address() {
    fn in_a_pod(gateway: GatewayBuilder) -> GatewayBuilder {
        gateway.allowed_hosts(AllowedHosts::for_listener(([0, 0, 0, 0], 8080).into()))
    }
    operators(in_a_pod, async |address, _| {
        for path in ["/healthz", "/readyz"] {
            assert_eq!(status(address, path, "host: 10.244.0.7:8080\r\n").await, 200);
            assert_eq!(status(address, path, "host: towergate:8080\r\n").await, 200);
            assert_eq!(status(address, path, "").await, 200);
            assert_eq!(status(address, path, "host: evil.example\r\n").await, 403);
        }
    })
    .await;
}

fn vary(headers: &HeaderMap) -> String {
    let values: Vec<_> = headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
    values.join(", ").to_ascii_lowercase()
}

const PREFLIGHT: [(&str, &str); 3] = [
    ("origin", APP),
    ("access-control-request-method", "POST"),
    ("access-control-request-headers", "authorization,content-type,x-stainless-os"),
];

#[tokio::test]
async fn a_preflight_is_answered_before_the_key_is_asked_for() {
    for with in [keyless as fn(_) -> _, with_keys] {
        let world = world(move |gateway| with(gateway).cors(origins([APP]))).await;
        for http in [world.http1(), world.http2()] {
            let answer = send(&http, Method::OPTIONS, "/v1/chat/completions", &PREFLIGHT, "").await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
            assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
            assert_eq!(answer.header("access-control-allow-headers"), Some(PREFLIGHT[2].1));
            assert!(
                answer.header("x-request-id").is_some() && answer.header("access-control-max-age").is_some()
            );
            assert!(vary(&answer.headers).contains("origin"), "{answer:?}");

            let others = [("origin", EVIL), PREFLIGHT[1], PREFLIGHT[2]];
            let answer = send(&http, Method::OPTIONS, "/v1/chat/completions", &others, "").await;
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        assert_eq!(world.sim.counts().received, 0);
    }
}

#[tokio::test]
async fn without_cors_the_401_to_a_preflight_says_which_setting() {
    let world = world(with_keys).await;
    let answer = send(&world.http1(), Method::OPTIONS, "/v1/chat/completions", &PREFLIGHT, "").await;
    assert_eq!(answer.status, 401);
    assert!(answer.error()["message"].as_str().unwrap().contains("server.cors"), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_page_reads_answers_streams_and_errors() {
    let world = World::builder()
        .gateway(|gateway| with_keys(gateway).cors(origins([APP])).max_body(4096))
        .start()
        .await;
    let http = world.http1();
    let large = serde_json::json!({"model": "x".repeat(5000)}).to_string();
    let (plain, stream) = (chat("gpt-4o").to_string(), chat_stream("gpt-4o").to_string());
    let failing = chat("fault:status=503").to_string();
    for (path, key, body, status) in [
        ("/v1/chat/completions", "right", &plain, 200),
        ("/v1/chat/completions", "right", &stream, 200),
        ("/v1/chat/completions", "wrong", &plain, 401),
        ("/v1/chat/completions", "right", &large, 413),
        ("/v1/chat/completions", "right", &failing, 502),
        ("/nowhere", "right", &plain, 404),
    ] {
        let key = format!("Bearer {key}");
        let fields = [
            ("origin", APP),
            ("sec-fetch-site", "cross-site"),
            ("authorization", &key),
            ("content-type", "application/json"),
        ];
        let answer = send(&http, Method::POST, path, &fields, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.whole && (status != 200 || answer.body.len() > 100), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{answer:?}");
        assert!(vary(&answer.headers).contains("origin"), "{answer:?}");
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in ["x-request-id", "retry-after", "x-ratelimit-remaining-tokens", "x-towergate-provider"] {
            assert!(exposed.contains(name), "{exposed}");
        }
    }
    // Nobody else reads, and neither is he told who may.
    let fields = [("origin", EVIL), ("authorization", "Bearer right"), ("content-type", "application/json")];
    let answer = send(&http, Method::POST, "/v1/chat/completions", &fields, &plain).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn pages_of_cors_are_let_in_where_others_are_not() {
    let world = world(|gateway| keyless(gateway).cors(origins([APP]))).await;
    let http = world.http1();
    let answer = simple_post(&http, &[("origin", APP), ("sec-fetch-site", "cross-site")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, Some(APP)));
    let answer = simple_post(&http, &[("origin", EVIL), ("sec-fetch-site", "cross-site")]).await;
    refused(&answer, "origin_not_allowed", "server.cors");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    // Its browser shows it why, where it is the host.
    let answer = simple_post(&http, &[("origin", APP), ("host", "evil.example")]).await;
    refused(&answer, "host_not_allowed", "server.allowed_hosts");
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    assert!(websocket(world.address, &[("origin", APP)]).await.starts_with("HTTP/1.1 101"));
    assert!(websocket(world.address, &[("origin", EVIL)]).await.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn any_page_is_any_page() {
    let world = world(|gateway| keyless(gateway).cors(AllowedOrigins::any())).await;
    for origin in [EVIL, "null", "chrome-extension://abc"] {
        let answer =
            simple_post(&world.http1(), &[("origin", origin), ("sec-fetch-site", "cross-site")]).await;
        assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, Some("*")));
        assert!(websocket(world.address, &[("origin", origin)]).await.starts_with("HTTP/1.1 101"));
    }
    let answer = simple_post(&world.http1(), &[("host", "evil.example")]).await;
    refused(&answer, "host_not_allowed", "server.allowed_hosts");
}

/// What is refused here is an answer like any other to those who count.
#[test]
fn refusals_and_preflights_are_counted() {
    let metrics = metered(async |_| {
        let world = world(|gateway| keyless(gateway).cors(origins([APP]))).await;
        refused(&simple_post(&world.http1(), &[("origin", EVIL)]).await, "origin_not_allowed", "server.cors");
        send(&world.http1(), Method::OPTIONS, "/v1/chat/completions", &PREFLIGHT, "").await;
    });
    for outcome in ["client_error", "completed"] {
        assert_eq!(super::support::count(&metrics, "towergate_requests_total", outcome), 1, "{metrics}");
    }
}

/// An app's own CORS stands around a mounted gateway as around everything else.
#[tokio::test]
async fn an_app_decides_for_itself() {
    let world = World::start().await;
    let app = axum::Router::new()
        .fallback_service(world.gateway.clone())
        .layer(tower_http::cors::CorsLayer::permissive());
    let request = Request::post("/v1/chat/completions")
        .header("host", "app.example.com")
        .header("origin", EVIL)
        .header("content-type", "application/json")
        .body(axum::body::Body::from(chat("gpt-4o").to_string()))
        .unwrap();
    let response = tower::ServiceExt::oneshot(app, request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["access-control-allow-origin"]),
        (200, &"*".parse().unwrap())
    );
    let body: Bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert!(!body.is_empty());
}
