//! Answers that are documents.

use super::*;

#[tokio::test]
async fn a_document_is_checked_to_its_end() {
    let text = " \n{\"id\":\"x\",\"error\":null,\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n";
    for size in [1, 5, 1000] {
        let got = document(CHAT, text.as_bytes().chunks(size).map(data)).await;
        assert_eq!(got.text(), text);
        assert!(got.error.is_none() && got.state.is_complete());
        assert_eq!(got.state.usage().unwrap().output, 2);
        let got = document(CHAT, text.as_bytes()[..40].chunks(size).map(data)).await;
        assert_eq!((got.kind(), got.state.is_complete()), (ErrorKind::Truncated, false));
    }
    assert_eq!(document(CHAT, []).await.kind(), ErrorKind::BadAnswer);
    assert_eq!(document(CHAT, [data(b"{\"a\":oops}")]).await.kind(), ErrorKind::BadAnswer);
    assert_eq!(document(CHAT, [data(b"{}"), Step::Reset]).await.kind(), ErrorKind::Connection);
    assert_eq!(document("/models", [data(b"[1")]).await.kind(), ErrorKind::Truncated);
    assert!(document("/models", [data(b"{}"), Step::Trailers]).await.trailers);
}

#[tokio::test]
async fn a_document_that_is_whole_in_memory_is_checked_too() {
    for (text, whole) in [("{}", true), ("{\"a\"", false), ("", false)] {
        let got = get(CHAT, "application/json", &AnswerSettings::default(), Body::from(text)).await;
        assert_eq!((got.error.is_none(), got.text()), (whole, text));
    }
    let (_, body) = wrap(CHAT, "application/json", &AnswerSettings::default(), Body::from("{}"));
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(2));
}

#[tokio::test]
async fn an_error_document_is_a_failure_where_a_model_should_answer() {
    let error = br#"{"error":{"message":"m","code":429}}"#;
    let got = document(CHAT, [data(error)]).await;
    assert_eq!((got.failure().status, got.bytes.len()), (StatusCode::TOO_MANY_REQUESTS, error.len()));
    assert!(!got.state.has_content() && !got.state.is_complete());
    let failed = br#"{"status":"failed","error":{"code":"server_error","message":"m"}}"#;
    assert_eq!(document(RESPONSES, [data(failed)]).await.failure().status, StatusCode::INTERNAL_SERVER_ERROR);
    let odd = br#"{"status":"completed","error":{"code":"server_error","message":"m"}}"#;
    assert!(document(RESPONSES, [data(odd)]).await.state.is_complete());
    let unsaid = br#"{"object":"response","error":{"code":"bio_policy","message":"m"},"output":[]}"#;
    let got = document(RESPONSES, [data(unsaid)]).await;
    assert!(got.state.is_complete() && got.state.failure().is_none());
    for object in ["error", "response.error"] {
        let bare = format!(r#"{{"object":"{object}","error":{{"code":"bio_policy","message":"m"}}}}"#);
        assert_eq!(
            document(RESPONSES, [data(bare.as_bytes())]).await.failure().status,
            StatusCode::BAD_REQUEST
        );
    }
    // A stored object that failed is no failure to look it up.
    assert!(document("/batches", [data(error)]).await.state.failure().is_none());
}

#[tokio::test]
async fn what_must_be_json_is_read_as_json() {
    let got = get(CHAT, "text/html", &AnswerSettings::default(), Body::from("<html>")).await;
    assert_eq!((got.kind(), got.bytes.len()), (ErrorKind::BadAnswer, 0));
    let got = get(CHAT, "text/plain", &AnswerSettings::default(), Body::from("{}")).await;
    assert!(got.error.is_none());
}

#[tokio::test]
async fn images_and_transcripts_are_read_but_not_held() {
    let text = br#"{"data":[],"usage":{"input_tokens":1,"output_tokens":2}}"#;
    for path in ["/images/generations", "/audio/transcriptions"] {
        let got = document(path, [data(text)]).await;
        assert_eq!(got.state.kind(), AnswerKind::Opaque);
        assert_eq!(got.state.usage().unwrap().output, 2);
        assert_eq!(document(path, [data(&text[..20])]).await.kind(), ErrorKind::Truncated);
        assert_eq!(document(path, [data(b"not json")]).await.text(), "not json");
    }
}
