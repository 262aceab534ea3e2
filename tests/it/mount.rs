//! The gateway mounted where apps mount services, by the examples themselves.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt as _};
use tower_http::{map_request_body::MapRequestBodyLayer, set_header::SetResponseHeaderLayer};
use towergate::{
    Body, Gateway,
    core::{BoxError, Error, ErrorKind, Sent, credentials::Credential},
    openai::{client::Client, service::OpenAi, types::ChatRequest},
};

use super::support::{Http, PROVIDER_KEY, World, chat, chat_stream};

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Everything a client may want of a mounted gateway.
async fn serves(http: &Http, prefix: &str) {
    let path = format!("{prefix}/v1/chat/completions");
    assert_eq!(http.post(&path, &chat("gpt-4o")).await.status, 200);
    let stream = http.post(&path, &chat_stream("gpt-4o")).await;
    assert!(stream.whole && stream.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(http.get(&format!("{prefix}/v1/models")).await.status, 200);
    let head = http.request(Method::HEAD, &format!("{prefix}/v1/models")).body(Full::default()).unwrap();
    let head = http.read(head).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let nowhere = http.get(&format!("{prefix}/nowhere")).await;
    assert_eq!((nowhere.status.as_u16(), nowhere.error()["code"].as_str()), (404, Some("not_found")));
}

#[tokio::test]
async fn in_axum_beside_the_apps_own_routes_and_under_a_path() {
    let world = World::start().await;
    for (app, prefix) in [
        (example_axum_app::beside(world.gateway.clone()), ""),
        (example_axum_app::nested(world.gateway.clone()), "/ai"),
    ] {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        let http = Http::new(format!("http://{address}"), false);
        serves(&http, prefix).await;
        assert_eq!(http.get("/").await.text(), "this is the app");
        server.abort();
    }
}

#[tokio::test]
async fn in_hypers_own_server_on_both_versions() {
    let world = World::start().await;
    let (listener, address) = listener().await;
    let server = tokio::spawn(example_hyper_app::serve(listener, world.gateway.clone()));
    for http2 in [false, true] {
        serves(&Http::new(format!("http://{address}"), http2), "").await;
    }
    server.abort();
}

#[tokio::test]
async fn given_to_serve_connection_as_it_is() {
    let world = World::start().await;
    let (listener, address) = listener().await;
    let gateway = world.gateway.clone();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(gateway.clone());
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    serves(&Http::new(format!("http://{address}"), false), "").await;
    server.abort();
}

#[tokio::test]
async fn inside_a_stack_of_tower_layers() {
    let world = World::start().await;
    let service = ServiceBuilder::new()
        .layer(SetResponseHeaderLayer::overriding(
            HeaderName::from_static("x-app"),
            HeaderValue::from_static("1"),
        ))
        .load_shed()
        .concurrency_limit(2)
        .timeout(Duration::from_secs(10))
        .layer(MapRequestBodyLayer::new(axum::body::Body::new::<Full<Bytes>>))
        .service(world.gateway.clone());
    for body in [chat("gpt-4o"), chat_stream("gpt-4o")] {
        let request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .unwrap();
        let response: Response<Body> = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-app"], "1");
        assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
}

/// A service under any of axum's own ways to mount one, and inside of its middleware.
#[tokio::test]
async fn in_axum_as_a_route_and_under_middleware() {
    let world = World::start().await;
    let app = axum::Router::new()
        .route("/health", axum::routing::get(|| async { "fine" }))
        .route_service("/v1/chat/completions", world.gateway.clone())
        .nest_service("/tenants/{tenant}/ai", world.gateway.clone())
        .layer(axum::middleware::map_response(|response: axum::response::Response| async {
            ([("x-app", "1")], response)
        }));
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let http = Http::new(format!("http://{address}"), false);
    for path in ["/v1/chat/completions", "/tenants/acme/ai/v1/chat/completions"] {
        let answer = http.post(path, &chat_stream("gpt-4o")).await;
        assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{path}");
        assert_eq!(answer.header("x-app"), Some("1"));
    }
    assert_eq!(http.get("/health").await.text(), "fine");
    assert_eq!(http.get("/v1/models").await.status, 404, "the app mounted one route only");
    assert!(world.sim.requests().iter().all(|seen| seen.uri.path() == "/v1/chat/completions"));
    server.abort();
}

#[test]
fn it_is_a_service_for_any_body() {
    fn mountable<S, B>()
    where
        S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
    }
    mountable::<Gateway, Body>();
    mountable::<Gateway, Full<Bytes>>();
    mountable::<Gateway, axum::body::Body>();
    mountable::<Gateway, hyper::body::Incoming>();
    // Neither `Sync` nor `Unpin`, and errors that are no `std::error::Error` themselves.
    mountable::<Gateway, UnsyncBoxBody<Bytes, String>>();
    mountable::<Gateway, UnsyncBoxBody<Bytes, &'static str>>();
    mountable::<Gateway, UnsyncBoxBody<Bytes, BoxError>>();
    fn answers_can_be_sent<B: http_body::Body<Data = Bytes> + Send + 'static>() {}
    answers_can_be_sent::<Body>();
}

/// Whatever a body's error is, it is the client's upload that broke, and no crash.
#[tokio::test]
async fn a_body_with_an_error_of_its_own_kind() {
    let world = World::builder().quick_retries(2).start().await;
    for (path, content_type) in
        [("/v1/chat/completions", "application/json"), ("/v1/files", "multipart/form-data; boundary=x")]
    {
        let frames = [Ok(Frame::data(Bytes::from("{"))), Err("the disk is on fire".to_owned())];
        let body = UnsyncBoxBody::new(StreamBody::new(futures_util::stream::iter(frames)));
        let request = Request::post(path).header("content-type", content_type).body(body).unwrap();
        let response = world.gateway.clone().oneshot(request).await.unwrap();
        assert!(response.status().is_client_error(), "{path}: {}", response.status());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains("on fire"), "{path}: {body:?}");
    }
    assert_eq!(world.sim.counts().received, 0);
}

