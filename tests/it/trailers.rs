//! Trailers: those of requests are dropped, those of responses filtered as headers are.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::sync::{Mutex, mpsc};
use tower::ServiceExt as _;
use towergate::{Body, Gateway, ServiceProvider, openai::service::Http2};
use towergate_sim::{RawScript, RawUpstream};

use super::support::{PROVIDER_KEY, Upstream, World, WorldBuilder, chat, raw};

/// What a client may put behind its body.
const SENT: [(&str, &str); 7] = [
    ("authorization", "Bearer tg-alice"),
    ("x-api-key", "tg-alice"),
    ("api-key", "tg-alice"),
    ("cookie", "session=1"),
    ("content-length", "3"),
    ("x-sum", "42"),
    ("x-other", "1"),
];

fn client(http2: bool) -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// A body of these pieces, with trailers behind them.
fn with_trailers(pieces: &[&'static str], trailers: HeaderMap) -> Body {
    let pieces: Vec<_> = pieces.iter().map(|piece| Frame::data(Bytes::from(*piece))).collect();
    let frames = pieces.into_iter().chain([Frame::trailers(trailers)]).map(Ok::<_, Infallible>);
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

/// An upload of a client: what it comes on, and what it is.
fn upload(url: &str, path: &str, content_type: &str, pieces: &[&'static str]) -> Request<Body> {
    Request::post(format!("{url}{path}"))
        .header("content-type", content_type)
        .header("authorization", "Bearer tg-alice")
        .header("trailer", "authorization, x-api-key, api-key, cookie, content-length, x-sum, x-other")
        .body(with_trailers(pieces, fields(&SENT)))
        .unwrap()
}

/// What an upstream got: the version, the `Trailer` header, the body, and the trailers as they came.
#[derive(Debug)]
struct Got {
    version: Version,
    announced: Option<HeaderValue>,
    body: Bytes,
    trailers: Vec<(String, String)>,
}

/// An upstream that tells what it got, and answers with 503 as often as `failures` says.
async fn telling(failures: usize) -> (Upstream, mpsc::UnboundedReceiver<Got>) {
    let (tell, told) = mpsc::unbounded_channel();
    let left = Arc::new(Mutex::new(failures));
    let upstream = Upstream::start(move |request: Request<Incoming>| {
        let (tell, left) = (tell.clone(), Arc::clone(&left));
        async move {
            let (parts, body) = request.into_parts();
            let collected = body.collect().await.unwrap();
            let trailers = collected.trailers().into_iter().flatten();
            let trailers = trailers
                .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
                .collect();
            let announced = parts.headers.get("trailer").cloned();
            let body = collected.to_bytes();
            tell.send(Got { version: parts.version, announced, body, trailers }).unwrap();
            let mut left = left.lock().await;
            let status = if *left > 0 { 503 } else { 200 };
            *left = left.saturating_sub(1);
            Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .body("{}".into())
                .unwrap()
        }
    })
    .await;
    (upstream, told)
}

/// The gateway in front of it, over HTTP/1.1 or HTTP/2.
fn in_front_of(base_url: String, http2: bool) -> WorldBuilder {
    let keys = towergate::parse_client_keys("alice=tg-alice").unwrap();
    World::builder()
        .base_url(base_url)
        .quick_retries(2)
        .provider(move |provider| provider.leaf(|leaf| leaf.http2(http2.then(Http2::default))))
        .gateway(|gateway| gateway.client_keys(keys))
}

const FORM: &str = "--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x--\r\n";

/// Bodies that are collected, read along, and streamed.
const UPLOADS: [(&str, &str, &[&str]); 5] = [
    ("/v1/chat/completions", "application/json", &["{\"model\":\"gpt-4o\",", "\"messages\":[]}"]),
    ("/v1/audio/transcriptions", "multipart/form-data; boundary=x", &[FORM]),
    ("/v1/files", "application/octet-stream", &["hello, ", "world"]),
    ("/v1/unknown", "application/octet-stream", &["hello"]),
    ("/v1/unknown", "application/octet-stream", &[]),
];

#[tokio::test]
async fn those_of_a_request_reach_no_upstream() {
    for upstream_http2 in [false, true] {
        let (upstream, mut told) = telling(0).await;
        let world = in_front_of(upstream.base_url(), upstream_http2).start().await;
        for client_http2 in [false, true] {
            for (path, content_type, pieces) in UPLOADS {
                let request = upload(&world.url(), path, content_type, pieces);
                let answer = client(client_http2).request(request).await.unwrap();
                assert_eq!(answer.status(), 200, "{path}");
                let got = told.recv().await.unwrap();
                assert_eq!((got.announced, got.trailers), (None, Vec::new()), "{path}");
                assert_eq!(got.body, pieces.concat(), "{path}");
                assert_eq!(got.version == Version::HTTP_2, upstream_http2);
            }
        }
    }
}

#[tokio::test]
async fn those_that_are_allowed_do_and_no_others() {
    let x_sum = [("x-sum".to_owned(), "42".to_owned())];
    for upstream_http2 in [false, true] {
        let (upstream, mut told) = telling(0).await;
        let allowed = ["x-sum", "x-missing", "authorization", "x-api-key", "cookie", "content-length"];
        let world = in_front_of(upstream.base_url(), upstream_http2)
            .provider(move |provider| {
                allowed
                    .into_iter()
                    .fold(provider, |provider, name| provider.allow_trailer(name.parse().unwrap()))
            })
            .start()
            .await;
        for client_http2 in [false, true] {
            for (path, content_type, pieces) in UPLOADS {
                let request = upload(&world.url(), path, content_type, pieces);
                assert_eq!(client(client_http2).request(request).await.unwrap().status(), 200, "{path}");
                let got = told.recv().await.unwrap();
                assert_eq!(got.body, pieces.concat(), "{path}");
                // A body that is collected has no trailers.
                let expected = if path.ends_with("completions") { &x_sum[..0] } else { &x_sum[..] };
                assert_eq!(got.trailers, expected, "{path} {client_http2} {upstream_http2}");
                assert_eq!(got.announced.unwrap(), "x-sum");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_sent_again_has_none_either() {
    for allowed in [false, true] {
        for upstream_http2 in [false, true] {
            let (upstream, mut told) = telling(2).await;
            let world =
                in_front_of(upstream.base_url(), upstream_http2).provider(move |provider| match allowed {
                    true => provider.allow_trailer("x-sum".parse().unwrap()),
                    false => provider,
                });
            let world = world.start().await;
            for (path, content_type, pieces) in &UPLOADS[1..4] {
                let request = upload(&world.url(), path, content_type, pieces);
                let answer = client(true).request(request).await.unwrap();
                assert_eq!(answer.status(), 200, "{path}");
                let attempts: usize =
                    answer.headers()["x-towergate-attempts"].to_str().unwrap().parse().unwrap();
                assert_eq!(attempts, if *path == UPLOADS[1].0 { 3 } else { 1 });
                for _ in 0..attempts {
                    let got = told.recv().await.unwrap();
                    assert_eq!(got.body, pieces.concat());
                    let names: Vec<_> = got.trailers.iter().map(|(name, _)| name.as_str()).collect();
                    assert_eq!(names, if allowed { &["x-sum"][..] } else { &[] }, "{path} {upstream_http2}");
                }
            }
        }
    }
}

/// A provider of one's own gets no credential of the caller's, wherever it stood.
#[tokio::test]
async fn a_provider_of_ones_own_gets_no_credentials_in_trailers() {
    let service = tower::service_fn(async |request: Request<Body>| {
        let collected = request.into_body().collect().await?;
        let mut names: Vec<_> =
            collected.trailers().into_iter().flat_map(HeaderMap::keys).map(HeaderName::as_str).collect();
        names.sort_unstable();
        Ok::<_, towergate::core::BoxError>(Response::new(Body::from(names.join(" "))))
    });
    let gateway = Gateway::builder().provider(ServiceProvider::new("own", service)).build().unwrap();
    for path in ["/v1/unknown", "/v1/files"] {
        let request = upload("", path, "application/octet-stream", &["hello"]);
        let body = gateway.clone().oneshot(request).await.unwrap().into_body();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "x-other x-sum");
    }
}

/// What an upstream may put behind its answer, and of which nothing may go on.
const HOSTILE: &str = "te: trailers\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
    transfer-encoding: chunked\r\nupgrade: h2c\r\nproxy-connection: keep-alive\r\ncontent-length: 5\r\n\
    trailer: x-sum\r\nhost: a\r\nset-cookie: a=1\r\nclear-site-data: \"*\"\r\naccess-control-allow-origin: *\r\n\
    cache-control: public\r\nlocation: http://a/\r\nauthorization: Bearer x\r\nx-towergate-provider: theirs\r\n\
    x-request-id: theirs\r\n";

const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
const JSON: &str = "{\"choices\":[{\"index\":0,\"message\":{},\"finish_reason\":\"stop\"}]}";
const EVENTS: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n\
    data: [DONE]\n\n";

/// Answers that nobody reads, that are held whole, and that are read event by event.
const ANSWERS: [(&str, &str, &str); 3] = [
    ("/v1/unknown", "text/plain", "hi"),
    ("/v1/chat/completions", "application/json", JSON),
    ("/v1/chat/completions", "text/event-stream", EVENTS),
];

fn chunked(content_type: &str, body: &str, trailers: &str) -> String {
    let length = body.len();
    let announced = "trailer: x-sum, te, connection, set-cookie, authorization, x-echo\r\n";
    format!(
        "{HEAD}content-type: {content_type}\r\n{announced}\r\n{length:x}\r\n{body}\r\n0\r\n{trailers}\r\n"
    )
}

fn ask(url: &str, path: &str) -> Request<Body> {
    Request::builder()
        .method(if path.ends_with("completions") { Method::POST } else { Method::GET })
        .uri(format!("{url}{path}"))
        .header("te", "trailers")
        .header("connection", "te")
        .body(if path.ends_with("completions") { chat("gpt-4o").to_string().into() } else { Body::empty() })
        .unwrap()
}

#[tokio::test]
async fn those_of_a_response_are_filtered_as_headers_are() {
    let echo = format!("x-echo: Bearer {PROVIDER_KEY}\r\ngrpc-message: no such key {PROVIDER_KEY}\r\n");
    for (path, content_type, body) in ANSWERS {
        for (trailers, left) in [
            (format!("{HOSTILE}{echo}x-sum: 7\r\nx-sum: 8\r\n"), &["7", "8"][..]),
            (format!("{HOSTILE}{echo}"), &[]),
            (HOSTILE.to_owned(), &[]),
            (echo.clone(), &[]),
        ] {
            let upstream = Upstream::raw(chunked(content_type, body, &trailers)).await;
            let world = World::builder().base_url(upstream.base_url()).start().await;
            let mut request = ask(&world.url(), path);
            request.headers_mut().remove("connection");
            let answer = client(true).request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            let collected = answer.into_body().collect();
            // The end of the stream has to come.
            let collected =
                tokio::time::timeout(std::time::Duration::from_secs(20), collected).await.unwrap();
            let collected = collected.unwrap();
            let got = collected.trailers().cloned().unwrap_or_default();
            let names: Vec<_> = got.keys().map(HeaderName::as_str).collect();
            assert_eq!(names, if left.is_empty() { &[][..] } else { &["x-sum"] }, "{path} {trailers}");
            assert_eq!(got.get_all("x-sum").iter().collect::<Vec<_>>(), left);
            assert_eq!(collected.to_bytes(), body);

            // And over HTTP/1.1, byte by byte.
            let mut request =
                format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close, te\r\nte: trailers\r\n\r\n");
            if path.ends_with("completions") {
                let body = chat("gpt-4o").to_string();
                let length = format!("content-length: {}\r\n\r\n{body}", body.len());
                request = request.replace("GET", "POST").replace("\r\n\r\n", "\r\n") + &length;
            }
            let answer = raw(world.address, request.as_bytes()).await;
            // What was held whole has a length, and so no trailers.
            if content_type == "application/json" {
                assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
                continue;
            }
            let (_, got) = answer.split_once("\r\n0\r\n").unwrap_or_else(|| panic!("{answer}"));
            let sums: String = left.iter().map(|value| format!("x-sum: {value}\r\n")).collect();
            assert_eq!(got, format!("{sums}\r\n"), "{path} {trailers}");
        }
    }
}

#[tokio::test]
async fn those_of_an_http2_upstream_are_filtered_too() {
    let hostile = [
        ("set-cookie", "a=1"),
        ("authorization", "Bearer x"),
        ("x-towergate-provider", "theirs"),
        ("te", "trailers"),
        ("x-echo", PROVIDER_KEY),
    ];
    for left in [&[("x-sum", "7"), ("grpc-status", "0")][..], &[]] {
        let upstream = Upstream::start(move |_: Request<Incoming>| {
            let trailers = fields(&[&hostile[..], left].concat());
            std::future::ready(Response::new(with_trailers(&["hi"], trailers)))
        })
        .await;
        let world = World::builder()
            .base_url(upstream.base_url())
            .provider(|provider| provider.leaf(|leaf| leaf.http2(Http2::default())))
            .start()
            .await;
        let answer = client(true).request(ask(&world.url(), "/v1/unknown")).await;
        let collected = answer.unwrap().into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().cloned().unwrap_or_default(), fields(left));
        assert_eq!(collected.to_bytes(), "hi");
    }
}

/// A connection on which trailers came is used again.
#[tokio::test]
async fn a_connection_lives_on_behind_trailers_that_were_dropped() {
    let answer = chunked("text/plain", "hi", &format!("{HOSTILE}x-sum: 7\r\n"));
    let script = RawScript::new().read_request().write(answer.clone()).read_request().write(answer);
    let upstream = RawUpstream::start([script]).await.unwrap();
    let world = World::builder().base_url(upstream.base_url()).start().await;
    let client = client(false);
    for _ in 0..2 {
        let answer = client.request(ask(&world.url(), "/v1/unknown")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hi");
    }
    assert_eq!(upstream.requests().len(), 2);
}
