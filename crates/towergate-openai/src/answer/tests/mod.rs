mod documents;
mod endings;
mod huge;
mod secrets;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use towergate_core::{
    Class,
    label::Label,
    stream::{Failure, Usage},
};

use super::*;
use crate::sse::EVENT_CAP;

const CHAT: &str = "/chat/completions";
const RESPONSES: &str = "/responses";
const ROLE: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const HELLO: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\u{fc}\"},\"finish_reason\":null}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n";
const ERROR: &str = "data: {\"error\":{\"message\":\"m\",\"code\":\"server_is_overloaded\"}}\n\n";
const BAD: &str = "data: {\"choices\":[{\"ind\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// A body of frames, and of what comes after them.
struct Script {
    steps: std::vec::IntoIter<Step>,
}

enum Step {
    Data(Bytes),
    Trailers,
    Reset,
    /// Silent for good.
    Silence,
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.steps.next() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
            Some(Step::Reset) => Poll::Ready(Some(Err("reset".into()))),
            Some(Step::Silence) => {
                self.steps = vec![Step::Silence].into_iter();
                Poll::Pending
            }
        }
    }
}

fn script(steps: impl IntoIterator<Item = Step>) -> Body {
    Body::new(Script { steps: steps.into_iter().collect::<Vec<_>>().into_iter() })
}

fn data(bytes: &[u8]) -> Step {
    Step::Data(Bytes::copy_from_slice(bytes))
}

fn facts(path: &str) -> Facts {
    let method = if path == "/models" { Method::GET } else { Method::POST };
    Facts::of_route(routes::find(&method, path), Label::new("other"))
}

/// What a client got.
struct Got {
    bytes: Vec<u8>,
    frames: usize,
    trailers: bool,
    error: Option<Error>,
    state: Arc<StreamState>,
}

impl Got {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    fn kind(&self) -> ErrorKind {
        self.error.as_ref().unwrap().kind()
    }

    fn failure(&self) -> &Failure {
        self.state.failure().unwrap()
    }
}

fn wrap(path: &str, content_type: &str, settings: &AnswerSettings, body: Body) -> (Parts, Body) {
    let (mut parts, ()) = Response::builder()
        .header(CONTENT_TYPE, content_type)
        .header(CONTENT_LENGTH, "1")
        .body(())
        .unwrap()
        .into_parts();
    let body = read_answer(Some(&facts(path)), settings, false, &mut parts, body);
    (parts, body)
}

async fn get(path: &str, content_type: &str, settings: &AnswerSettings, body: Body) -> Got {
    let (parts, mut body) = wrap(path, content_type, settings, body);
    let state = Arc::clone(parts.extensions.get::<Arc<StreamState>>().unwrap());
    let mut got = Got { bytes: Vec::new(), frames: 0, trailers: false, error: None, state };
    while let Some(frame) = body.frame().await {
        match frame {
            Err(error) => got.error = Some(*error.downcast::<Error>().unwrap()),
            Ok(frame) => match frame.into_data() {
                Ok(data) => {
                    got.frames += 1;
                    got.bytes.extend(data);
                }
                Err(_) => got.trailers = true,
            },
        }
    }
    assert!(body.is_end_stream() && body.frame().await.is_none());
    got
}

async fn stream(path: &str, steps: impl IntoIterator<Item = Step>) -> Got {
    get(path, "text/event-stream; charset=utf-8", &AnswerSettings::default(), script(steps)).await
}

async fn chat(text: &str) -> Got {
    stream(CHAT, [data(text.as_bytes())]).await
}

async fn document(path: &str, steps: impl IntoIterator<Item = Step>) -> Got {
    get(path, "application/json", &AnswerSettings::default(), script(steps)).await
}

#[tokio::test]
async fn a_whole_stream_passes_as_it_is() {
    let text = [": hi\n\n", ROLE, HELLO, STOP, USAGE, DONE].concat();
    let got = chat(&text).await;
    assert_eq!((got.text(), got.frames), (&*text, 1));
    assert!(got.error.is_none() && got.state.is_complete() && got.state.has_content());
    assert_eq!(got.state.usage(), Some(Usage { input: 3, output: 4, ..Usage::default() }));
    assert_eq!(got.state.data_events(), 5);
    assert_eq!(got.state.kind(), AnswerKind::Events);
}

