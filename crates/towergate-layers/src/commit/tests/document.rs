//! Answers that are documents: held whole.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_document_is_held_whole_and_collected() {
    let state = json();
    let body = Scripted::new(&state).wait(s(3)).data(r#"{"id":1}"#);
    let (held, response) = held_for(answer(Some(&state), body)).await;
    assert_eq!(held, s(3));
    assert_eq!(response.body().as_bytes(), Some(&br#"{"id":1}"#[..]));
    assert!(response.extensions().get::<Arc<StreamState>>().is_some());
    assert!(response.extensions().get::<Class>().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_document_in_pieces_keeps_its_pieces_and_its_trailers() {
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", "1".parse().unwrap());
    let state = json();
    let body = Scripted::new(&state).data("{").wait(s(3)).data("}").trailers(trailers.clone());
    let (held, response) = held_for(answer(Some(&state), body)).await;
    assert_eq!(held, s(3));
    let mut body = response.into_body();
    assert_eq!(body.size_hint().exact(), Some(2));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{");
    assert_eq!(body.size_hint().exact(), Some(1));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "}");
    assert!(!body.is_end_stream());
    assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    assert!(body.is_end_stream());
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_document_that_breaks_is_an_error() {
    let state = json();
    let cut = Error::new(ErrorKind::Truncated, "cut").with_sent(Sent::Unknown);
    let body = Scripted::new(&state).data("{").fail(cut);
    assert_eq!(kind_of(commit(answer(Some(&state), body)).await), ErrorKind::Truncated);

    let body = Scripted::new(&state).data("{").fail("a foreign error");
    let error = commit(answer(Some(&state), body)).await.unwrap_err();
    let error = Error::find(&*error).unwrap();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert_eq!(error.provider(), Some(&Label::new("openai")));
}

#[tokio::test(start_paused = true)]
async fn an_empty_200_is_no_answer() {
    let state = json();
    for body in [Scripted::new(&state), Scripted::new(&state).wait(s(1)), Scripted::new(&state).data("")] {
        assert_eq!(kind_of(commit(answer(Some(&state), body)).await), ErrorKind::BadAnswer);
    }
    // Nobody could tell what it is, but an answer it is not.
    for body in [Scripted::new(&state), Scripted::new(&state).wait(s(1))] {
        assert_eq!(kind_of(commit(answer(None, body)).await), ErrorKind::BadAnswer);
    }
    let nothing_expected =
        through(CommitLayer::new(ByStatus), Request::new(Body::empty()), answer(None, Scripted::new(&state)));
    assert!(nothing_expected.await.is_ok());
    assert!(commit(with_status(204, Scripted::new(&state))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_error_in_a_document_is_an_answer_of_its_own() {
    let state = json();
    let body = Scripted::new(&state).marked(r#"{"error":{}}"#, |state| state.set_failure(failure()));
    let response = commit(answer(Some(&state), body)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}
