//! An upstream that quotes what it was sent, and the places where that must not come back.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use towergate::{
    Gateway, OpenAiProvider, OpenAiProviderBuilder, Provider as _,
    config::{Config, Variables},
    core::{credentials::Credential, label::Label},
    layers::key_ring::RingKey,
    server::Server,
};

use super::{
    echo::{self, Case, KEPT, Place},
    observed,
    support::{Http, Upstream, chat, chat_stream, raw},
};

/// The provider's key, a field that is a secret by its name, and one that is by its variable.
const KEY: &str = "sk-canary/provider+key=";
const TOKEN: &str = "tok-canary-1";
const TENANT: &str = "tenant-canary-1";

/// Stands where a body broke off.
const BROKEN: &[u8] = b"<broken>";

struct World {
    http1: Http,
    http2: Http,
    address: std::net::SocketAddr,
    gateway: Gateway,
    _upstream: Upstream,
    _stop: tokio::sync::oneshot::Sender<()>,
}

async fn world(http_version: &str) -> World {
    let upstream = echo::start().await;
    let url = upstream.base_url();
    let variables = Variables::new(move |name| match name {
        "UPSTREAM" => Some(url.clone()),
        "KEY" => Some(KEY.to_owned()),
        "TENANT" => Some(TENANT.to_owned()),
        _ => None,
    });
    let text = format!(
        "providers:\n  main:\n    base_url: '${{UPSTREAM}}'\n    api_key: '${{KEY}}'\n    max_retries: 0\n    \
         breaker: {{enabled: false}}\n    http_version: '{http_version}'\n    \
         headers: {{cf-access-client-secret: {TOKEN}, x-tenant: 'Tenant ${{TENANT}}', x-team: blue-team}}\n"
    );
    let config = Config::parse("t.yaml", &text, &variables).unwrap();
    let gateway = config.gateway(&variables).await.unwrap().build().unwrap();
    let server = Server::builder().listen(([127, 0, 0, 1], 0).into()).bind(gateway.clone()).await.unwrap();
    let address = server.local_addr();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(server.serve(async {
        let _ = stopped.await;
    }));
    let url = format!("http://{address}");
    let (http1, http2) = (Http::new(url.clone(), false), Http::new(url, true));
    World { http1, http2, address, gateway, _upstream: upstream, _stop: stop }
}

/// Head, body and trailers as one text.
async fn text(response: Response<Incoming>) -> (StatusCode, String) {
    let (parts, mut body) = response.into_parts();
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(piece)) => data.extend_from_slice(&piece),
            Ok(Err(frame)) => trailers = frame.into_trailers().unwrap(),
            Err(_) => {
                data.extend_from_slice(BROKEN);
                break;
            }
        }
    }
    (parts.status, format!("{:?}\n{}\n{trailers:?}", parts.headers, String::from_utf8_lossy(&data)))
}

fn request(http: &Http, number: usize, case: &Case) -> Request<http_body_util::Full<bytes::Bytes>> {
    let body = if case.is_stream() { chat_stream("gpt-4o") } else { chat("gpt-4o") };
    http.request(Method::POST, &format!("/v1/chat/completions?case={number}"))
        .header("content-type", "application/json")
        .header("te", "trailers")
        .body(body.to_string().into())
        .unwrap()
}

/// What of a secret can be read in a text, however it is written.
fn leaks(text: &str) -> bool {
    let slashes = text.replace('\\', "");
    let escaped: String = "canary".chars().map(|c| format!("u{:04x}", c as u32)).collect();
    let percent: String = "canary".chars().map(|c| format!("%{:02X}", c as u32)).collect();
    let html: String = "canary".chars().map(|c| format!("&#{};", c as u32)).collect();
    slashes.contains("canary")
        || slashes.to_ascii_lowercase().contains(&escaped)
        || text.contains(&percent)
        || text.contains(&html)
}

