use std::{convert::Infallible, sync::Mutex};

use http::{StatusCode, header::LOCATION};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use secrecy::SecretString;
use tower::{ServiceExt as _, service_fn};
use towergate_core::{Body as CoreBody, stream::AnswerKind};

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
async fn send(
    layer: &AuthLayer,
    request: Request<()>,
    status: StatusCode,
) -> (Request<()>, Response<ResponseBody<Empty<Bytes>>>) {
    let seen = Mutex::new(None);
    let service = layer.layer(service_fn(async |request: Request<()>| {
        *seen.lock().unwrap() = Some(request);
        let mut response = Response::new(Empty::new());
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
    let inner = service_fn(async |_: Request<()>| -> Result<Response<Empty<Bytes>>, Infallible> {
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
        assert_eq!(credential.is_some_and(|sent| sent.bearer() == "Bearer sk-ours"), told, "{status}");
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
    let layer = layer.withhold(&"sk-canary-2".into()).withhold_key(key("sk-canary-3"));
    let printed = format!("{layer:?} {:?}", layer.layer(Inner));
    assert!(!printed.contains("canary"), "{printed}");
}

/// A layer that sends and withholds every kind of secret, and what each of them is.
fn with_secrets(layer: AuthLayer) -> (AuthLayer, [&'static str; 4]) {
    let mut token = HeaderValue::from_static("Token tok-canary");
    token.set_sensitive(true);
    let layer = layer
        .header(HeaderName::from_static("x-team"), HeaderValue::from_static("blue-team"))
        .header(HeaderName::from_static("x-auth"), token)
        .withhold(&"pw-canary".into())
        .withhold_key(key("sk-canary-other"));
    (layer, ["sk-canary", "tok-canary", "pw-canary", "sk-canary-other"])
}

/// The body of a response through the layer, in the frames that come.
async fn through<B>(layer: &AuthLayer, response: Response<B>) -> (http::response::Parts, Vec<Frame<Bytes>>)
where
    B: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let response = Mutex::new(Some(response));
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(response.lock().unwrap().take().unwrap())
    }));
    let (parts, body) = service.oneshot(Request::new(())).await.unwrap().into_parts();
    let mut body = std::pin::pin!(body);
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        frames.push(frame.unwrap());
    }
    assert!(body.is_end_stream());
    (parts, frames)
}

fn text(frames: Vec<Frame<Bytes>>) -> String {
    let data = frames.into_iter().filter_map(|frame| frame.into_data().ok());
    data.map(|data| String::from_utf8(data.to_vec()).unwrap()).collect()
}

fn response<B>(status: u16, body: B) -> Response<B> {
    Response::builder().status(status).header("content-length", "1").body(body).unwrap()
}

#[tokio::test]
async fn no_field_of_a_response_quotes_a_secret() {
    let (layer, secrets) = with_secrets(AuthLayer::new(key("sk-canary")));
    for (secret, status) in secrets.iter().zip([101, 200, 302, 400, 502].iter().cycle()) {
        let mut response = Response::new(CoreBody::empty());
        *response.status_mut() = StatusCode::from_u16(*status).unwrap();
        for (name, value) in [
            ("x-many", "1".to_owned()),
            ("x-many", format!("Bearer {secret}")),
            ("location", format!("https://a/?key={}&b", secret.replace('-', "%2D"))),
            ("content-type", format!("application/{secret}")),
            ("x-team", "blue-team".to_owned()),
            ("x-other", "sk-cana".to_owned()),
        ] {
            response.headers_mut().append(name, HeaderValue::from_str(&value).unwrap());
        }
        let (parts, _) = through(&layer, response).await;
        let mut names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["x-other", "x-team"], "{secret} {status}");
    }
    // The caller knows its own key.
    let response = Response::builder().header("location", "sk-caller-key").body(CoreBody::empty()).unwrap();
    assert!(through(&AuthLayer::pass_through(), response).await.0.headers.contains_key(LOCATION));
}

