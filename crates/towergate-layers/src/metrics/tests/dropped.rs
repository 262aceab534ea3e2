//! What is let go before its end, and by whom.

use super::*;

#[test]
fn a_drop_before_the_head_says_who_let_go() {
    let in_a_second = || (Instant::now() + Duration::from_secs(1)).into_std();
    let gone = async |layer| dropped_before_the_head(layer, Request::new(())).await;
    assert_eq!(both(gone), same("client_gone_before_head"));

    let stalled = async |layer| {
        let mut request = Request::new(());
        let downstream = Downstream::default();
        downstream.set_stalled();
        request.extensions_mut().insert(downstream);
        dropped_before_the_head(layer, request).await;
    };
    assert_eq!(both(stalled), same("client_stalled"));

    let deadline = async |layer| {
        let mut request = Request::new(());
        request.extensions_mut().insert(Deadline(in_a_second()));
        dropped_before_the_head(layer, request).await;
    };
    assert_eq!(both(deadline).1, "total_timeout");

    let patience = async |layer| {
        let mut request = Request::new(());
        request.extensions_mut().insert(Patience(in_a_second()));
        dropped_before_the_head(layer, request).await;
    };
    assert_eq!(both(patience).1, "client_patience_timeout");
}

#[test]
fn a_drop_in_the_body_says_how_far_it_had_come() {
    let after_one = async |layer, response| {
        let mut body = answer(layer, Request::new(()), response).await.into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
    };
    let gone = async |layer| after_one(layer, events(false)).await;
    assert_eq!(both(gone), same("client_gone_in_body"));
    // SDKs hang up at `[DONE]`.
    let done = async |layer| after_one(layer, events(true)).await;
    assert_eq!(both(done), same("completed"));

    let stalled = async |layer| {
        let mut request = Request::new(());
        let downstream = Downstream::default();
        request.extensions_mut().insert(downstream.clone());
        let body = answer(layer, request, events(false)).await.into_body();
        downstream.set_stalled();
        drop(body);
    };
    assert_eq!(both(stalled), same("client_stalled"));
}

#[test]
fn a_client_that_was_told_of_an_error_and_hangs_up_was_not_the_cause() {
    let run = async |layer| {
        let mut request = Request::new(());
        let record = RequestRecord::of(request.extensions_mut());
        let body = answer(layer, request, events(false)).await.into_body();
        record.settle(Outcome::Timeout(Clock::Idle));
        drop(body);
    };
    assert_eq!(both(run).0, "idle_timeout");
}

/// A body of known length that does not say when it is over, as a server may treat it: read up to
/// its length and dropped.
struct Sized(Full<Bytes>);

impl Body for Sized {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[test]
fn a_body_that_nobody_asks_for_again_is_completed() {
    let sized = || Response::new(Sized(Full::new(Bytes::from_static(b"123"))));
    let read_to_its_length = async |layer| {
        let mut body = answer(layer, Request::new(()), sized()).await.into_body();
        body.frame().await.unwrap().unwrap();
    };
    assert_eq!(both(read_to_its_length), same("completed"));
    let head = async |layer| {
        let request = Request::builder().method(Method::HEAD).body(()).unwrap();
        drop(answer(layer, request, sized()).await);
    };
    assert_eq!(both(head), same("completed"));
    let no_content = async |layer| {
        let mut response = sized();
        *response.status_mut() = StatusCode::NO_CONTENT;
        drop(answer(layer, Request::new(()), response).await);
    };
    assert_eq!(both(no_content), same("completed"));
    let empty = async |layer| drop(answer(layer, Request::new(()), Response::new(CoreBody::empty())).await);
    assert_eq!(both(empty), same("completed"));
}