#[test]
fn no_place_quotes_a_secret() {
    let mut leaking = BTreeSet::new();
    let beside = observed(async {
        for version in ["1.1", "2"] {
            let world = world(version).await;
            let cases = Case::all();
            let answers = stream::iter(cases.iter().enumerate()).map(|(number, case)| {
                // HTTP/2 has trailers whether or not somebody asks for them.
                let is_http1 = number % 2 == 0 && case.place != Place::Trailer;
                let http = if is_http1 { &world.http1 } else { &world.http2 };
                async move { (case, text(http.send(request(http, number, case)).await).await) }
            });
            let mut answers = std::pin::pin!(answers.buffer_unordered(16));
            while let Some((case, (status, said))) = answers.next().await {
                if leaks(&said) {
                    leaking.insert(format!("{case:?}: {status}"));
                }
                if case.keeps_rest() {
                    assert!(said.contains(KEPT) && said.contains("[redacted]"), "{case:?}: {status} {said}");
                    assert!(case.status == 200 || status == case.status, "{case:?}: {status}");
                }
                // A stream ends with its error, and its transport with it.
                let breaks = matches!(case.place, Place::LaterEvent(_));
                assert_eq!(said.contains("<broken>"), breaks, "{case:?}: {said}");
                if case.place == Place::Error && case.status >= 400 {
                    assert!(said.contains("\"error\""), "{case:?}: an envelope of whoever's making: {said}");
                }
            }
            let report = serde_json::to_string(&world.gateway.health()).unwrap();
            assert!(!leaks(&report), "{report}");
        }
    });
    assert!(beside.len() > 10, "the log was looked at");
    assert!(leaking.is_empty(), "{} leak: {leaking:#?}", leaking.len());
    assert!(!beside.iter().any(|said| leaks(said)), "{beside:#?}");
}

