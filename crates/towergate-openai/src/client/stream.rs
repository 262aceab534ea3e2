//! The stream of a chat completion.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use http::Response;
use tokio::time::Sleep;
use towergate_core::{BoxError, headers};

use super::{
    ClientError, StreamFault,
    answer::{api_error, error_inside, read},
    gate::Ticket,
};
use crate::{
    sse::{Event, SseReader},
    types::{ApiError, ChatChunk},
};

/// How long the end of the body is waited for after `[DONE]`: a body that is read to its end gives
/// its connection back to the pool.
const LINGER: Duration = Duration::from_secs(1);

/// More choices than a request can ask for are not kept account of.
const MAX_CHOICES: usize = 1024;

/// The chunks of a streamed chat completion, as they come.
///
/// Nothing is read ahead of who polls it; dropping it drops the answer's body, and with it the
/// request. It ends after `None`, and after any error: the API's own in the stream, an event that
/// is no chunk, a transport that broke, or an end that came before the answer's.
///
/// [`next`](Self::next) is enough to read it; as a [`Stream`] it goes with the combinators of the
/// `futures` crate.
#[must_use = "a stream does nothing unless it is read"]
pub struct ChatStream<B> {
    open: Option<Open<B>>,
}

struct Open<B> {
    // Dropped in this order: the call is over only after its body.
    body: Pin<Box<B>>,
    _ticket: Ticket,
    phase: Phase,
    events: SseReader,
    /// The frame that is being read, and how far it has been.
    frame: Bytes,
    at: usize,
    event_limit: usize,
    seen: Seen,
}

/// What was read so far.
#[derive(Default)]
struct Seen {
    /// The choices that were begun, and whether they have a finish reason.
    choices: BTreeMap<u64, bool>,
    /// `[DONE]` came.
    done: bool,
}

enum Phase {
    /// Chunks come.
    Flowing,
    /// `[DONE]` came; the end of the body is waited for, with a clock once it does not come at once.
    Done(Option<Pin<Box<Sleep>>>),
    /// The body has ended.
    Ended,
}

// === impl ChatStream ===

impl<B> ChatStream<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Takes an answer whose status is a success.
    pub(super) async fn open(
        response: Response<B>,
        ticket: Ticket,
        answer_limit: usize,
        event_limit: usize,
    ) -> Result<Self, ClientError> {
        let (parts, body) = response.into_parts();
        if headers::is_json(headers::media_type(&parts.headers)) {
            let document = read(body, answer_limit).await?;
            return Err(error_inside(&document).map_or_else(
                || StreamFault::NotEvents.into(),
                |error| api_error(parts.status, &parts.headers, error),
            ));
        }
        Ok(Self {
            open: Some(Open {
                body: Box::pin(body),
                _ticket: ticket,
                phase: Phase::Flowing,
                events: SseReader::with_cap(event_limit),
                frame: Bytes::new(),
                at: 0,
                event_limit,
                seen: Seen::default(),
            }),
        })
    }

    /// The next chunk; `None` when the answer is complete. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<ChatChunk, ClientError>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<B> Stream for ChatStream<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Item = Result<ChatChunk, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(open) = &mut self.open else { return Poll::Ready(None) };
        let next = ready!(open.poll_chunk(cx)).transpose();
        if !matches!(next, Some(Ok(_))) {
            self.open = None;
        }
        Poll::Ready(next)
    }
}

impl<B> fmt::Debug for ChatStream<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatStream").field("ended", &self.open.is_none()).finish()
    }
}

// === impl Open ===

impl<B> Open<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<ChatChunk>, ClientError>> {
        loop {
            match &mut self.phase {
                Phase::Ended => {
                    self.seen.check_complete()?;
                    return Poll::Ready(Ok(None));
                }
                Phase::Done(clock) => {
                    return Self::poll_linger(self.body.as_mut(), clock, cx).map(|()| Ok(None));
                }
                Phase::Flowing => {}
            }
            if let Some(event) = self.events.next(&self.frame, &mut self.at) {
                if event.len > self.event_limit as u64 {
                    return Poll::Ready(Err(too_large(self.event_limit)));
                }
                if let Some(chunk) = self.seen.read_event(&event)? {
                    return Poll::Ready(Ok(Some(chunk)));
                }
                if self.seen.done {
                    self.phase = Phase::Done(None);
                }
                continue;
            }
            if self.events.pending_len() > self.event_limit as u64 {
                return Poll::Ready(Err(too_large(self.event_limit)));
            }
            match ready!(self.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    self.frame = frame.into_data().unwrap_or_default();
                    self.at = 0;
                }
                Some(Err(error)) => return Poll::Ready(Err(ClientError::Transport(error.into()))),
                None => {
                    self.phase = Phase::Ended;
                    return Poll::Ready(self.finish());
                }
            }
        }
    }

    /// The stream ended, perhaps in an event that lacks its blank line: whether that one is whole is for
    /// its JSON to say.
    fn finish(&mut self) -> Result<Option<ChatChunk>, ClientError> {
        match self.events.finish().map_or(Ok(None), |event| self.seen.read_event(&event)) {
            Ok(Some(chunk)) => Ok(Some(chunk)),
            Ok(None) => {
                self.seen.check_complete()?;
                Ok(None)
            }
            // Half an event is an event that was cut.
            Err(ClientError::Stream(StreamFault::Malformed)) => Err(StreamFault::Truncated.into()),
            Err(error) => Err(error),
        }
    }

    /// After `[DONE]` nothing that comes is of interest, but that nothing more comes is.
    fn poll_linger(
        mut body: Pin<&mut B>,
        clock: &mut Option<Pin<Box<Sleep>>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        while !body.is_end_stream() {
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => {}
                Poll::Ready(_) => break,
                Poll::Pending => {
                    return clock
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)))
                        .as_mut()
                        .poll(cx);
                }
            }
        }
        Poll::Ready(())
    }
}

fn too_large(limit: usize) -> ClientError {
    StreamFault::EventTooLarge { limit }.into()
}

// === impl Seen ===

impl Seen {
    fn read_event(&mut self, event: &Event<'_>) -> Result<Option<ChatChunk>, ClientError> {
        let Some(data) = event.data else { return Ok(None) };
        if event.name == b"error" {
            let error = serde_json::from_slice(data).ok().and_then(ApiError::from_value);
            return Err(StreamFault::Reported(Box::new(error.unwrap_or_default())).into());
        }
        if data.is_empty() {
            return Ok(None);
        }
        if data.starts_with(b"[DONE]") {
            self.check_complete()?;
            self.done = true;
            return Ok(None);
        }
        let chunk = serde_json::from_slice::<ChatChunk>(data).ok();
        let is_error = |chunk: &ChatChunk| chunk.extra.get("error").is_some_and(|error| !error.is_null());
        let Some(chunk) = chunk.filter(|chunk| !is_error(chunk)) else {
            let reported = error_inside(data).map(|error| StreamFault::Reported(Box::new(error)));
            return Err(reported.unwrap_or(StreamFault::Malformed).into());
        };
        for choice in &chunk.choices {
            if self.choices.len() < MAX_CHOICES || self.choices.contains_key(&choice.index) {
                *self.choices.entry(choice.index).or_default() |= choice.finish_reason.is_some();
            }
        }
        Ok(Some(chunk))
    }

    /// Complete is what has a finish reason for every choice that was begun, and one at least.
    fn check_complete(&self) -> Result<(), StreamFault> {
        let complete = !self.choices.is_empty() && self.choices.values().all(|finished| *finished);
        if complete { Ok(()) } else { Err(StreamFault::Truncated) }
    }
}