#[tokio::test]
async fn only_what_carries_content_commits() {
    let (parts, mut body) = wrap(
        CHAT,
        "text/event-stream",
        &AnswerSettings::default(),
        script([data(ROLE.as_bytes()), data(HELLO.as_bytes())]),
    );
    let state = Arc::clone(parts.extensions.get::<Arc<StreamState>>().unwrap());
    body.frame().await.unwrap().unwrap();
    assert!(!state.has_content());
    assert_eq!(state.data_events(), 1);
    body.frame().await.unwrap().unwrap();
    assert!(state.has_content() && !state.is_complete());
    assert!(parts.headers.get(CONTENT_LENGTH).is_none());
}

#[tokio::test]
async fn an_error_event_is_the_last_that_passes() {
    let got = chat(&[HELLO, ERROR, DONE, HELLO].concat()).await;
    assert_eq!(got.text(), [HELLO, ERROR].concat());
    assert_eq!(got.kind(), ErrorKind::UpstreamStatus(StatusCode::SERVICE_UNAVAILABLE));
    assert!(got.error.as_ref().unwrap().is_signalled());
    assert_eq!(got.failure().class, Class::Overloaded);

    let got = chat(&[ROLE, ERROR].concat()).await;
    assert!(!got.state.has_content() && !got.state.is_complete());
    assert_eq!(got.failure().body, r#"{"error":{"message":"m","code":"server_is_overloaded"}}"#);

    let failed = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}}}\n\n";
    let got = stream(RESPONSES, [data(failed.as_bytes())]).await;
    assert_eq!((got.text(), got.failure().status), (failed, StatusCode::TOO_MANY_REQUESTS));
    // Without its blank line, too.
    let got = chat(&[HELLO, ERROR.trim_end()].concat()).await;
    assert_eq!(got.text(), [HELLO, ERROR].concat());
    assert!(got.error.unwrap().is_signalled());
}

#[tokio::test]
async fn a_malformed_event_is_left_out_passed_or_fatal() {
    let text = [HELLO, BAD, HELLO, BAD, STOP, DONE].concat();
    for size in [1, 7, 50, 1000] {
        let run = |malformed| {
            let settings = AnswerSettings { malformed };
            let body = script(text.as_bytes().chunks(size).map(data));
            async move { get(CHAT, "text/event-stream", &settings, body).await }
        };
        let got = run(Malformed::Drop).await;
        assert_eq!(got.text(), [HELLO, HELLO, STOP, DONE].concat());
        assert!(got.error.is_none());
        assert_eq!(got.state.malformed_events(), 2);
        let got = run(Malformed::Pass).await;
        assert_eq!(got.text(), text);
        assert_eq!(got.state.malformed_events(), 2);
        let got = run(Malformed::Fail).await;
        assert_eq!((got.text(), got.kind()), (HELLO, ErrorKind::BadAnswer));
    }
}

#[tokio::test]
async fn comments_without_events_are_no_answer() {
    let comment = format!(": {}\n\n", "x".repeat(1020));
    let most = MAX_COMMENTS as usize / comment.len();
    let few = || (0..most).map(|_| data(comment.as_bytes()));
    let got = stream(CHAT, few().chain([data(HELLO.as_bytes())]).chain(few())).await;
    assert_eq!((got.kind(), got.state.data_events()), (ErrorKind::Truncated, 1));
    let got = stream(CHAT, [data(HELLO.as_bytes())].into_iter().chain(few()).chain([data(b": x\n\n")])).await;
    assert_eq!(got.kind(), ErrorKind::BadAnswer);
    assert_eq!(got.bytes.len(), HELLO.len() + most * comment.len());
}

#[tokio::test]
async fn trailers_pass_behind_a_whole_stream_only() {
    let got = stream(CHAT, [data([HELLO, STOP].concat().as_bytes()), Step::Trailers]).await;
    assert!(got.trailers && got.text().ends_with(DONE));
    let got = stream(CHAT, [data(HELLO.as_bytes()), Step::Trailers]).await;
    assert!(!got.trailers);
    assert_eq!(got.kind(), ErrorKind::Truncated);
}

