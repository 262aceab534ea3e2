use http::{Method, StatusCode};
use proptest::prelude::*;
use serde_json::Value;
use towergate_core::{Class, Clock, label::Label};

use super::*;
use crate::{json::any_json, routes};

fn error() -> Error {
    Error::new(ErrorKind::Truncated, "it \"ended\"\n").with_provider(Label::new("p"))
}

fn parse(body: &str) -> ErrorBody {
    ErrorBody::parse(body.as_bytes()).unwrap()
}

#[test]
fn an_envelope_has_all_four_keys() {
    for kind in [
        ErrorKind::BadRequest,
        ErrorKind::Unauthorized,
        ErrorKind::Timeout(Clock::Head),
        ErrorKind::Timeout(Clock::RequestBody),
        ErrorKind::Timeout(Clock::ClientPatience),
        ErrorKind::TooManyRequests,
        ErrorKind::Internal,
    ] {
        let value: Value = serde_json::from_slice(&body(&Error::new(kind, "x"))).unwrap();
        let object = value["error"].as_object().unwrap();
        assert_eq!(object.keys().collect::<Vec<_>>(), ["message", "type", "param", "code"]);
        let ours = kind.status().is_server_error() || kind == ErrorKind::TooManyRequests;
        assert_eq!(object["type"], if ours { "gateway_error" } else { "invalid_request_error" });
        assert_eq!(object["code"], kind.code());
    }
    let named: Value =
        serde_json::from_slice(&body(&Error::new(ErrorKind::BadRequest, "x").with_param("model"))).unwrap();
    assert_eq!(named["error"]["param"], "model");
}

/// The three SDKs raise where an event is called `error`, or has a true `error` at the top.
#[test]
fn every_error_event_is_one_that_the_sdks_raise_on() {
    let mut routes: Vec<_> = routes::all().iter().map(Some).collect();
    routes.push(None);
    for route in routes {
        let event = event(route, &error());
        let text = std::str::from_utf8(&event).unwrap();
        assert!(text.ends_with("\n\n") && text.matches("\n\n").count() == 1, "{text}");
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["error"]["code"], "upstream_truncated", "{text}");
        assert!(value["error"].is_object(), "{text}");
    }
}

