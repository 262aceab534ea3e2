//! Streamed chat completions.

use futures_core::Stream;
use proptest::prelude::*;

use super::*;

const STREAM: &str = concat!(
    ": keep-alive\n\n",
    r#"data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"id":"1","choices":[{"index":0,"delta":{"content":"Grüß"},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"id":"1","choices":[{"index":0,"delta":{"content":" Gott"},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "\n\n",
    r#"data: {"id":"1","choices":[],"usage":{"total_tokens":3}}"#,
    "\n\n",
    "data: [DONE]\n\n",
);

const BEGUN: &str = concat!(r#"data: {"choices":[{"index":0,"delta":{"content":"a"}}]}"#, "\n\n");
const FINISHED: &str =
    concat!(r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#, "\n\n");
const DONE: &str = "data: [DONE]\n\n";

/// All chunks' texts, and the error that ended them.
async fn read<B>(stream: &mut ChatStream<B>) -> (String, Option<ClientError>)
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => text.push_str(chunk.text().unwrap_or_default()),
            Err(error) => {
                assert!(stream.next().await.is_none(), "nothing comes after an error");
                return (text, Some(error));
            }
        }
    }
    assert!(stream.next().await.is_none(), "nothing comes after the end");
    (text, None)
}

async fn play(steps: impl IntoIterator<Item = Step>) -> (String, Option<ClientError>) {
    let (body, mut dropped) = Script::new(steps);
    let mut stream = giving(body).chat_completion_stream(&hello()).await.unwrap();
    let read = read(&mut stream).await;
    dropped.try_recv().expect("the body is dropped as soon as the stream is over");
    read
}

