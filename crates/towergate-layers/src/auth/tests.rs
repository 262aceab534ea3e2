use std::{convert::Infallible, sync::Mutex};

use http::StatusCode;
use secrecy::SecretString;
use tower::{ServiceExt as _, service_fn};

use super::*;

const CALLERS: [(&str, &str); 9] = [
    ("authorization", "Bearer sk-caller"),
    ("api-key", "sk-caller"),
    ("x-api-key", "sk-caller"),
    ("cookie", "session=sk-caller"),
    ("proxy-authorization", "Basic sk-caller"),
    ("openai-organization", "org-caller"),
    ("openai-project", "proj-caller"),
    ("openai-beta", "assistants=v2"),
    ("content-type", "application/json"),
];

fn key(text: &str) -> Credential {
    Credential::new(&SecretString::from(text)).unwrap()
}

fn request() -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in CALLERS {
        // Twice: no second value may slip through.
        request.headers_mut().append(name, HeaderValue::from_static(value));
        request.headers_mut().append(name, HeaderValue::from_static(value));
    }
    request
}

/// What the inner service got, and what came back of its answer with that status.
async fn send(layer: &AuthLayer, request: Request<()>, status: StatusCode) -> (Request<()>, Response<()>) {
    let seen = Mutex::new(None);
    let service = layer.layer(service_fn(async |request: Request<()>| {
        *seen.lock().unwrap() = Some(request);
        let mut response = Response::new(());
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    }));
    let response = service.oneshot(request).await.unwrap();
    (seen.into_inner().unwrap().unwrap(), response)
}

fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn nothing_of_the_caller_goes_upstream() {
    let (seen, _) = send(&AuthLayer::new(key("sk-ours")), request(), StatusCode::OK).await;
    assert_eq!(values(seen.headers(), "authorization"), ["Bearer sk-ours"]);
    assert!(seen.headers()["authorization"].is_sensitive());
    for (name, value) in seen.headers() {
        assert!(!value.to_str().unwrap().contains("caller"), "{name}");
    }
    assert!(seen.headers().contains_key("openai-beta") && seen.headers().contains_key("content-type"));
    assert!(seen.extensions().get::<CallerCredential>().is_none());
}

#[tokio::test]
async fn without_a_key_none_is_sent() {
    let (seen, response) = send(&AuthLayer::new(None), request(), StatusCode::UNAUTHORIZED).await;
    assert!(!seen.headers().contains_key("authorization"));
    assert!(response.extensions().get::<Credential>().is_none());
}

#[tokio::test]
async fn a_required_key_that_is_missing_is_refused_by_name() {
    let layer = AuthLayer::new(None).require("OPENAI_API_KEY").provider(Label::new("openai"));
    let inner = service_fn(async |_: Request<()>| -> Result<Response<()>, Infallible> {
        panic!("called without a key")
    });
    let error = layer.layer(inner).oneshot(request()).await.unwrap_err();
    let error = Error::find(&*error).unwrap();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert_eq!(error.setting(), Some("OPENAI_API_KEY"));
    assert!(error.to_string().contains("openai") && !error.to_string().contains("sk-caller"));
}

#[tokio::test]
async fn a_rotated_key_is_used_from_the_next_call_on() {
    struct Rotating(Mutex<Vec<Credential>>);
    impl CredentialSource for Rotating {
        fn credential(&self) -> Option<Credential> {
            self.0.lock().unwrap().pop()
        }
    }
    let layer = AuthLayer::new(Rotating(Mutex::new(vec![key("sk-second"), key("sk-first")])));
    for expected in ["Bearer sk-first", "Bearer sk-second"] {
        let (seen, _) = send(&layer, request(), StatusCode::OK).await;
        assert_eq!(seen.headers()["authorization"], expected);
    }
}

#[tokio::test]
async fn the_providers_fields_replace_the_callers() {
    let name = HeaderName::from_static("openai-organization");
    let layer = AuthLayer::new(key("sk-ours")).header(name.clone(), HeaderValue::from_static("org-ours"));
    let (seen, _) = send(&layer, request(), StatusCode::OK).await;
    assert_eq!(values(seen.headers(), "openai-organization"), ["org-ours"]);
    assert!(!seen.headers().contains_key("openai-project"));

    let layer = AuthLayer::pass_through().header(name, HeaderValue::from_static("org-ours"));
    let (seen, _) = send(&layer, request(), StatusCode::OK).await;
    assert_eq!(values(seen.headers(), "openai-organization"), ["org-ours"]);
    assert_eq!(seen.headers()["openai-project"], "proj-caller");
}

