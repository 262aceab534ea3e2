//! The gateway mounted where apps mount services, by the examples themselves.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt as _};
use towergate::{
    Body, Gateway,
    core::credentials::Credential,
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
        .concurrency_limit(2)
        .timeout(Duration::from_secs(10))
        .map_request(|request: Request<Full<Bytes>>| request)
        .service(world.gateway.clone());
    let request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Full::from(chat("gpt-4o").to_string()))
        .unwrap();
    let response: Response<Body> = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
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
}
