//! What crosses of a message's head, in both directions, and what does not.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use http::{Method, Response, header::HeaderName};
use serde_json::json;
use towergate::{Body, openai::service::Http2};
use towergate_sim::{RawScript, RawUpstream, Sim};

use super::support::{PROVIDER_KEY, Upstream, World, chat, chat_stream, raw};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// The fields of a request as they came in, in lower case, sorted.
fn names(head: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let head = text.split("\r\n\r\n").next().unwrap();
    let mut names: Vec<_> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.to_owned())
        .collect();
    names.sort_unstable();
    names
}

async fn in_front_of(upstream: &RawUpstream) -> World {
    World::builder().base_url(upstream.base_url()).start().await
}

/// An upstream that leaves it unread would take it for the next request of the connection.
#[tokio::test]
async fn a_body_that_no_route_expects_goes_no_further() {
    let hidden = "GET /v1/hidden HTTP/1.1\r\nhost: x\r\n\r\n";
    let framings = [
        format!("content-length: {}\r\n\r\n{hidden}", hidden.len()),
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()),
    ];
    for line in ["GET /v1/models", "DELETE /v1/files/file-1", "GET /v1/unknown", "DELETE /v1/unknown"] {
        for framing in &framings {
            let upstream = Upstream::raw(OK).await;
            let world = in_front_of(&upstream).await;
            let request = format!(
                "{line} HTTP/1.1\r\nhost: gateway.example\r\nconnection: close\r\ncontent-type: text/plain\r\n{framing}"
            );
            let answer = raw(world.address, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{line}: {answer}");
            let requests = upstream.requests();
            assert_eq!(requests.len(), 1, "{line}");
            assert!(!String::from_utf8_lossy(&requests[0]).contains("hidden"), "{line}");
            let names = names(&requests[0]);
            let framed = ["content-length", "content-type", "transfer-encoding"];
            assert!(!names.iter().any(|name| framed.contains(&&**name)), "{line}: {names:?}");
        }
    }
}

