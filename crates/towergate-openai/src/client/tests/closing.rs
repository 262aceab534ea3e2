//! `close`: what is under way ends, what is new is refused.

use futures_util::FutureExt as _;
use tokio::sync::Notify;

use super::*;

/// A service that answers when it is told to.
fn held(
    go: Arc<Notify>,
) -> Client<impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone>
{
    Client::new(tower::service_fn(move |_: Request<Body>| {
        let go = Arc::clone(&go);
        async move {
            go.notified().await;
            Ok::<_, Infallible>(document(200, &completion()))
        }
    }))
}

#[tokio::test]
async fn an_idle_client_closes_at_once() {
    let (client, log) = answering(|| document(200, &completion()));
    client.chat_completion(&hello()).await.unwrap();
    assert!(!client.is_closed());
    client.close().await;
    assert!(client.is_closed());
    assert!(matches!(client.chat_completion(&hello()).await, Err(ClientError::Closed)));
    assert!(matches!(client.chat_completion_stream(&hello()).await, Err(ClientError::Closed)));
    assert!(matches!(client.models().await, Err(ClientError::Closed)));
    assert_eq!(log.lock().unwrap().len(), 1);
    client.close().await;
}

#[tokio::test]
async fn calls_under_way_end_before_the_client_does() {
    let go = Arc::new(Notify::new());
    let client = held(Arc::clone(&go));
    let mut call = Box::pin(client.chat_completion(&hello()));
    assert!(call.as_mut().now_or_never().is_none());

    let mut closed = Box::pin(client.clone().close());
    assert!(closed.as_mut().now_or_never().is_none());
    assert!(matches!(client.models().await, Err(ClientError::Closed)), "clones share it");

    go.notify_one();
    let (answer, ()) = tokio::join!(async { call.await.map(|answer| answer.choices.len()) }, closed);
    assert_eq!(answer.unwrap(), 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_is_over() {
    let client = held(Arc::new(Notify::new()));
    let mut call = Box::pin(client.chat_completion(&hello()));
    assert!(call.as_mut().now_or_never().is_none());
    let mut closed = Box::pin(client.close());
    assert!(closed.as_mut().now_or_never().is_none());
    drop(call);
    closed.await;
}

#[tokio::test]
async fn a_stream_is_under_way_until_it_is_over() {
    const CHUNK: &str =
        concat!(r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#, "\n\n");

    // Read to its end.
    let (body, _) = Script::new([Step::Data(CHUNK)]);
    let client = giving(body);
    let mut stream = client.chat_completion_stream(&hello()).await.unwrap();
    let mut closed = Box::pin(client.close());
    assert!(stream.next().await.unwrap().is_ok());
    assert!(closed.as_mut().now_or_never().is_none());
    assert!(stream.next().await.is_none());
    closed.await;

    // Dropped, and its body before the call is over.
    let (body, mut dropped) = Script::new([Step::Data(CHUNK), Step::Hang]);
    let client = giving(body);
    let stream = client.chat_completion_stream(&hello()).await.unwrap();
    let mut closed = Box::pin(client.close());
    assert!(closed.as_mut().now_or_never().is_none());
    drop(stream);
    closed.await;
    dropped.try_recv().unwrap();
}

#[tokio::test]
async fn a_call_that_fails_is_over() {
    let (client, _) = answering(|| document(500, &json!({})));
    client.chat_completion_stream(&hello()).await.unwrap_err();
    client.chat_completion_with(&hello(), &CallOptions::new().request_id("")).await.unwrap_err();
    client.close().await;
}
