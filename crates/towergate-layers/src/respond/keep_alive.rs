//! [`KeepAlive`]: comments for the client while the upstream is silent.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;
use towergate_core::StreamState;

use crate::alarm::{Alarm, later};

/// A comment (WHATWG's `text/event-stream`, a line that begins with a colon) and a blank line.
const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Says when a comment is due.
pub(super) struct KeepAlive {
    every: Duration,
    alarm: Alarm,
    /// Since when the client has got nothing.
    quiet_since: Option<Instant>,
    state: Option<Arc<StreamState>>,
}

// === impl KeepAlive ===

impl KeepAlive {
    pub(super) fn new(every: Duration, state: Option<Arc<StreamState>>) -> Self {
        Self { every, alarm: Alarm::default(), quiet_since: None, state }
    }

    /// The client got something.
    pub(super) fn reset(&mut self) {
        self.quiet_since = None;
    }

    /// A comment, once the upstream has been silent for long enough; asked where it has nothing to give.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        // After an `id` field openai-python takes a comment with a blank line for an event, and fails on it.
        if self.state.as_ref().is_some_and(|state| state.has_ids()) {
            return Poll::Pending;
        }
        let now = Instant::now();
        let due = later(*self.quiet_since.get_or_insert(now), self.every);
        self.alarm.poll_due(cx, now, due).map(|()| {
            self.quiet_since = None;
            metrics::describe_counter!(
                "towergate_keep_alives_total",
                "Comments sent while an upstream was silent"
            );
            metrics::counter!("towergate_keep_alives_total").increment(1);
            COMMENT
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
    use http_body::Frame;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::time::sleep;
    use tower::{Layer as _, ServiceExt as _, service_fn};
    use towergate_core::{Body, BoxError, Error, Route, protocol::RenderError, stream::AnswerKind};

    use super::*;
    use crate::respond::RespondLayer;

    struct Plain;

    impl RenderError for Plain {
        fn body(&self, _: StatusCode, _: &Error) -> Bytes {
            Bytes::new()
        }

        fn content_type(&self) -> HeaderValue {
            HeaderValue::from_static("text/plain")
        }

        fn event(&self, _: Option<&'static Route>, _: &Error) -> Bytes {
            Bytes::from_static(b"error\n\n")
        }
    }

    /// What the client gets of an upstream that sends these pieces, each after so many seconds, and how long it took.
    async fn of(pieces: Vec<(u64, &'static str)>, content_type: &'static str, ids: bool) -> (String, u64) {
        let service = service_fn(move |_: Request<()>| {
            let frames = futures_util::stream::iter(pieces.clone()).then(async |(seconds, piece)| {
                sleep(Duration::from_secs(seconds)).await;
                Ok::<_, BoxError>(Frame::data(Bytes::from_static(piece.as_bytes())))
            });
            let mut response = Response::new(Body::new(StreamBody::new(Box::pin(frames))));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            let state = StreamState::new(AnswerKind::Events);
            if ids {
                state.set_ids();
            }
            response.extensions_mut().insert(Arc::new(state));
            async { Ok::<_, BoxError>(response) }
        });
        let service = RespondLayer::new(Plain).keep_alive(Some(Duration::from_secs(10))).layer(service);
        let began = Instant::now();
        let response = service.oneshot(Request::new(())).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (String::from_utf8(body.to_vec()).unwrap(), began.elapsed().as_secs())
    }

    const EVENTS: &str = "text/event-stream";

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_filled_between_events_only() {
        let (text, took) =
            of(vec![(0, "data: 1\n\n"), (25, "data: 2\n"), (25, "\n"), (9, "data: 3\n\n")], EVENTS, false)
                .await;
        let comment = ": keep-alive\n\n";
        assert_eq!(text, format!("data: 1\n\n{comment}{comment}data: 2\n\ndata: 3\n\n"));
        assert_eq!(took, 59, "nothing is delayed");
    }

    #[tokio::test(start_paused = true)]
    async fn it_comes_before_the_first_event_too() {
        assert_eq!(of(vec![(11, "data: 1\n\n")], EVENTS, false).await.0, ": keep-alive\n\ndata: 1\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_event_stream_or_has_ids_stays_as_it_is() {
        let pieces = vec![(0, "data: 1\n\n"), (60, "data: 2\n\n")];
        assert_eq!(of(pieces.clone(), EVENTS, true).await.0, "data: 1\n\ndata: 2\n\n");
        assert_eq!(of(pieces, "application/json", false).await.0, "data: 1\n\ndata: 2\n\n");
    }
}