#[tokio::test]
async fn nothing_but_the_allow_list_goes_up() {
    let upstream = Upstream::raw(OK).await;
    let world = in_front_of(&upstream).await;
    let request = "GET /v1/unknown HTTP/1.1\r\nhost: gateway.example\r\n\
        connection: close, X-Hop, accept-language\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
        proxy-connection: keep-alive\r\nproxy-authorization: Basic eDp5\r\nte: trailers\r\ntrailer: x-sum\r\n\
        cookie: session=1\r\nforwarded: for=10.0.0.1\r\nx-forwarded-for: 10.0.0.1\r\n\
        x-forwarded-host: a\r\nx-forwarded-proto: https\r\nx-real-ip: 10.0.0.1\r\nvia: 1.1 a\r\n\
        baggage: user=1\r\norigin: https://a\r\nreferer: https://a/\r\npriority: u=1\r\n\
        authorization: Bearer the-callers-own\r\napi-key: the-callers-own\r\nx-api-key: the-callers-own\r\n\
        openai-organization: org-theirs\r\nopenai-project: proj-theirs\r\nx-sim-fault: 503\r\n\
        accept: application/json\r\naccept-encoding: br\r\naccept-language: de\r\n\
        if-none-match: \"x\"\r\nrange: bytes=0-1\r\nuser-agent: OpenAI/Python\r\nopenai-beta: assistants=v2\r\n\
        x-stainless-lang: python\r\nx-stainless-retry-count: 0\r\nx-client-request-id: mine\r\n\
        idempotency-key: k\r\n\r\n";
    let answer = raw(world.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = &upstream.requests()[0];
    assert_eq!(
        names(seen),
        [
            "accept",
            "accept-encoding",
            // `accept-language` is named by `Connection`: it was meant for us.
            "authorization",
            "cdn-loop",
            "host",
            "idempotency-key",
            "if-none-match",
            "openai-beta",
            "range",
            "user-agent",
            "x-client-request-id",
            "x-stainless-lang",
            "x-stainless-retry-count",
        ]
    );
    let text = String::from_utf8_lossy(seen);
    assert!(text.contains(&format!("authorization: Bearer {PROVIDER_KEY}\r\n")), "{text}");
    assert!(text.contains("user-agent: OpenAI/Python\r\n"), "{text}");
    // Of an endpoint that nobody reads, the client may have its answer as it likes.
    assert!(text.contains("accept-encoding: br\r\n"), "{text}");
    assert!(text.contains(&format!("host: {}\r\n", upstream.addr())), "{text}");
}

#[tokio::test]
async fn a_client_cannot_make_the_gateway_drop_its_own_fields() {
    let upstream = Upstream::raw(OK).await;
    let world = World::builder()
        .base_url(upstream.base_url())
        .provider(|provider| provider.project(http::HeaderValue::from_static("proj-ours")))
        .start()
        .await;
    let request = "GET /v1/unknown HTTP/1.1\r\nhost: x\r\n\
        connection: close, authorization, openai-project, host, content-length\r\n\r\n";
    assert!(raw(world.address, request.as_bytes()).await.starts_with("HTTP/1.1 200"));
    assert_eq!(names(&upstream.requests()[0]), ["authorization", "cdn-loop", "host", "openai-project"]);
}

#[tokio::test]
async fn an_answer_keeps_all_but_what_is_the_hops_or_the_sites() {
    let upstream = Upstream::raw(
        "HTTP/1.1 200 Fine\r\nconnection: close, X-Hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
        proxy-authenticate: Basic\r\nupgrade: h2c\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
        alt-svc: h3=\":443\"\r\nstrict-transport-security: max-age=1\r\nx-request-id: req_theirs\r\n\
        x-many: 1\r\nx-many: 2\r\nx-empty:\r\nx-latin: caf\u{e9}\r\nserver: cloudflare\r\n\
        openai-processing-ms: 7\r\nx-ratelimit-remaining-tokens: 9\r\netag: \"x\"\r\n\
        date: Sun, 06 Nov 1994 08:49:37 GMT\r\nlink: <a>\r\n\
        content-type: application/x-new; a=b\r\ncontent-length: 2\r\n\r\n{}",
    )
    .await;
    let world = in_front_of(&upstream).await;
    for http in [world.http1(), world.http2()] {
        let answer = http.get("/v1/unknown").await;
        assert_eq!(answer.status, 200);
        for gone in [
            "connection",
            "x-hop",
            "keep-alive",
            "proxy-authenticate",
            "upgrade",
            "set-cookie",
            "alt-svc",
            "strict-transport-security",
        ] {
            assert!(!answer.headers.contains_key(gone), "{gone}");
        }
        for (name, value) in [
            ("server", "cloudflare"),
            ("openai-processing-ms", "7"),
            ("x-ratelimit-remaining-tokens", "9"),
            ("etag", "\"x\""),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("link", "<a>"),
            ("content-type", "application/x-new; a=b"),
            ("content-length", "2"),
            ("x-empty", ""),
            ("x-upstream-request-id", "req_theirs"),
            ("x-towergate-provider", "openai"),
            ("x-towergate-attempts", "1"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        let many: Vec<_> = answer.headers.get_all("x-many").iter().collect();
        assert_eq!(many, ["1", "2"]);
        assert_eq!(answer.headers["x-latin"].as_bytes(), "caf\u{e9}".as_bytes(), "bytes that are no ASCII");
        assert_ne!(answer.header("x-request-id"), Some("req_theirs"));
    }
}

#[tokio::test]
async fn the_callers_own_key_where_it_is_asked_for() {
    let theirs = r#"{"error":{"message":"no such key: sk-mine"}}"#;
    let length = theirs.len();
    let upstream = Upstream::raw(format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nwww-authenticate: Bearer\r\n\
        content-length: {length}\r\n\r\n{theirs}"
    ))
    .await;
    let world = World::builder()
        .base_url(upstream.base_url())
        .provider(|provider| provider.pass_through_auth().max_retries(3))
        .start()
        .await;
    let http = world.http1();
    let request = http
        .request(Method::POST, "/v1/chat/completions")
        .header("content-type", "application/json")
        .header("authorization", "Bearer sk-mine")
        .header("openai-organization", "org-mine")
        .header("openai-project", "proj-mine")
        .header("cookie", "session=1")
        .header("proxy-authorization", "Basic eDp5")
        .body(chat("gpt-4o").to_string().into())
        .unwrap();
    let answer = http.read(request).await;
    // What upstream says of the caller's key is the caller's to read, and no retry makes it better.
    assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(answer.text(), theirs);
    let seen = upstream.requests();
    assert_eq!(seen.len(), 1);
    let text = String::from_utf8_lossy(&seen[0]).to_ascii_lowercase();
    for kept in [
        "authorization: bearer sk-mine\r\n",
        "openai-organization: org-mine\r\n",
        "openai-project: proj-mine\r\n",
    ] {
        assert!(text.contains(kept), "{text}");
    }
    assert!(!text.contains("cookie") && !text.contains("proxy-authorization"), "{text}");
    assert!(!text.contains(PROVIDER_KEY), "{text}");
}

#[tokio::test]
async fn a_redirect_leaks_no_key() {
    let asked = Arc::new(AtomicUsize::new(0));
    let elsewhere = {
        let asked = Arc::clone(&asked);
        Upstream::start(move |_| {
            asked.fetch_add(1, SeqCst);
            std::future::ready(Response::new(Body::empty()))
        })
        .await
    };
    let world = World::start().await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("http://{}/v1/stolen", elsewhere.address);
        let answer =
            world.http1().chat(&chat(&format!("fault:status={status};header=location:{location}"))).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (status, Some(location.as_str())));
    }
    assert_eq!(asked.load(SeqCst), 0, "it was followed");
    assert_eq!(world.sim.counts().received, 5);
}

