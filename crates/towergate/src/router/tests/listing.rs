//! `/models`, and the fallbacks that a client names.

use towergate_core::access::ClientAccess;

use super::*;

fn with(mut request: Request<Body>, access: ClientAccess) -> Request<Body> {
    request.extensions_mut().insert(Arc::new(access));
    request
}

fn only(models: &[&str]) -> ClientAccess {
    ClientAccess::all().allowed_models(models.iter().copied())
}

fn upstreams(models: &[&str]) -> Answer {
    let data: Vec<String> = models.iter().map(|model| format!(r#"{{"id":"{model}","up":1}}"#)).collect();
    let list = format!(r#"{{"data":[{}]}}"#, data.join(","));
    Ok(Response::builder().header("content-length", list.len()).body(Body::from(list)).unwrap())
}

async fn listed(router: &Router, request: Request<Body>) -> Vec<String> {
    let response = ask(router, request).await.unwrap();
    assert!(!response.headers().contains_key("content-length"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let list: towergate_openai::types::ModelList = serde_json::from_slice(&body).unwrap();
    list.data.into_iter().map(|model| model.id).collect()
}

fn named() -> (Scripted, Router) {
    let (a, b) = (Scripted::new("a", []), Scripted::new("b", []));
    let routing = routing(&[&a, &b])
        .candidate("a", Candidate::new().model("gpt-4o").alias("fast", "gpt-4o-mini"))
        .candidate("b", Candidate::new().priority(2).model("gpt-4o").model("ns/llama"));
    (a, router(&routing))
}

#[tokio::test]
async fn the_list_is_what_is_served_and_what_the_key_reaches() {
    let (_, router) = named();
    let list = || request_to("/models", "");
    assert_eq!(listed(&router, list()).await, ["fast", "gpt-4o", "ns/llama"]);
    assert_eq!(listed(&router, with(list(), only(&["fast", "other"]))).await, ["fast"]);
    for path in ["/models/ns/llama", "/v1/models/ns%2Fllama"] {
        let mut request = request_to("/models/ns/llama", "");
        *request.uri_mut() = path.parse().unwrap();
        let one = ask(&router, request).await.unwrap();
        let one = one.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(one, r#"{"object":"model","id":"ns/llama","created":0,"owned_by":"b"}"#);
    }
    let one = |model: &str| request_to(&format!("/models/{model}"), "");
    assert_eq!(ask(&router, one("gpt-5")).await.unwrap_err().code(), "model_not_found");
    let unreached = ask(&router, with(one("gpt-4o"), only(&["fast"]))).await.unwrap_err();
    assert_eq!((unreached.code(), unreached.kind()), ("model_not_found", ErrorKind::NotFound));
}

#[tokio::test]
async fn a_single_provider_that_takes_any_shows_its_own_list() {
    let provider = Scripted::new("a", [answer(200), upstreams(&["x", "y"]), answer(503), answer(200)]);
    let router = router(&Routing::single(provider.clone()));
    let list = || request_to("/models", "");
    let as_it_is = ask(&router, list()).await.unwrap();
    assert_eq!(as_it_is.into_body().as_bytes(), Some(&b"answer"[..]));
    assert_eq!(listed(&router, with(list(), only(&["y", "z"]))).await, ["y"]);
    assert_eq!(ask(&router, with(list(), only(&["y"]))).await.unwrap().status(), 503);
    let no_list = ask(&router, with(list(), only(&["y"]))).await.unwrap_err();
    assert_eq!(no_list.kind(), ErrorKind::BadAnswer);
    assert_eq!(ask(&router, request_to("/models/x", "")).await.unwrap().status(), 200);
    assert_eq!(provider.asked().len(), 5);
}

#[tokio::test]
async fn the_list_of_who_takes_any_comes_behind_the_names() {
    let (a, b) = (Scripted::new("a", [upstreams(&["x", "llama"])]), Scripted::new("b", []));
    let routing = routing(&[&a, &b]).candidate("b", Candidate::new().model("llama"));
    assert_eq!(listed(&router(&routing), request_to("/models", "")).await, ["llama", "x"]);
    assert!(b.asked().is_empty());
    // Who is asked for by name shows its own.
    let mut of_b = request_to("/models", "");
    of_b.headers_mut().insert("x-towergate-provider", HeaderValue::from_static("b"));
    assert_eq!(ask(&router(&routing), of_b).await.unwrap().into_body().as_bytes(), Some(&b"answer"[..]));
}

// --- fallbacks that the client names

fn falling_back(models: &str) -> Request<Body> {
    let mut request = chat("gpt-4o");
    request.headers_mut().insert("x-towergate-fallback-models", HeaderValue::from_str(models).unwrap());
    request
}

#[tokio::test]
async fn a_client_names_its_fallbacks() {
    let (a, b) = (Scripted::new("a", [answer(503)]), Scripted::new("b", [answer(503)]));
    let routing = routing(&[&a, &b])
        .candidate("a", Candidate::new().model("gpt-4o").model("fast"))
        .candidate("b", Candidate::new().priority(2).model("gpt-4o"));
    let response = ask(&router(&routing), falling_back("gpt-4o,, fast")).await.unwrap();
    assert_eq!(served(&response), (Some("fast"), 2));
    assert_eq!(a.asked()[1].body, r#"{"model":"fast","stream":true}"#);
    assert_eq!((a.asked().len(), b.asked().len()), (2, 1), "the model itself is no fallback");
}

#[tokio::test]
async fn the_clients_take_the_place_of_the_configured_ones() {
    let (a, b) = (Scripted::new("a", [answer(503)]), Scripted::new("b", []));
    let routing = routing(&[&a, &b])
        .candidate("a", Candidate::new().model("first"))
        .candidate("b", Candidate::new().model("configured").alias("named", "upstreams"))
        .fallback_models("first", ["configured"]);
    let mut request = chat("first");
    request.headers_mut().insert("x-towergate-fallback-models", HeaderValue::from_static("named"));
    assert_eq!(served(&ask(&router(&routing), request).await.unwrap()), (Some("upstreams"), 1));
    assert!(b.asked()[0].headers.is_empty(), "what is ours goes no further: {:?}", b.asked()[0].headers);
}

#[tokio::test]
async fn fallbacks_that_cannot_be_are_refused() {
    let (a, router) = named();
    let code = async |request| ask(&router, request).await.unwrap_err().code().to_owned();
    assert_eq!(code(falling_back("gpt-5")).await, "model_not_found");
    assert_eq!(code(falling_back(&["fast"; 9].join(","))).await, "invalid_fallback_models");
    assert_eq!(code(with(falling_back("fast"), only(&["gpt-4o"]))).await, "model_not_allowed");
    assert!(a.asked().is_empty());
    let mut junk = chat("gpt-4o");
    let header = HeaderValue::from_bytes(b"\xff").unwrap();
    junk.headers_mut().insert("x-towergate-fallback-models", header);
    assert_eq!(code(junk).await, "invalid_fallback_models");
}

#[tokio::test]
async fn the_next_provider_of_a_model_may_still_find_it_too_long() {
    let large = Scripted::new("large", []);
    let (a, b) = (Scripted::new("a", [answer(503)]), Scripted::new("b", [refusal(Class::ContextLength)]));
    let routing = routing(&[&a, &b, &large])
        .candidate("a", Candidate::new().model("small"))
        .candidate("b", Candidate::new().priority(2).model("small"))
        .candidate("large", Candidate::new().model("large"))
        .context_length_fallbacks("small", ["large"]);
    let response = ask(&router(&routing), chat("small")).await.unwrap();
    assert_eq!((response.status(), served(&response)), (StatusCode::OK, (Some("large"), 2)));
}