#[test]
fn content_of_a_success_is_as_it_came() {
    observed(async {
        let world = world("1.1").await;
        let place = |case: &Case| matches!(case.place, Place::LaterEvent(_)) && case.padding == 0;
        let (number, case) = Case::all().into_iter().enumerate().find(|(_, case)| place(case)).unwrap();
        let (status, said) = text(world.http1.send(request(&world.http1, number, &case)).await).await;
        assert_eq!(status, 200);
        assert!(said.contains(r#"{"choices":[{"index":0,"delta":{"content":"hi"}}]}"#), "{said}");
    });
}

/// As it is on the wire: `HEAD`, the refusal of a WebSocket, and endpoints that nobody knows.
#[test]
fn no_other_request_gets_a_secret_either() {
    observed(async {
        let world = world("1.1").await;
        let cases = Case::all();
        let of = |place: Place, status: u16| {
            cases.iter().position(|case| case.place == place && case.status == status).unwrap()
        };
        let upgrade = "connection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let close = "connection: close\r\n";
        for (case, status) in [
            (of(Place::Error, 403), "403"),
            (of(Place::Error, 302), "302"),
            (of(Place::Header("location"), 302), "302"),
            (of(Place::Header("x-echo"), 200), "200"),
        ] {
            for (method, path, fields) in [
                ("GET", "/v1/realtime", upgrade),
                ("GET", "/v1/models/x", close),
                ("HEAD", "/v1/models/x", close),
                ("DELETE", "/v1/unknown", close),
            ] {
                let head = format!("{method} {path}?case={case} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
                let address = world.address;
                let said =
                    tokio::time::timeout(std::time::Duration::from_secs(30), raw(address, head.as_bytes()));
                let said = said.await.unwrap();
                assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {said}");
                assert!(!leaks(&said), "{method} {path}: {said}");
            }
        }
    });
}

/// What health checks have seen is shown to operators, and may be to others.
#[test]
fn a_health_check_quotes_no_secret() {
    observed(async {
        let upstream = Upstream::start(|request: Request<Incoming>| async move {
            let quoted = request.headers()["authorization"].to_str().unwrap().to_owned();
            let body = format!(r#"{{"error":{{"message":"{KEPT} {quoted}"}}}}"#);
            Response::builder().status(500).body(towergate::Body::from(body)).unwrap()
        })
        .await;
        let provider = OpenAiProvider::builder().base_url(&upstream.base_url()).api_key(KEY).unwrap();
        let health = provider.build().unwrap().health_check().await;
        let told = format!("{health} {health:?} {:?} {:?}", health.reason(), health.causes());
        assert!(told.contains(KEPT) && !leaks(&told), "{told}");
    });
}

/// A gateway with one provider, which is at `url`.
async fn with_provider(
    url: &str,
    provider: impl FnOnce(OpenAiProviderBuilder) -> OpenAiProviderBuilder,
) -> (Http, tokio::sync::oneshot::Sender<()>) {
    let provider = provider(OpenAiProvider::builder().base_url(url).max_retries(0)).build().unwrap();
    let gateway = Gateway::builder().provider(provider).build().unwrap();
    let server = Server::builder().listen(([127, 0, 0, 1], 0).into()).bind(gateway).await.unwrap();
    let http = Http::new(format!("http://{}", server.local_addr()), false);
    let (stop, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(server.serve(async {
        let _ = stopped.await;
    }));
    (http, stop)
}

#[test]
fn a_proxys_credentials_come_back_from_nobody() {
    const PASSWORD: &str = "pw-canary-1";
    let beside = observed(async {
        let proxy = Upstream::start(|request: Request<Incoming>| async move {
            // "user:pw-canary-1", as it was sent, and as it was meant.
            let sent = request.headers()["proxy-authorization"].to_str().unwrap();
            assert_eq!(sent, "Basic dXNlcjpwdy1jYW5hcnktMQ==");
            let body = format!("{KEPT} {sent} for user:{PASSWORD} and {PASSWORD}");
            let response = Response::builder().status(407).header("x-echo", sent).header("x-more", PASSWORD);
            response.body(towergate::Body::from(body)).unwrap()
        })
        .await;
        let through = format!("http://user:{PASSWORD}@{}", proxy.address);
        let (http, _stop) =
            with_provider("http://upstream.invalid/v1", |p| p.leaf(|leaf| leaf.proxy(through))).await;
        let answer = http.chat(&chat("gpt-4o")).await;
        assert_eq!(answer.status, 407);
        let said = format!("{:?} {}", answer.headers, answer.text());
        assert!(said.contains(KEPT) && !leaks(&said) && !said.contains("dXNlcjpwdy1jYW5hcnktMQ"), "{said}");
    });
    assert!(!beside.iter().any(|said| leaks(said)), "{beside:#?}");
}

/// Of several keys an attempt sends one; an upstream that remembers the others quotes none of them.
#[test]
fn no_key_of_several_comes_back() {
    observed(async {
        let upstream = Upstream::start(|_| async {
            let body = r#"{"error":{"message":"neither sk-canary-a nor sk-canary-b"}}"#;
            Response::builder().status(403).body(towergate::Body::from(body)).unwrap()
        })
        .await;
        let key = |name: &str| {
            let key = Credential::try_from(format!("sk-canary-{name}")).unwrap();
            RingKey::new(Label::new(name), key)
        };
        let (http, _stop) = with_provider(&upstream.base_url(), |p| p.keys([key("a"), key("b")])).await;
        let answer = http.chat(&chat("gpt-4o")).await;
        assert_eq!(answer.text(), r#"{"error":{"message":"neither [redacted]* nor [redacted]*"}}"#);
        assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
    });
}

#[test]
fn a_key_that_is_none_is_cut_out_of_nothing() {
    for key in ["x", "none", "EMPTY", "sk-1", "test-12"] {
        observed(async {
            let said = format!(r#"{{"error":{{"message":"{key} of the models is {key}"}}}}"#);
            let body = said.clone();
            let upstream = Upstream::start(move |_| {
                let body = body.clone();
                async { Response::builder().status(400).body(towergate::Body::from(body)).unwrap() }
            })
            .await;
            let (http, _stop) = with_provider(&upstream.base_url(), |p| p.api_key(key).unwrap()).await;
            assert_eq!(http.chat(&chat("gpt-4o")).await.text(), said);
        });
    }
}
