//! The answer's body, watched.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use towergate_core::{BoxError, Clock, Error, Facts, Phase, StreamState, stream::AnswerKind};

use super::{attempt::Limits, total::restate};
use crate::alarm::{Alarm, later};

/// How much of one long event is as good as an event. A byte a second does not come to it within
/// any idle clock worth setting.
const MID_EVENT_PROGRESS: usize = 1024;

pin_project! {
    /// The body of an answer that passed through [`AttemptTimeout`](super::AttemptTimeout): it ends
    /// with an error where its first event, or any later one, is too long in coming.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: B,
        // None for a tunnel.
        watch: Option<Watch>,
        alarm: Alarm,
        done: bool,
    }
}

/// Which clock of a body runs, and since when.
#[derive(Debug)]
pub(super) struct Watch {
    limits: Limits,
    /// What the leaf read, where the answer is a stream of events.
    events: Option<Arc<StreamState>>,
    /// The clock until the first progress; without a length it is the total's.
    first: (Clock, Option<Duration>),
    begun: bool,
    data_events: u64,
    /// Bytes since the last progress, while inside an event.
    bytes: usize,
    /// Since when inner is pending.
    waiting_since: Option<Instant>,
    /// How long it was pending before, since the last progress.
    waited: Duration,
}

pin_project! {
    /// A body that must be over by an instant. Nothing else bounds it.
    pub(super) struct DeadlineBody<B> {
        #[pin]
        inner: B,
        deadline: Instant,
        total: Duration,
        alarm: Alarm,
        overdue: bool,
        done: bool,
    }
}

// === impl ResponseBody ===

impl<B> ResponseBody<B> {
    pub(super) fn new(inner: B, watch: Option<Watch>, alarm: Alarm) -> Self {
        Self { inner, watch, alarm, done: false }
    }
}

impl<B> http_body::Body for ResponseBody<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if *this.done {
            return Poll::Ready(None);
        }
        let frame = this.inner.poll_frame(cx);
        let Some(watch) = this.watch else {
            return frame.map(|frame| frame.map(|frame| frame.map_err(Into::into)));
        };
        if let Poll::Ready(frame) = frame {
            if let Some(Ok(frame)) = &frame {
                watch.on_frame(frame);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let now = Instant::now();
        let (due, clock, after) = watch.due(now);
        ready!(this.alarm.poll_due(cx, now, due));
        *this.done = true;
        let error = watch.limits.error(clock, after).with_phase(Phase::Body);
        Poll::Ready(Some(Err(error.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

// === impl Watch ===

impl Watch {
    pub(super) fn new(limits: Limits, facts: Option<&Facts>, state: Option<Arc<StreamState>>) -> Self {
        let events = state.filter(|state| state.kind() == AnswerKind::Events);
        let first = match events {
            Some(_) => (Clock::FirstEvent, limits.timeouts.first_event(facts)),
            None => (Clock::Idle, limits.timeouts.first_piece(facts)),
        };
        Self {
            limits,
            events,
            first,
            begun: false,
            data_events: 0,
            bytes: 0,
            waiting_since: None,
            waited: Duration::ZERO,
        }
    }

    fn on_frame(&mut self, frame: &Frame<Bytes>) {
        let since = self.waiting_since.take();
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let Some(events) = &self.events else {
            if bytes > 0 || frame.is_trailers() {
                self.begun = true;
                self.waited = Duration::ZERO;
            } else {
                self.count(since);
            }
            return;
        };
        let data_events = events.data_events();
        self.bytes = if events.is_mid_event() { self.bytes.saturating_add(bytes) } else { 0 };
        if data_events > self.data_events || self.bytes >= MID_EVENT_PROGRESS {
            self.begun |= data_events > 0;
            self.data_events = data_events;
            self.bytes = 0;
            self.waited = Duration::ZERO;
        } else {
            self.count(since);
        }
    }

    /// What came was no progress: the wait for it is not forgotten.
    fn count(&mut self, since: Option<Instant>) {
        if let Some(since) = since {
            self.waited = self.waited.saturating_add(since.elapsed());
        }
    }

    /// When which clock goes off, if nothing comes.
    fn due(&mut self, now: Instant) -> (Instant, Clock, Duration) {
        let since = *self.waiting_since.get_or_insert(now);
        let (clock, limit) =
            if self.begun { (Clock::Idle, Some(self.limits.timeouts.idle())) } else { self.first };
        let waited = self.waited;
        self.limits.earlier(limit.map(|limit| (later(since, limit.saturating_sub(waited)), clock, limit)))
    }
}

// === impl DeadlineBody ===

impl<B> DeadlineBody<B> {
    pub(super) fn new(inner: B, deadline: Instant, total: Duration, alarm: Alarm) -> Self {
        Self { inner, deadline, total, alarm, overdue: false, done: false }
    }
}

impl<B> http_body::Body for DeadlineBody<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if *this.done {
            return Poll::Ready(None);
        }
        match this.inner.poll_frame(cx) {
            // A body that always has something never waits, so no timer ever cuts it. What is ready
            // when the deadline comes still passes; what comes after that does not.
            Poll::Ready(Some(Ok(frame))) if !frame.is_data() || !*this.overdue => {
                *this.overdue = Instant::now() >= *this.deadline;
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(error))) => {
                *this.done = true;
                return Poll::Ready(Some(Err(restate(error.into(), *this.total))));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => ready!(this.alarm.poll_due(cx, Instant::now(), *this.deadline)),
        }
        *this.done = true;
        let error = Error::timeout(Clock::Total, *this.total).with_phase(Phase::Body);
        Poll::Ready(Some(Err(error.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