#[tokio::test]
async fn single_layers_make_a_stack_of_ones_own() {
    let world = World::start().await;
    let openai = OpenAi::builder().base_url(world.upstream.base_url()).build().unwrap();
    let key = Credential::new(&PROVIDER_KEY.into()).unwrap();
    let client = Client::new(example_custom_stack::stack(openai, key));
    world.sim.script(["status=503;retry-after-ms=1"]).unwrap();
    let answer = client.chat_completion(&ChatRequest::new("gpt-4o").user("Hello!")).await.unwrap();
    assert!(answer.text().unwrap().starts_with("You said: Hello!"));
    assert_eq!(world.sim.counts().received, 2, "it was tried again");
    let seen = world.sim.requests();
    assert_eq!(seen[0].headers["authorization"], format!("Bearer {PROVIDER_KEY}").as_str());

    let mut stream = client.chat_completion_stream(&ChatRequest::new("gpt-4o").user("Hello!")).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(chunk.unwrap().text().unwrap_or_default());
    }
    assert!(text.starts_with("You said: Hello!"));
}

#[tokio::test]
async fn in_a_stack_of_ones_own_errors_stay_errors() {
    let free = listener().await.1;
    let openai = OpenAi::builder().base_url(format!("http://{free}/v1")).build().unwrap();
    let key = Credential::new(&PROVIDER_KEY.into()).unwrap();
    let stack = example_custom_stack::stack(openai, key);
    tokio::time::pause();
    let error = stack.oneshot(Request::get("/v1/models").body(Body::empty()).unwrap()).await.unwrap_err();
    let error = Error::find(&*error).unwrap();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::Nothing));

    // And an upstream's own failure stays its own answer, once the retries are used up.
    tokio::time::resume();
    let world = World::start().await;
    let openai = OpenAi::builder().base_url(world.upstream.base_url()).build().unwrap();
    let key = Credential::new(&PROVIDER_KEY.into()).unwrap();
    let stack = example_custom_stack::stack(openai, key);
    world.sim.script(["status=503;retry-after-ms=1;times=3"]).unwrap();
    let answer = stack.oneshot(Request::get("/v1/models").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!((answer.status().as_u16(), world.sim.counts().received), (503, 3));
}
