//! Errors inside of answers, which quote what was sent.

use towergate_core::{credentials::Credential, redact::Redaction};

use super::*;

const KEY: &str = "sk-canary/1";
const MASK: &str = "[redacted]*";

/// The same as [`get`], where the key was sent.
async fn got(path: &str, content_type: &str, body: Body) -> Got {
    got_with(path, content_type, &AnswerSettings::default(), body).await
}

async fn got_with(path: &str, content_type: &str, settings: &AnswerSettings, body: Body) -> Got {
    let (parts, mut body) = wrap(path, content_type, settings, body);
    let state = Arc::clone(parts.extensions.get::<Arc<StreamState>>().unwrap());
    state.set_redaction(Redaction::new(Some(Credential::try_from(KEY).unwrap()), Arc::default()));
    let mut got = Got { bytes: Vec::new(), frames: 0, trailers: false, error: None, state };
    let mut ended = false;
    while let Some(frame) = body.frame().await {
        assert!(!ended, "it said that it was over");
        ended = body.is_end_stream();
        match frame.map(Frame::into_data) {
            Err(error) => got.error = Some(*error.downcast::<Error>().unwrap()),
            Ok(Ok(data)) => got.bytes.extend(data),
            Ok(Err(_)) => got.trailers = true,
        }
    }
    assert!(body.is_end_stream() && body.frame().await.is_none());
    got
}

async fn stream(path: &str, text: &str, size: usize) -> Got {
    got(path, "text/event-stream", script(text.as_bytes().chunks(size).map(data))).await
}

async fn document(path: &str, text: &str, size: usize) -> Got {
    let steps = text.as_bytes().chunks(size).map(data).chain([Step::Trailers]);
    got(path, "application/json", script(steps)).await
}

fn error() -> String {
    format!("{{\"error\":{{\"message\":\"wrong key {KEY}\",\"code\":\"server_is_overloaded\"}}}}")
}

#[tokio::test]
async fn an_error_event_quotes_no_key_and_content_is_as_it_came() {
    let content = HELLO.replace("h\u{fc}", KEY);
    for event in [
        format!("data: {}\n\n", error()),
        format!("data: {}", error()),
        format!("event: error\ndata: wrong key {KEY}\n\n"),
    ] {
        for size in [1, 7, 40, 1000] {
            let text = format!("{content}{event}");
            let got = stream(CHAT, &text, size).await;
            let expected = format!("{content}{}", event.replace(KEY, MASK));
            assert_eq!(got.text().trim_end(), expected.trim_end(), "{size}");
            assert!(got.error.unwrap().is_signalled());
            assert!(!format!("{:?}", got.state.failure().unwrap()).contains("canary"));
        }
    }
}

#[tokio::test]
async fn what_tells_of_a_part_that_failed_quotes_no_key() {
    let failed = format!(
        "event: response.mcp_call.failed\ndata: {{\"type\":\"response.mcp_call.failed\",\"x\":\"{KEY}\"}}\n\n"
    );
    let done = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{}}\n\n";
    for size in [1, 7, 1000] {
        let text = format!("{failed}{}{done}", failed.replace(".failed", ".delta"));
        let got = stream(RESPONSES, &text, size).await;
        assert_eq!(got.text(), text.replacen(KEY, MASK, 1));
        assert!(got.error.is_none() && got.state.is_complete());
        let got = stream(RESPONSES, failed.trim_end(), size).await;
        assert!(!got.text().contains("canary"), "{}", got.text());
    }
}

#[tokio::test]
async fn a_malformed_event_that_passes_quotes_no_key() {
    let settings = AnswerSettings { malformed: Malformed::Pass };
    for size in [1, 7, 1000] {
        let text = format!("{HELLO}data: wrong key {KEY}\n\n{STOP}{DONE}");
        let body = script(text.as_bytes().chunks(size).map(data));
        let got = got_with(CHAT, "text/event-stream", &settings, body).await;
        assert_eq!(got.text(), text.replace(KEY, MASK));
    }
}

#[tokio::test]
async fn an_event_too_long_to_be_judged_in_time_quotes_no_key() {
    for size in [10_000, EVENT_CAP + 20] {
        let event =
            format!("data: {{\"error\":{{\"message\":\"{KEY} {} {KEY}\"}}}}\n\n", "x".repeat(2 * EVENT_CAP));
        let got = stream(CHAT, &[HELLO, &event].concat(), size).await;
        assert_eq!(got.bytes.len(), HELLO.len() + event.len());
        assert!(!got.text().contains("canary") && got.text().contains(MASK));
        // Of a route that nobody knows nothing is read, and nothing searched.
        let got = stream("/unknown", &event, size).await;
        assert!(got.text() == event);
    }
}

#[tokio::test]
async fn an_error_document_quotes_no_key_and_others_are_as_they_came() {
    for path in [CHAT, "/models", "/images/generations"] {
        for size in [1, 7, 20, 1000] {
            let text = format!("{{\"id\":\"{KEY}\", \"error\" : {}, \"after\":\"{KEY}\"}}", error());
            let got = document(path, &text, size).await;
            assert!(got.trailers, "{path} {size}");
            assert_eq!(got.bytes.len(), text.len(), "{path} {size}");
            assert!(!got.text()[text.find("error").unwrap()..].contains("canary"), "{path}: {}", got.text());
            assert!(!format!("{:?}", got.state.failure()).contains("canary"));
            let fine = text.replacen(&error(), "null", 1);
            assert_eq!(document(path, &fine, size).await.text(), fine);
        }
    }
    let huge = format!("{{\"error\":{{\"message\":\"{} {KEY}\"}}}}", "x".repeat(200_000));
    assert!(!document(CHAT, &huge, 10_000).await.text().contains("canary"));
    let cut = format!("{{\"error\":{{\"message\":\"wrong key {KEY}");
    assert!(!document(CHAT, &cut, 3).await.text().contains("canary"));
}
