//! [`ResponseBody`]: an answer's body, and how an error inside a stream reaches the client.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use towergate_core::{BoxError, Outcome, context::RequestRecord, headers, protocol::RenderError};

use super::keep_alive::KeepAlive;
use crate::report;

/// The time in which hyper is sure to flush what it was given: it does so whenever a body has
/// nothing more to give at once.
const LEAST_GRACE: Duration = Duration::from_millis(1);

pin_project! {
    /// The inner body, or one of our own making. See the [module](super).
    pub struct ResponseBody<B> {
        #[pin]
        state: State<B>,
        stream: Option<Box<Stream>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<B> {
        Passing { #[pin] inner: B },
        Own { bytes: Bytes },
        // The client was told; the transport breaks once it had time to read that.
        Telling { error: Option<BoxError>, grace: Option<Pin<Box<Sleep>>> },
    }
}

/// What an event stream needs to end with an event of its own.
pub(super) struct Stream {
    pub(super) renderer: Arc<dyn RenderError>,
    pub(super) record: Arc<RequestRecord>,
    pub(super) grace: Duration,
    pub(super) tail: Tail,
    pub(super) keep_alive: Option<KeepAlive>,
}

/// The last bytes handed on.
#[derive(Default)]
pub(super) struct Tail {
    bytes: [u8; 4],
    length: usize,
}

// === impl ResponseBody ===

impl<B> ResponseBody<B> {
    pub(super) fn passing(inner: B, stream: Option<Stream>) -> Self {
        Self { state: State::Passing { inner }, stream: stream.map(Box::new) }
    }

    pub(super) fn own(bytes: Bytes) -> Self {
        Self { state: State::Own { bytes }, stream: None }
    }
}

impl<B> Default for ResponseBody<B> {
    /// An empty one.
    fn default() -> Self {
        Self::own(Bytes::new())
    }
}

impl<B> std::fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Own { bytes } => {
                    let bytes = std::mem::take(bytes);
                    return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
                }
                StateProj::Passing { inner } => {
                    let Poll::Ready(frame) = inner.poll_frame(cx) else {
                        let comment = this.stream.as_mut().map(|stream| stream.poll_silence(cx));
                        return comment
                            .unwrap_or(Poll::Pending)
                            .map(|comment| Some(Ok(Frame::data(comment))));
                    };
                    let frame = frame.map(|frame| frame.map_err(Into::into));
                    let Some(stream) = this.stream else { return Poll::Ready(frame) };
                    let error = match frame {
                        Some(Err(error)) => error,
                        frame => {
                            if let Some(Ok(frame)) = &frame {
                                stream.passed(frame.data_ref().map_or(&[], |data| data));
                            }
                            return Poll::Ready(frame);
                        }
                    };
                    let event = stream.tell(&error);
                    // This also lets go of the upstream, before the grace.
                    this.state.set(State::Telling { error: Some(error), grace: None });
                    if let Some(event) = event {
                        return Poll::Ready(Some(Ok(Frame::data(event))));
                    }
                }
                StateProj::Telling { error: None, .. } => return Poll::Ready(None),
                StateProj::Telling { error, grace } => {
                    let length = this.stream.as_ref().map_or(LEAST_GRACE, |stream| stream.grace);
                    let grace =
                        grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(length.max(LEAST_GRACE))));
                    ready!(grace.as_mut().poll(cx));
                    return Poll::Ready(error.take().map(Err));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Passing { inner } => inner.is_end_stream(),
            State::Own { bytes } => bytes.is_empty(),
            State::Telling { error, .. } => error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Passing { inner } if self.stream.is_none() => inner.size_hint(),
            State::Passing { inner } if inner.is_end_stream() => SizeHint::with_exact(0),
            State::Own { bytes } => SizeHint::with_exact(bytes.len() as u64),
            // An event may follow what the upstream announced.
            State::Passing { .. } | State::Telling { .. } => SizeHint::default(),
        }
    }
}

