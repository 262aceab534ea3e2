//! Whatever is below the base path goes through, byte for byte, without what must not cross.

use super::support::{PROVIDER_KEY, World, chat};
use http::Method;

#[tokio::test]
async fn a_json_body_arrives_byte_for_byte() {
    let world = World::start().await;
    let http = world.http1();
    let body = "{ \"model\":\"gpt-4o\",\t\"messages\" : [ {\"role\":\"user\",\"content\":\"Hello!\"} ] ,\"new_field\":[1.0,1e3,\"\\u00fc\"],\n\"n\":1}";
    let request = http
        .request(Method::POST, "/v1/chat/completions?a=%2F&a=b%20c&empty=")
        .header("content-type", "application/json; charset=utf-8")
        .body(body.into())
        .unwrap();
    assert_eq!(http.read(request).await.status, 200);
    let seen = world.sim.requests().pop().unwrap();
    assert_eq!(seen.body, body.as_bytes());
    assert!(format!("{seen:?}").contains("a=%2F&a=b%20c&empty="), "{seen:?}");
    assert_eq!(seen.headers["content-length"], body.len().to_string().as_str());
}

#[tokio::test]
async fn every_endpoint_goes_through_known_or_not() {
    let world = World::start().await;
    let http = world.http1();
    let binary: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    for (method, path) in [
        (Method::POST, "/v1/echo/unknown/endpoint"),
        (Method::PUT, "/v1/echo/x"),
        (Method::PATCH, "/v1/echo/x"),
        (Method::DELETE, "/v1/echo/files/file-1"),
        (Method::GET, "/v1/echo/some?after=x&limit=2"),
    ] {
        let body =
            if method == Method::GET || method == Method::DELETE { Vec::new() } else { binary.clone() };
        let request = http
            .request(method.clone(), path)
            .header("content-type", "application/octet-stream")
            .body(body.clone().into())
            .unwrap();
        let answer = http.read(request).await;
        assert_eq!(answer.status, 200, "{method} {path}");
        assert_eq!(answer.json()["method"], method.as_str());
        assert!(world.sim.requests().last().unwrap().body == body, "{method} {path}: not byte for byte");
    }
    // A bare path only where the route is known.
    assert_eq!(http.post("/chat/completions", &chat("gpt-4o")).await.status, 200);
    assert_eq!(http.get("/echo").await.status, 404);
}

#[tokio::test]
async fn only_what_may_cross_crosses() {
    let world = World::builder()
        .provider(|provider| provider.organization(http::HeaderValue::from_static("org-ours")))
        .start()
        .await;
    for http in [world.http1(), world.http2()] {
        let request = http
            .request(Method::POST, "/v1/chat/completions")
            .header("content-type", "application/json")
            .header("authorization", "Bearer the-callers-own")
            .header("api-key", "the-callers-own")
            .header("x-api-key", "the-callers-own")
            .header("cookie", "session=1")
            .header("openai-organization", "org-theirs")
            .header("openai-project", "proj-theirs")
            .header("x-forwarded-for", "10.0.0.1")
            .header("baggage", "user=1")
            .header("openai-beta", "assistants=v2")
            .header("x-stainless-lang", "python")
            .header("x-client-request-id", "mine");
        let answer = http.read(request.body(chat("gpt-4o").to_string().into()).unwrap()).await;
        assert_eq!(answer.status, 200);
        let seen = world.sim.requests().pop().unwrap().headers;
        assert_eq!(seen["authorization"], format!("Bearer {PROVIDER_KEY}").as_str());
        assert_eq!(seen.get_all("authorization").iter().count(), 1);
        assert_eq!(seen["openai-organization"], "org-ours");
        for kept in ["openai-beta", "x-stainless-lang", "x-client-request-id", "content-type"] {
            assert!(seen.contains_key(kept), "{kept}");
        }
        for gone in ["api-key", "x-api-key", "cookie", "openai-project", "x-forwarded-for", "baggage"] {
            assert!(!seen.contains_key(gone), "{gone}");
        }
        for gone in ["set-cookie", "alt-svc", "strict-transport-security"] {
            assert!(!answer.headers.contains_key(gone), "{gone}");
        }
        assert!(answer.header("x-ratelimit-limit-requests").is_some());
        assert!(answer.header("x-upstream-request-id").unwrap().starts_with("req_"));
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    }
}

#[tokio::test]
async fn a_redirect_is_returned_and_never_followed() {
    let world = World::start().await;
    let answer = world.http1().chat(&chat("fault:status=302;header=location:http://127.0.0.1:1/")).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (302, Some("http://127.0.0.1:1/")));
    assert_eq!(world.sim.counts().received, 1);
}

#[tokio::test]
async fn a_valid_request_id_is_kept_and_a_bad_one_replaced() {
    let world = World::start().await;
    let http = world.http1();
    for (sent, kept) in [("mine-1", true), ("not valid", false)] {
        let request = http.request(Method::GET, "/v1/models").header("x-request-id", sent);
        let answer = http.read(request.body(Default::default()).unwrap()).await;
        assert_eq!(answer.header("x-request-id") == Some(sent), kept);
    }
}

#[tokio::test]
async fn an_http2_upstream_and_a_path_prefix() {
    let world = World::start().await;
    let base = world.upstream.base_url().replace("/v1", "/some/prefix/v1/");
    let other = World::builder()
        .base_url(base)
        .provider(|provider| provider.leaf(|leaf| leaf.http2(towergate::openai::service::Http2::default())))
        .start()
        .await;
    assert_eq!(other.http1().post("/v1/chat/completions", &chat("gpt-4o")).await.status, 200);
    assert!(world.sim.requests()[0].uri.path().starts_with("/some/prefix/v1/chat"));
}
