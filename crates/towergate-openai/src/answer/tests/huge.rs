//! Chunks of more bytes than are kept of an event: a picture or sound in chat, a whole answer in one piece.

use super::*;

/// A chunk with more in it than is kept, where it comes in pieces.
fn huge(finish_reason: &str) -> String {
    let content = "A".repeat(2 * EVENT_CAP);
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}},\"finish_reason\":{finish_reason}}}]}}\n\n"
    )
}

async fn in_pieces(text: &str) -> Got {
    stream(CHAT, text.as_bytes().chunks(10_000).map(data)).await
}

#[tokio::test]
async fn it_is_content_as_soon_as_it_is_over() {
    let (huge, settings) = (huge("null"), AnswerSettings::default());
    let steps = [ROLE, &huge].concat().into_bytes();
    let body = script(steps.chunks(10_000).map(data));
    let (parts, mut body) = wrap(CHAT, "text/event-stream", &settings, body);
    let state = Arc::clone(parts.extensions.get::<Arc<StreamState>>().unwrap());
    while let Some(Ok(_)) = body.frame().await {}
    assert!(state.has_content() && !state.is_complete());
    let got = in_pieces(&[ROLE, &huge, STOP, DONE].concat()).await;
    assert!(got.error.is_none() && got.state.is_complete(), "{:?}", got.error);
}

/// What stands behind the part that is kept is not known, and `[DONE]` says that all had come.
#[tokio::test]
async fn done_proves_what_was_not_seen() {
    let text = [ROLE, &huge("\"stop\""), DONE].concat();
    for got in [chat(&text).await, in_pieces(&text).await] {
        assert!(got.error.is_none() && got.state.is_complete(), "{:?}", got.error);
        assert!(got.text() == text, "the bytes differ");
    }
}

#[tokio::test]
async fn without_done_it_proves_nothing() {
    for text in [[ROLE, &huge("null")].concat(), [ROLE, &huge("null"), HELLO].concat()] {
        assert_eq!(in_pieces(&text).await.kind(), ErrorKind::Truncated);
    }
    // Another choice that was begun, and seen, must finish.
    let other = HELLO.replace("\"index\":0", "\"index\":1");
    let got = in_pieces(&[ROLE, &other, &huge("\"stop\""), DONE].concat()).await;
    assert_eq!(got.kind(), ErrorKind::Truncated);
}