#[tokio::test]
async fn pass_through_forwards_the_callers_own_and_says_so() {
    let (seen, response) = send(&AuthLayer::pass_through(), request(), StatusCode::UNAUTHORIZED).await;
    for name in ["authorization", "api-key", "x-api-key"] {
        assert_eq!(seen.headers().get_all(name).iter().count(), 2);
        assert!(seen.headers().get_all(name).iter().all(HeaderValue::is_sensitive), "{name}");
    }
    for name in ["openai-organization", "openai-project"] {
        assert!(seen.headers().contains_key(name), "{name}");
    }
    for name in ["cookie", "proxy-authorization"] {
        assert!(!seen.headers().contains_key(name), "{name}");
    }
    assert!(seen.extensions().get::<CallerCredential>().is_some());
    assert!(response.extensions().get::<CallerCredential>().is_some());
    assert!(response.extensions().get::<Credential>().is_none());
}

#[tokio::test]
async fn the_key_that_was_sent_is_told_with_a_failing_answer_alone() {
    let layer = AuthLayer::new(key("sk-ours"));
    for (status, told) in [(200, false), (302, false), (400, true), (401, true), (500, true), (599, true)] {
        let (_, response) = send(&layer, request(), StatusCode::from_u16(status).unwrap()).await;
        let credential = response.extensions().get::<Credential>();
        assert_eq!(credential.is_some_and(|sent| sent.is_leaked_by(b"<sk-ours>")), told, "{status}");
    }
}

#[tokio::test]
async fn a_caller_cannot_have_the_key_dropped_through_connection() {
    let layer = AuthLayer::new(key("sk-ours"))
        .header(HeaderName::from_static("openai-project"), HeaderValue::from_static("proj"));
    let cases = [
        (vec!["close, AUTHORIZATION ,x-own", "openai-project"], Some("close, x-own")),
        (vec!["authorization"], None),
        (vec!["Upgrade"], Some("Upgrade")),
    ];
    for (sent, expected) in cases {
        let mut request = request();
        for value in sent {
            request.headers_mut().append(CONNECTION, HeaderValue::from_static(value));
        }
        let (seen, _) = send(&layer, request, StatusCode::OK).await;
        let got = seen.headers().get(CONNECTION).map(|value| value.to_str().unwrap());
        assert_eq!(got, expected);
        let mut headers = seen.headers().clone();
        headers::strip_hop_by_hop(&mut headers);
        assert_eq!(headers["authorization"], "Bearer sk-ours");
        assert_eq!(headers["openai-project"], "proj");
    }
}

#[test]
fn nothing_prints_the_key() {
    #[derive(Debug)]
    struct Inner;
    let layer = AuthLayer::new(key("sk-canary")).require("OPENAI_API_KEY");
    let printed = format!("{layer:?} {:?} {:?}", layer.layer(Inner), Used::Providers(key("sk-canary")));
    assert!(!printed.contains("canary"), "{printed}");
}

#[tokio::test]
async fn no_field_of_an_answer_quotes_the_key() {
    let answer_to = async |layer: AuthLayer, status: StatusCode| {
        let service = layer.layer(service_fn(|request: Request<()>| {
            let echoed = request.headers()["authorization"].clone();
            let response = Response::builder()
                .status(status)
                .header("x-many", "1")
                .header("x-many", &echoed)
                .header("x-echo", &echoed)
                .header("location", "https://a/?key=sk-ours&b")
                .header("content-type", "application/sk-ours")
                .header("x-other", "sk-our");
            std::future::ready(Ok::<_, Infallible>(response.body(()).unwrap()))
        }));
        let response = service.oneshot(request()).await.unwrap();
        response.headers().keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
    };
    for status in [StatusCode::OK, StatusCode::FOUND, StatusCode::BAD_REQUEST, StatusCode::BAD_GATEWAY] {
        assert_eq!(answer_to(AuthLayer::new(key("sk-ours")), status).await, ["x-other"]);
    }
    // The caller knows its own key.
    assert_eq!(answer_to(AuthLayer::pass_through(), StatusCode::OK).await.len(), 5);
}