#[tokio::test]
async fn a_huge_event_flows_on() {
    let huge = format!(
        "event: image_generation.completed\ndata: {{\"type\":\"image_generation.completed\",\"b64_json\":\"{}\"}}\n\n",
        "A".repeat(4 * EVENT_CAP)
    );
    let small = "data: {\"type\":\"image_generation.partial_image\"}\n\n";
    let text = [small, &huge, small].concat();
    let settings = AnswerSettings::default();
    let (parts, mut body) = wrap(
        "/images/generations",
        "text/event-stream",
        &settings,
        script(text.as_bytes().chunks(10_000).map(data)),
    );
    let state = Arc::clone(parts.extensions.get::<Arc<StreamState>>().unwrap());
    let (mut bytes, mut mid_events) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.unwrap().into_data().unwrap();
        assert!(frame.len() <= EVENT_CAP);
        bytes.extend(frame);
        mid_events += usize::from(state.is_mid_event());
    }
    assert!(bytes == text.as_bytes(), "the bytes differ");
    assert!(mid_events > 50 && !state.is_mid_event() && state.is_complete());
    assert_eq!(state.malformed_events(), 0);

    let cut = &text.as_bytes()[..text.len() / 2];
    let got = stream("/images/generations", cut.chunks(10_000).map(data)).await;
    assert_eq!((got.kind(), got.state.is_mid_event()), (ErrorKind::Truncated, true));
}

#[tokio::test]
async fn an_unknown_stream_passes_unjudged() {
    let text = "data: not json\n\nevent: error\ndata: {\"error\":1}\n\nhalf a li";
    for size in [1, 10, 100] {
        let got = stream("/new/thing", text.as_bytes().chunks(size).map(data)).await;
        assert_eq!(got.text(), text);
        assert!(got.error.is_none() && got.state.is_complete());
        assert_eq!((got.state.data_events(), got.state.failure()), (2, None));
    }
}

#[tokio::test]
async fn transcriptions_may_stream_like_chat() {
    let text = [HELLO, STOP, DONE].concat();
    let got = stream("/audio/transcriptions", [data(text.as_bytes())]).await;
    assert_eq!(got.text(), text);
    assert!(got.error.is_none());
}

#[test]
fn what_is_not_read_is_left_alone() {
    let reads = |path: &str, head: http::response::Builder| {
        let (mut parts, ()) = head.body(()).unwrap().into_parts();
        let body =
            read_answer(Some(&facts(path)), &AnswerSettings::default(), false, &mut parts, Body::from("x"));
        assert!(body.as_bytes().is_some() || parts.extensions.get::<Arc<StreamState>>().is_some());
        parts.extensions.get::<Arc<StreamState>>().is_some()
    };
    let json = || Response::builder().header(CONTENT_TYPE, "application/json; charset=utf-8");
    assert!(
        reads(CHAT, json())
            && reads("/models", json())
            && reads(CHAT, json().header(CONTENT_ENCODING, "identity"))
    );
    assert!(!reads(CHAT, json().header(CONTENT_ENCODING, "gzip")));
    assert!(
        !reads(CHAT, json().status(500))
            && !reads(CHAT, json().status(204))
            && !reads(CHAT, json().status(302))
    );
    assert!(!reads("/audio/speech", Response::builder().header(CONTENT_TYPE, "audio/mpeg")));
    assert!(!reads("/new/thing", json()));
    assert!(!is_read(None) && is_read(Some(&facts(CHAT))) && !is_read(Some(&facts("/new/thing"))));
}

proptest! {
    #[test]
    fn any_split_of_a_whole_stream_passes_byte_for_byte(
        picks in prop::collection::vec(0_usize..5, 0..8),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        tail in prop::sample::select(vec!["", ": bye\n\n", "\n"]),
    ) {
        let pieces = [ROLE, HELLO, ": comment\n\n", "id: 7\nretry: 1\nevent: x\ndata: {\ndata: }\n\n", USAGE];
        let mut text: String = picks.into_iter().map(|pick| pieces[pick]).collect();
        text.push_str(STOP);
        text.push_str(DONE);
        text.push_str(tail);
        let text = text.replace('\n', end);
        let mut cuts: Vec<_> = cuts.drain(..).map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(text.len());
        let mut from = 0;
        let steps: Vec<_> = cuts.into_iter().map(|cut| {
            let step = data(&text.as_bytes()[from..cut]);
            from = cut;
            step
        }).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let got = runtime.block_on(stream(CHAT, steps));
        prop_assert_eq!(got.text(), &text);
        prop_assert!(got.error.is_none());
        prop_assert!(got.state.is_complete() && !got.state.is_mid_event());
        prop_assert_eq!(got.state.malformed_events(), 0);
    }

    #[test]
    fn any_bytes_end_somehow(bytes: Vec<u8>, size in 1_usize..20) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for path in [CHAT, RESPONSES, "/new/thing"] {
            let got = runtime.block_on(stream(path, bytes.chunks(size).map(data)));
            prop_assert!(got.error.is_some() || path == "/new/thing");
        }
    }
}