#[test]
fn an_event_has_the_shape_of_its_api() {
    let shape = |path: &str| {
        let event = event(Some(routes::find(&Method::POST, path)), &error());
        String::from_utf8(event.to_vec()).unwrap()
    };
    assert!(shape("/chat/completions").starts_with("data: {\"error\":{\"message\":"));
    let responses = shape("/responses");
    assert!(
        responses.starts_with("event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_truncated\",")
    );
    assert!(responses.contains("\"sequence_number\":0"));
    assert!(shape("/audio/speech").starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{"));
    assert!(shape("/threads/t/runs").starts_with("event: error\ndata: {\"error\":{"));
}

#[test]
fn upstreams_shapes_are_understood() {
    let openai = parse(r#"{"error":{"message":"m","type":"t","param":"p","code":"c"},"status":401}"#);
    assert_eq!(openai.message.as_deref(), Some("m"));
    assert_eq!(openai.kind.as_deref(), Some("t"));
    assert_eq!((openai.param.as_deref(), openai.code.as_deref()), (Some("p"), Some("c")));
    assert_eq!(openai.status, Some(StatusCode::UNAUTHORIZED));

    let gemini = parse(r#" [{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"m"}}]"#);
    assert_eq!((gemini.code.as_deref(), gemini.status()), (Some("429"), StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(parse("\n\n {\"error\":\"text\"}").message.as_deref(), Some("text"));
    let mistral = parse(r#"{"object":"error","message":"m","type":"invalid_request_error","code":null}"#);
    assert_eq!(mistral.status(), StatusCode::BAD_REQUEST);
    let responses = parse(r#"{"type":"error","code":"server_is_overloaded","message":"m","param":null}"#);
    assert_eq!((responses.kind.as_deref(), responses.status()), (None, StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(parse(r#"{"error":{"code":"404"}}"#).status(), StatusCode::NOT_FOUND);

    for none in
        ["", "<html>", "{}", "[]", r#"{"error":null}"#, r#"{"error":""}"#, r#"{"message":"m"}"#, "[1]"]
    {
        assert_eq!(ErrorBody::parse(none.as_bytes()), None, "{none}");
    }
}

#[test]
fn quota_is_told_from_rate() {
    let classify =
        |status: u16, body: &str| classify(StatusCode::from_u16(status).unwrap(), Some(body.as_bytes()));
    for code in [
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
        "billing_not_active",
    ] {
        assert_eq!(classify(429, &format!(r#"{{"error":{{"code":"{code}"}}}}"#)), Class::QuotaExhausted);
    }
    assert_eq!(
        classify(429, r#"{"error":{"type":"insufficient_quota","code":null}}"#),
        Class::QuotaExhausted
    );
    assert_eq!(classify(429, r#"{"error":{"code":"rate_limit_exceeded"}}"#), Class::RateLimited);
    assert_eq!(classify(429, "<html>"), Class::RateLimited);
    assert_eq!(classify(402, ""), Class::QuotaExhausted);
    assert_eq!(classify(401, r#"{"error":{"code":"insufficient_quota"}}"#), Class::AuthRefused);
    assert_eq!(classify(403, r#"{"error":{"message":"no"}}"#), Class::CallerError);
    for error in [
        r#"{"code":"context_length_exceeded","message":"x"}"#,
        r#"{"type":"exceed_context_size_error","message":"x"}"#,
        r#"{"code":400,"message":"This model's maximum context length is 2048 tokens."}"#,
    ] {
        assert_eq!(classify(400, &format!(r#"{{"error":{error}}}"#)), Class::ContextLength, "{error}");
    }
    for code in ["content_policy_violation", "content_filter", "moderation_blocked"] {
        let error = format!(r#"{{"error":{{"code":"{code}","message":"x"}}}}"#);
        assert_eq!(classify(400, &error), Class::ContentPolicy, "{code}");
    }
    assert_eq!(classify(400, r#"{"error":{"code":"billing_hard_limit_reached"}}"#), Class::QuotaExhausted);
    assert_eq!(classify(500, r#"{"error":{"code":"insufficient_quota"}}"#), Class::ServerError);
    assert_eq!(classify(200, r#"{"error":{"code":"insufficient_quota"}}"#), Class::Success);
    assert_eq!(super::classify(StatusCode::TOO_MANY_REQUESTS, None), Class::RateLimited);
}

#[test]
fn a_failure_keeps_the_error_object_as_it_was() {
    let data = br#"{"id":"x","error": {"message":"m","code":502,"metadata":{"a":1}}}"#;
    let failure = failure(data);
    assert_eq!(failure.body, r#"{"error":{"message":"m","code":502,"metadata":{"a":1}}}"#);
    assert_eq!((failure.status, failure.class), (StatusCode::BAD_GATEWAY, Class::ServerError));
}

#[test]
fn a_failure_without_an_object_gets_one() {
    let flat = failure(br#"{"type":"error","code":"rate_limit_exceeded","message":"slow"}"#);
    let value: Value = serde_json::from_slice(&flat.body).unwrap();
    assert_eq!(value["error"]["message"], "slow");
    assert_eq!((flat.status, flat.class), (StatusCode::TOO_MANY_REQUESTS, Class::RateLimited));
    let long = format!(r#"{{"error":{{"message":"{}"}}}}"#, "x".repeat(100_000));
    assert!(failure(long.as_bytes()).body.len() < 4096);
    assert_eq!(failure(b"junk").status, StatusCode::INTERNAL_SERVER_ERROR);
}

proptest! {
    #[test]
    fn any_body_is_read_without_panic(bytes: Vec<u8>, value in any_json()) {
        let _ = ErrorBody::parse(&bytes);
        let nested = serde_json::json!({ "error": value }).to_string();
        let _ = ErrorBody::parse(nested.as_bytes());
        prop_assert!(serde_json::from_slice::<Value>(&failure(nested.as_bytes()).body).is_ok());
    }
}