// === impl Stream ===

impl Stream {
    fn passed(&mut self, data: &[u8]) {
        self.tail.push(data);
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.reset();
        }
    }

    /// The upstream has nothing to give: a comment, where one is due and would be read as one.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let Some(keep_alive) = self.keep_alive.as_mut().filter(|_| self.tail.is_between_events()) else {
            return Poll::Pending;
        };
        let comment = ready!(keep_alive.poll(cx));
        self.tail.push(&comment);
        Poll::Ready(comment)
    }

    /// The event that tells the client of an error, where there is still something to tell and a
    /// place to tell it.
    fn tell(&self, error: &BoxError) -> Option<Bytes> {
        self.record.settle(Outcome::of_body_error(error));
        let made;
        let error = match report::body_error(error) {
            Ok(error) => error,
            Err(error) => {
                made = error;
                &made
            }
        };
        super::answer::log(error);
        if error.is_signalled() || !self.tail.is_between_events() {
            return None;
        }
        Some(self.renderer.event(self.record.route(), error)).filter(|event| !event.is_empty())
    }
}

/// Whether a body is one that can end with an event: server-sent events, and not compressed.
pub(super) fn is_event_stream(fields: &HeaderMap) -> bool {
    headers::is_event_stream(headers::media_type(fields)) && !headers::is_encoded(fields)
}

// === impl Tail ===

impl Tail {
    fn push(&mut self, data: &[u8]) {
        let kept = &data[data.len().saturating_sub(self.bytes.len())..];
        let old = self.length.min(self.bytes.len() - kept.len());
        self.bytes.copy_within(self.length - old..self.length, 0);
        self.bytes[old..old + kept.len()].copy_from_slice(kept);
        self.length = old + kept.len();
    }

    /// Whether an event put in here is read as one: nothing was sent yet, or the last of it is a
    /// blank line. The line ends are those of the WHATWG's `text/event-stream`.
    fn is_between_events(&self) -> bool {
        let sent = &self.bytes[..self.length];
        sent.is_empty() || without_line_end(sent).and_then(without_line_end).is_some()
    }
}

fn without_line_end(text: &[u8]) -> Option<&[u8]> {
    text.strip_suffix(b"\r\n").or_else(|| text.strip_suffix(b"\n")).or_else(|| text.strip_suffix(b"\r"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tail(parts: &[&[u8]]) -> Tail {
        let mut tail = Tail::default();
        parts.iter().for_each(|part| tail.push(part));
        tail
    }

    #[test]
    fn an_event_ends_with_a_blank_line() {
        let between: [&[&[u8]]; 8] = [
            &[],
            &[b""],
            &[b"data: x\n\n"],
            &[b"data: x\n", b"\n"],
            &[b"data: x\r\n\r\n"],
            &[b"data: x\r", b"\n", b"\r", b"\n"],
            &[b"data: x\r\r"],
            &[b"a", b": keep-alive\n\n"],
        ];
        for parts in between {
            assert!(tail(parts).is_between_events(), "{parts:?}");
        }
        let inside: [&[&[u8]]; 5] =
            [&[b"d"], &[b"data: x\n"], &[b"data: x\r\n"], &[b"data: x\n\nd"], &[b"\n\n", b"data: {"]];
        for parts in inside {
            assert!(!tail(parts).is_between_events(), "{parts:?}");
        }
    }

    proptest! {
        #[test]
        fn framing_makes_no_difference(text in "[a\r\n]{0,12}", cuts in prop::collection::vec(0usize..12, 0..4)) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let whole = tail(&[text.as_bytes()]);
            let cut = tail(&parts);
            prop_assert_eq!(&whole.bytes[..whole.length], &cut.bytes[..cut.length]);
            prop_assert_eq!(whole.is_between_events(), cut.is_between_events());
        }
    }
}