#[tokio::test]
async fn informational_answers_are_not_the_answer() {
    for first in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"] {
        let upstream = Upstream::raw(format!("{first}{first}{OK}")).await;
        let world = in_front_of(&upstream).await;
        for http in [world.http1(), world.http2()] {
            let answer = http.get("/v1/unknown").await;
            assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"{}"[..]), "{first}");
            assert_eq!(answer.header("link"), None);
        }
    }
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_a_502() {
    let upstream =
        Upstream::raw("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
    let answer = in_front_of(&upstream).await.http1().get("/v1/unknown").await;
    assert_eq!(answer.status, 502);
    answer.error();
}

#[tokio::test]
async fn an_expectation_is_met_here_and_not_sent_on() {
    let upstream = Upstream::raw(OK).await;
    let world = in_front_of(&upstream).await;
    let request = "POST /v1/unknown HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\n\
        content-type: application/octet-stream\r\ncontent-length: 3\r\n\r\nabc";
    let answer = raw(world.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), "{answer}");
    let seen = &upstream.requests()[0];
    assert_eq!(names(seen), ["authorization", "cdn-loop", "content-length", "content-type", "host"]);
    assert!(seen.ends_with(b"\r\n\r\nabc"));
}

#[tokio::test]
async fn compression_is_declined_where_the_answer_is_read() {
    let world = World::start().await;
    let http = world.http1();
    let sent = |method, path: &str, body: serde_json::Value| {
        let request = http.request(method, path).header("accept-encoding", "gzip, br");
        http.read(request.header("content-type", "application/json").body(body.to_string().into()).unwrap())
    };
    sent(Method::POST, "/v1/chat/completions", chat("gpt-4o")).await;
    sent(Method::POST, "/v1/chat/completions", chat_stream("gpt-4o")).await;
    sent(Method::POST, "/v1/embeddings", json!({"model": "m", "input": "a"})).await;
    sent(Method::GET, "/v1/files/file-1/content", json!({})).await;
    sent(Method::GET, "/v1/echo/unknown", json!({})).await;
    let seen: Vec<_> =
        world.sim.requests().iter().map(|seen| seen.headers["accept-encoding"].clone()).collect();
    assert_eq!(seen, ["identity", "identity", "identity", "gzip, br", "gzip, br"]);
}

