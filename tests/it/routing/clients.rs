//! What clients see of a gateway with several providers: its models, and what their keys reach.

use async_openai::{Client, config::OpenAIConfig};
use http::{Method, Request};
use http_body_util::Full;
use towergate::{
    Candidate,
    core::{access::ClientAccess, label::Label},
    layers::client_auth::{ClientKey, ClientKeys},
};

use crate::support::{Answer, Several, chat};

fn keys() -> ClientKeys {
    let key = |text: &str| ClientKey::new(&text.to_owned().into()).unwrap();
    let small = ClientAccess::all().allowed_models(["small"]);
    let files = small.clone().allowed_endpoints(["/v1/files", "/v1/responses"]);
    ClientKeys::new([
        (Label::new("all"), key("tg-all")),
        (Label::new("small"), key("tg-small").access(small)),
        (Label::new("files"), key("tg-files").access(files)),
    ])
    .unwrap()
}

async fn guarded() -> Several {
    Several::of(2)
        .routing(|routing| {
            routing
                .candidate("a", Candidate::new().model("large").alias("small", "gpt-4o-mini"))
                .candidate("b", Candidate::new().priority(2).model("large"))
        })
        .gateway(|gateway| gateway.client_keys(keys()))
        .start()
        .await
}

async fn send(several: &Several, key: &str, method: Method, path: &str, body: &str) -> Answer {
    let request = several.http.request(method, path).header("authorization", format!("Bearer {key}"));
    let request = request.header("content-type", "application/json");
    several.http.read(request.body(Full::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn the_sdk_lists_the_models_that_its_key_reaches() {
    let several = guarded().await;
    for (key, expected) in [("tg-all", &["large", "small"][..]), ("tg-small", &["small"])] {
        let config =
            OpenAIConfig::new().with_api_base(format!("{}/v1", several.http.url())).with_api_key(key);
        let client = Client::with_config(config);
        let list = client.models().list().await.unwrap();
        let ids: Vec<&str> = list.data.iter().map(|model| model.id.as_str()).collect();
        assert_eq!(ids, expected);
        assert_eq!(client.models().retrieve("small").await.unwrap().owned_by, "a");
        assert_eq!(client.models().retrieve("large").await.is_ok(), key == "tg-all");
    }
    assert_eq!(several.received(), [0, 0]);
}

#[tokio::test]
async fn a_key_reaches_its_models_and_endpoints_alone() {
    let several = guarded().await;
    let small = chat("small").to_string();
    let large = chat("large").to_string();
    let chat = "/v1/chat/completions";
    assert_eq!(send(&several, "tg-all", Method::POST, chat, &large).await.status, 200);
    assert_eq!(send(&several, "tg-small", Method::POST, chat, &small).await.status, 200);
    let before = several.received();
    for (key, method, path, body, code) in [
        ("tg-small", Method::POST, chat, &*large, "model_not_allowed"),
        ("tg-small", Method::POST, "/v1/responses", r#"{"input":"x"}"#, "model_not_allowed"),
        ("tg-small", Method::POST, "/v1/moderations", r#"{"input":"x"}"#, "model_not_allowed"),
        ("tg-small", Method::GET, "/v1/files", "", "endpoint_not_allowed"),
        ("tg-small", Method::POST, "/v1/batches", "{}", "endpoint_not_allowed"),
        ("tg-small", Method::POST, "/v1/anything/new", &*large, "endpoint_not_allowed"),
        ("tg-small", Method::DELETE, "/v1/models/small", "", "endpoint_not_allowed"),
        ("tg-files", Method::POST, chat, &*small, "endpoint_not_allowed"),
    ] {
        let refused = send(&several, key, method.clone(), path, body).await;
        assert_eq!(
            (refused.status.as_u16(), refused.error()["code"].as_str()),
            (403, Some(code)),
            "{method} {path}"
        );
    }
    assert_eq!(several.received(), before, "nothing of it went upstream");
    assert_eq!(send(&several, "tg-files", Method::GET, "/v1/files", "").await.status, 200);

    let mut socket = Request::get(format!("{}/v1/responses", several.http.url()));
    for (name, value) in [
        ("authorization", "Bearer tg-files"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        socket = socket.header(name, value);
    }
    let refused = several.http.read(socket.body(Full::default()).unwrap()).await;
    assert_eq!(refused.error()["code"], "model_not_allowed", "a model could be named inside of it");
}

#[tokio::test]
async fn an_unknown_model_is_told_of_and_fallbacks_are_bounded() {
    let several = guarded().await;
    let unknown =
        send(&several, "tg-all", Method::POST, "/v1/chat/completions", &chat("gpt-5").to_string()).await;
    assert_eq!((unknown.status.as_u16(), unknown.error()["code"].as_str()), (404, Some("model_not_found")));
    assert!(unknown.error()["message"].as_str().unwrap().contains("gpt-5"), "{unknown:?}");

    several.sims[0].script(["503; times=4"]).unwrap();
    let falling_back = |key: &str, models: &str| {
        let request = several.http.request(Method::POST, "/v1/chat/completions");
        let request = request
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json");
        let request = request.header("x-towergate-fallback-models", models);
        several.http.read(request.body(Full::from(chat("small").to_string())).unwrap())
    };
    let answer = falling_back("tg-all", "large").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-towergate-model")), (200, Some("large")));
    assert_eq!(answer.header("x-towergate-provider"), Some("b"));
    let upstream = several.sims[1].requests();
    assert!(!upstream[0].headers.keys().any(|name| name.as_str().starts_with("x-towergate")));
    assert_eq!(falling_back("tg-small", "large").await.error()["code"], "model_not_allowed");
}
