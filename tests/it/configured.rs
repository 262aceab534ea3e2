//! A gateway of a configuration file, as a client meets it.

use std::net::SocketAddr;

use http::{Method, StatusCode};
use http_body_util::Full;
use tokio::sync::oneshot;
use towergate::{
    config::{Config, Variables},
    server::Server,
};
use towergate_sim::{Sim, SimServer};

use super::support::{Answer, Http, chat, counted};

/// Serves what a text describes; `${UPSTREAM}` is where the upstream is.
async fn serve(text: &str, upstream: &SimServer) -> (SocketAddr, oneshot::Sender<()>) {
    let url = upstream.base_url();
    let variables = Variables::new(move |name| match name {
        "UPSTREAM" => Some(url.clone()),
        "ALICE" => Some("tg-alice".to_owned()),
        _ => None,
    });
    let config = Config::parse("t.yaml", text, &variables).unwrap();
    let gateway = config.gateway(&variables).await.unwrap().build().unwrap();
    let server = Server::builder().listen(([127, 0, 0, 1], 0).into()).bind(gateway).await.unwrap();
    let address = server.local_addr();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(server.serve(async {
        let _ = stopped.await;
    }));
    (address, stop)
}

async fn send(http: &Http, key: &str, method: Method, path: &str, body: &str) -> Answer {
    let request = http.request(method, path).header("authorization", format!("Bearer {key}"));
    let request = request.header("content-type", "application/json");
    http.read(request.body(Full::from(body.to_owned())).unwrap()).await
}

// The digest is that of "tg-ci".
const CLIENTS: &str = "\
providers:
  main: {base_url: '${UPSTREAM}', models: {large: gpt-4o, small: gpt-4o-mini}}
client_keys:
  alice: {key: '${ALICE}'}
  ci: {sha256: dec56009f6b00e71bc818c64256a2490dea9d7df22fb687a4ba52bb7134b8cbd, allowed_models: [small]}
  files: {key: tg-files, allowed_models: [small], allowed_endpoints: [/v1/files, /v1/chat]}
";

#[test]
fn client_keys_of_a_file_reach_what_the_file_says_and_are_counted_by_name() {
    let counted = counted(async {
        let upstream = SimServer::start(Sim::new()).await.unwrap();
        let (address, _stop) = serve(CLIENTS, &upstream).await;
        let http = Http::new(format!("http://{address}"), false);
        let chats = "/v1/chat/completions";
        let (large, small) = (chat("large").to_string(), chat("small").to_string());
        for (key, method, path, body, status) in [
            ("tg-alice", Method::POST, chats, &*large, 200),
            ("tg-alice", Method::GET, "/v1/files", "", 200),
            ("tg-ci", Method::POST, chats, &*small, 200),
            ("tg-ci", Method::POST, chats, &*large, 403),
            ("tg-ci", Method::GET, "/v1/files", "", 403),
            ("tg-files", Method::GET, "/v1/files", "", 200),
            ("tg-files", Method::POST, chats, &*small, 200),
            ("tg-files", Method::POST, "/v1/embeddings", r#"{"model":"small","input":"x"}"#, 403),
            ("${ALICE}", Method::GET, "/v1/files", "", 401),
        ] {
            let answer = send(&http, key, method.clone(), path, body).await;
            assert_eq!(answer.status, StatusCode::from_u16(status).unwrap(), "{key} {method} {path}");
        }
        let listed = send(&http, "tg-ci", Method::GET, "/v1/models", "").await.json();
        let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
        assert_eq!(ids, ["small"]);
    });
    assert_eq!(counted["towergate_client_requests_total{completed}"], 6, "{counted:?}");
    assert_eq!(counted["towergate_client_requests_total{client_error}"], 3, "strangers have no name");
}

#[tokio::test]
async fn a_provider_whose_name_does_not_resolve_is_named_and_the_others_serve() {
    let upstream = SimServer::start(Sim::new()).await.unwrap();
    // RFC 2606: nobody ever has it.
    let text = "\
providers:
  lost: {base_url: 'http://no-such-host.invalid/v1', models: {shared: , alone: }, max_retries: 0}
  here: {base_url: '${UPSTREAM}', models: {shared: }, priority: 2}
";
    let (address, _stop) = serve(text, &upstream).await;
    let http = Http::new(format!("http://{address}"), false);
    for _ in 0..2 {
        let answer = http.chat(&chat("shared")).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-towergate-provider")), (200, Some("here")));
        let refused = http.chat(&chat("alone")).await;
        assert_eq!(refused.status, 502);
        let message = refused.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("provider \"lost\"") && message.contains("does not resolve"), "{message}");
    }
    assert_eq!(http.get("/readyz").await.status, 200);
}