async fn fault(steps: impl IntoIterator<Item = Step>) -> StreamFault {
    match play(steps).await.1 {
        Some(ClientError::Stream(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn chunks_come_as_they_are() {
    let (client, log) = answering(|| Response::new(Body::from(STREAM)));
    let mut stream = client.chat_completion_stream(&hello().include_usage()).await.unwrap();
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.next().await {
        chunks.push(chunk.unwrap());
    }
    assert_eq!(chunks.len(), 5);
    assert_eq!(chunks[1].text(), Some("Grüß"));
    assert_eq!(chunks[4].usage.as_ref().unwrap().total_tokens, Some(3));
    let asked = &log.lock().unwrap()[0];
    assert_eq!(asked.headers["accept"], "text/event-stream");
    assert_eq!(asked.body["stream"], true);
    assert_eq!(asked.body["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn a_status_is_an_error_before_the_stream() {
    let (client, _) = answering(|| document(404, &json!({"error": {"code": "model_not_found"}})));
    let error = client.chat_completion_stream(&hello()).await.unwrap_err();
    assert_eq!(error.api_error().unwrap().code_name(), Some("model_not_found"));
}

#[tokio::test]
async fn json_is_no_stream() {
    let (client, _) = answering(|| document(200, &completion()));
    let error = client.chat_completion_stream(&hello()).await.unwrap_err();
    assert!(matches!(error, ClientError::Stream(StreamFault::NotEvents)));
}

#[tokio::test]
async fn an_error_in_the_stream_ends_it() {
    for event in [
        "data: {\"error\":{\"code\":\"server_is_overloaded\",\"message\":\"secret canary\"}}\n\n",
        "event: error\ndata: {\"code\":\"server_is_overloaded\"}\n\n",
        "data: {\"choices\":[],\"error\":{\"code\":\"server_is_overloaded\"}}\n\n",
    ] {
        let (text, error) = play([Step::Data(BEGUN), Step::Data(event), Step::Data(DONE)]).await;
        assert_eq!(text, "a");
        let error = error.unwrap();
        assert_eq!(error.api_error().unwrap().code_name(), Some("server_is_overloaded"));
        assert_eq!(error.to_string(), "the stream failed: the API reported server_is_overloaded");
    }
}

#[tokio::test]
async fn an_error_that_is_null_is_none() {
    let event = "data: {\"choices\":[],\"error\":null}\n\n";
    let (_, error) = play([Step::Data(event), Step::Data(FINISHED)]).await;
    assert!(error.is_none());
}

#[tokio::test]
async fn an_end_without_a_finish_reason_is_truncation() {
    const SECOND: &str = concat!(r#"data: {"choices":[{"index":1,"delta":{"content":"b"}}]}"#, "\n\n");
    for steps in [
        vec![],
        vec![Step::Data(BEGUN)],
        vec![Step::Data(BEGUN), Step::Data(DONE)],
        vec![Step::Data(DONE)],
        vec![Step::Data(BEGUN), Step::Data("data: {\"choi")],
        vec![Step::Data(BEGUN), Step::Data(SECOND), Step::Data(FINISHED), Step::Data(DONE)],
    ] {
        assert!(matches!(fault(steps.clone()).await, StreamFault::Truncated), "{steps:?}");
    }
}

#[tokio::test]
async fn an_end_that_only_lacks_its_mark_is_complete() {
    let unterminated = FINISHED.trim_end();
    for steps in [vec![Step::Data(FINISHED)], vec![Step::Data(BEGUN), Step::Data(unterminated)]] {
        assert!(play(steps).await.1.is_none());
    }
    // Content after the finish reason, as Azure's filter sends it, does not open the choice again.
    assert!(play([Step::Data(FINISHED), Step::Data(BEGUN), Step::Data(DONE)]).await.1.is_none());
}

#[tokio::test]
async fn an_event_that_is_no_chunk_is_malformed() {
    for event in ["data: {secret canary}\n\n", "data: 7\n\n", "data: {\"choices\":7}\n\n", "data: \u{0}\n\n"]
    {
        let fault = fault([Step::Data(BEGUN), Step::Data(event), Step::Data(FINISHED)]).await;
        assert!(matches!(fault, StreamFault::Malformed), "{event}: {fault}");
        assert!(!format!("{fault:?}").contains("canary"));
    }
}

#[tokio::test]
async fn events_have_a_limit_and_the_stream_has_none() {
    let (body, _) =
        Script::new([Step::Data(BEGUN), Step::Data(BEGUN), Step::Data(BEGUN), Step::Data(FINISHED)]);
    let client = giving(body).with_event_limit(FINISHED.len()).with_answer_limit(1);
    let mut stream = client.chat_completion_stream(&hello()).await.unwrap();
    assert!(matches!(read(&mut stream).await, (text, None) if text == "aaa"));

    // In one frame, over several, and of lines that are no data.
    let endless = [
        vec![Step::Data(BEGUN)],
        vec![Step::Data("data: {"), Step::Data("\"id\":"), Step::Hang],
        vec![Step::Data(": a\n"), Step::Data(": b\n"), Step::Data(": c\n"), Step::Hang],
    ];
    for steps in endless {
        let (body, _) = Script::new(steps);
        let client = giving(body).with_event_limit(10);
        let mut stream = client.chat_completion_stream(&hello()).await.unwrap();
        let (_, error) = read(&mut stream).await;
        assert!(matches!(error, Some(ClientError::Stream(StreamFault::EventTooLarge { limit: 10 }))));
    }
}

#[tokio::test]
async fn a_transport_that_breaks_ends_the_stream() {
    let (text, error) = play([Step::Data(BEGUN), Step::Fail]).await;
    assert_eq!(text, "a");
    assert!(matches!(error, Some(ClientError::Transport(_))));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_body_is_waited_for_a_moment() {
    let began = Instant::now();
    assert!(play([Step::Data(FINISHED), Step::Data(DONE)]).await.1.is_none());
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(play([Step::Data(FINISHED), Step::Data(DONE), Step::Hang]).await.1.is_none());
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    // What breaks, or goes on, after the end is of no interest.
    assert!(play([Step::Data(FINISHED), Step::Data(DONE), Step::Fail]).await.1.is_none());
    assert!(play([Step::Data(FINISHED), Step::Data(DONE), Step::Data("junk"), Step::Hang]).await.1.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_ends_with_the_head() {
    let options = CallOptions::new().timeout(Duration::from_secs(1));
    let (client, _) = answering(|| {
        let (body, _) = Script::new([Step::Data(BEGUN), Step::Hang]);
        Response::new(body)
    });
    let mut stream = client.chat_completion_stream_with(&hello(), &options).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let waited = tokio::time::timeout(Duration::from_secs(3600), stream.next()).await;
    assert!(waited.is_err(), "a stream that flows is not cut: {waited:?}");

    let silent = Client::new(tower::service_fn(|_: Request<Body>| {
        std::future::pending::<Result<Response<Body>, Infallible>>()
    }));
    let error = silent.chat_completion_stream_with(&hello(), &options).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }));
}

#[tokio::test]
async fn dropping_the_stream_drops_the_body() {
    let (body, mut dropped) = Script::new([Step::Data(BEGUN), Step::Hang]);
    let mut stream = giving(body).chat_completion_stream(&hello()).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    dropped.try_recv().unwrap_err();
    drop(stream);
    dropped.try_recv().expect("the body is dropped at once");
}

#[tokio::test]
async fn nothing_is_read_ahead() {
    let (body, _) = Script::new([Step::Data(BEGUN), Step::Data(BEGUN), Step::Data(FINISHED)]);
    let polls = Arc::clone(&body.polls);
    let mut stream = giving(body).chat_completion_stream(&hello()).await.unwrap();
    assert_eq!(*polls.lock().unwrap(), 0);
    assert!(stream.next().await.unwrap().is_ok());
    assert_eq!(*polls.lock().unwrap(), 1);
}

#[test]
fn a_stream_is_a_movable_stream() {
    fn is_stream<T: Stream<Item = Result<crate::types::ChatChunk, ClientError>> + Send + Unpin + 'static>() {}
    is_stream::<ChatStream<Body>>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_stream_may_be_split_anywhere(cuts in prop::collection::vec(0..STREAM.len(), 0..12)) {
        let mut cuts = cuts;
        cuts.extend([0, STREAM.len()]);
        cuts.sort_unstable();
        let frames: Vec<Bytes> =
            cuts.windows(2).map(|cut| Bytes::from_static(&STREAM.as_bytes()[cut[0]..cut[1]])).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (text, error) = runtime.block_on(async {
            let body = http_body_util::StreamBody::new(futures_util::stream::iter(
                frames.into_iter().map(|frame| Ok::<_, BoxError>(Frame::data(frame))),
            ));
            let mut stream = giving(body).chat_completion_stream(&hello()).await.unwrap();
            read(&mut stream).await
        });
        prop_assert!(error.is_none());
        prop_assert_eq!(text, "Grüß Gott");
    }
}