#[tokio::test]
async fn no_body_but_that_of_a_success_quotes_a_secret() {
    let (inject, secrets) = with_secrets(AuthLayer::new(key("sk-canary")));
    let (pass, _) = with_secrets(AuthLayer::pass_through());
    for (status, masked) in [(200, false), (206, false), (302, true), (400, true), (500, true), (599, true)] {
        for secret in secrets {
            let said = format!("<{secret}> of blue-team");
            let (parts, frames) = through(&inject, response(status, CoreBody::from(said.clone()))).await;
            let got = text(frames);
            assert_eq!(got.contains("canary"), !masked, "{status} {got}");
            assert!(got.starts_with('<') && got.ends_with("> of blue-team") && got.len() == said.len());
            assert_eq!(parts.headers["content-length"], "1", "the length stays");
            // The caller's key is the caller's; the rest is the provider's all the same.
            let (_, frames) = through(&pass, response(status, CoreBody::from(said))).await;
            assert_eq!(text(frames).contains("canary"), !masked || secret == "sk-canary");
        }
    }
}

#[tokio::test]
async fn a_short_key_and_none_withhold_nothing() {
    for layer in [AuthLayer::new(key("none")), AuthLayer::new(None), AuthLayer::pass_through()] {
        let mut response = response(400, CoreBody::from("none of it"));
        response.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
        let (parts, frames) = through(&layer, response).await;
        assert_eq!((text(frames).as_str(), parts.headers.len()), ("none of it", 2));
    }
}

#[tokio::test]
async fn a_secret_in_pieces_is_masked_and_trailers_come_last() {
    let (layer, _) = with_secrets(AuthLayer::new(key("sk-canary")));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-kept", HeaderValue::from_static("1"));
    trailers.insert("x-echo", HeaderValue::from_static("sk-canary"));
    for (status, expected) in [(200, "a sk-canary, sk-ca"), (400, "a *********, sk-ca")] {
        let pieces = ["a s", "k-", "", "canar", "y, sk-ca"]
            .map(|piece| Frame::data(Bytes::from_static(piece.as_bytes())));
        let frames = pieces.into_iter().chain([Frame::trailers(trailers.clone())]).map(Ok::<_, Infallible>);
        let body = StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()));
        let (_, mut frames) = through(&layer, response(status, body)).await;
        let last = frames.pop().unwrap().into_trailers().unwrap();
        assert_eq!(last.keys().collect::<Vec<_>>(), ["x-kept"]);
        assert_eq!(text(frames), expected);
    }
}

#[tokio::test]
async fn what_is_held_back_still_counts() {
    let layer = AuthLayer::new(key("sk-canary"));
    let service = layer.layer(service_fn(async |_: Request<()>| {
        let body = StreamBody::new(futures_util::stream::iter(
            ["x sk-can", "ary"]
                .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from_static(piece.as_bytes())))),
        ));
        Ok::<_, Infallible>(response(400, body))
    }));
    let body = service.oneshot(Request::new(())).await.unwrap().into_body();
    let mut body = std::pin::pin!(body);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x ");
    assert!(!body.is_end_stream());
    assert_eq!(body.size_hint().lower(), 6);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "*********");
}

#[tokio::test]
async fn an_error_in_a_content_coding_is_withheld() {
    let layer = AuthLayer::new(key("sk-canary"));
    for (status, body, withheld) in [(400, "x", true), (302, "x", true), (400, "", false), (200, "x", false)]
    {
        let mut response = response(status, CoreBody::from(body));
        response.headers_mut().insert("content-encoding", HeaderValue::from_static("lzma"));
        let (parts, frames) = through(&layer, response).await;
        assert_eq!(parts.extensions.get::<Withheld>().is_some(), withheld, "{status} {body}");
        assert_eq!(frames.is_empty(), withheld || body.is_empty());
        // What answers `HEAD` tells of a body that is not there.
        assert_eq!(parts.headers.contains_key("content-encoding"), !withheld);
        assert_eq!(parts.headers.contains_key("content-length"), !withheld);
    }
}

#[tokio::test]
async fn the_reader_of_an_answer_is_told_what_errors_must_not_quote() {
    let (layer, secrets) = with_secrets(AuthLayer::new(key("sk-canary")));
    let state = Arc::new(StreamState::new(AnswerKind::Events));
    let mut response = Response::new(CoreBody::empty());
    response.extensions_mut().insert(Arc::clone(&state));
    through(&layer, response).await;
    let redaction = state.redaction().unwrap();
    assert!(secrets.iter().all(|secret| redaction.finds(secret.as_bytes())));
}