#[tokio::test]
async fn a_field_can_be_let_through() {
    let world = World::builder()
        .provider(|provider| provider.allow_header(HeaderName::from_static("x-tenant")))
        .start()
        .await;
    let http = world.http1();
    let request = http.request(Method::GET, "/v1/models").header("x-tenant", "a").header("x-other", "b");
    http.read(request.body(Default::default()).unwrap()).await;
    let seen = world.sim.requests().pop().unwrap().headers;
    assert_eq!(seen["x-tenant"], "a");
    assert!(!seen.contains_key("x-other"));
}

#[tokio::test]
async fn targets_arrive_byte_for_byte() {
    let upstream = Upstream::raw(OK).await;
    let world =
        World::builder().base_url(format!("http://{}/some/prefix/v1/", upstream.addr())).start().await;
    for (sent, arrives) in [
        ("/v1/models", "/models"),
        ("/models", "/models"),
        ("/v1/models?", "/models?"),
        ("/v1/files?after=a&after=b&limit=&x", "/files?after=a&after=b&limit=&x"),
        ("/v1/files?a=%2F%2f%20+~!*'();:@$,[]&b=%E2%82%AC", "/files?a=%2F%2f%20+~!*'();:@$,[]&b=%E2%82%AC"),
        ("/v1/files?a=/v1/files?b=1", "/files?a=/v1/files?b=1"),
        ("/v1/files?q=../../x", "/files?q=../../x"),
        ("/v1/unknown/a%2Fb%20c/", "/unknown/a%2Fb%20c/"),
        ("/v1/unknown//double", "/unknown//double"),
        ("/v1/models/meta-llama/Llama-3:free", "/models/meta-llama/Llama-3:free"),
        ("/v1/v1/models", "/v1/models"),
        ("/v1", ""),
        ("/v1/", "/"),
    ] {
        let request = format!("GET {sent} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = raw(world.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{sent}: {answer}");
        let seen = upstream.requests().pop().unwrap();
        let line = String::from_utf8_lossy(&seen).lines().next().unwrap().to_owned();
        assert_eq!(line, format!("GET /some/prefix/v1{arrives} HTTP/1.1"), "{sent}");
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_http2() {
    let world = World::builder()
        .sim(Sim::new())
        .provider(|provider| provider.leaf(|leaf| leaf.http2(Http2::default())))
        .start()
        .await;
    for http in [world.http1(), world.http2()] {
        assert_eq!(http.chat(&chat("gpt-4o")).await.status, 200);
        let stream = http.chat(&chat_stream("gpt-4o")).await;
        assert!(stream.whole && stream.text().ends_with("data: [DONE]\n\n"));
        assert_eq!(http.get("/v1/echo?a=%2F").await.json()["query"], "a=%2F");
    }
    assert!(world.sim.requests().iter().all(|seen| seen.version == http::Version::HTTP_2));
}

#[tokio::test]
async fn a_second_answer_is_never_anothers() {
    // Two answers to one request: the second one belongs to nobody.
    let script =
        RawScript::new().read_request().write(format!("{OK}{}", OK.replace("{}", "[]"))).wait_for_close();
    let upstream = RawUpstream::start([script]).await.unwrap();
    let world = in_front_of(&upstream).await;
    let http = world.http1();
    for _ in 0..3 {
        assert_eq!(http.get("/v1/unknown").await.body, "{}");
    }
}
