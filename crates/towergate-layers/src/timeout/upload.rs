//! The request body, watched: how long the client pauses, and how long the upstream has had all of
//! what there is.

use std::{
    any::Any,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use towergate_core::{Body, BoxError, Clock, Error};

use crate::alarm::{Alarm, later};

/// Whether nothing of a body is still to come over the network.
pub(super) fn is_whole<B: http_body::Body + 'static>(body: &B) -> bool {
    let collected =
        (body as &dyn Any).downcast_ref::<Body>().is_some_and(|body: &Body| body.as_bytes().is_some());
    collected || body.is_end_stream()
}

pin_project! {
    /// A request body whose gaps are bounded.
    pub(super) struct GapBody<B> {
        #[pin]
        inner: B,
        gap: Duration,
        alarm: Alarm,
        waiting_since: Option<Instant>,
        done: bool,
    }
}

/// What a [`SentBody`] tells the head clock of its attempt.
#[derive(Debug)]
pub(super) struct Upload {
    started: Instant,
    /// Nanoseconds from `started` to when the upstream last got something, or [`WAITING`].
    last: AtomicU64,
}

/// It is the client that is waited for.
const WAITING: u64 = u64::MAX;

pin_project! {
    /// A request body that tells the head clock of its attempt how far it is: the upstream can't
    /// answer what has not been sent.
    pub(super) struct SentBody<B> {
        #[pin]
        inner: B,
        mark: Mark,
    }
}

/// Sets the upload down as over when it is dropped: from then on it is the upstream that is waited
/// for, whatever became of the rest.
struct Mark(Arc<Upload>);

// === impl GapBody ===

impl<B> GapBody<B> {
    pub(super) fn new(inner: B, gap: Duration) -> Self {
        Self { inner, gap, alarm: Alarm::default(), waiting_since: None, done: false }
    }
}

impl<B> http_body::Body for GapBody<B>
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
        if let Poll::Ready(frame) = this.inner.poll_frame(cx) {
            *this.waiting_since = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let now = Instant::now();
        let since = *this.waiting_since.get_or_insert(now);
        ready!(this.alarm.poll_due(cx, now, later(since, *this.gap)));
        *this.done = true;
        Poll::Ready(Some(Err(Error::timeout(Clock::RequestBody, *this.gap).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

// === impl Upload ===

impl Upload {
    pub(super) fn new(started: Instant) -> Arc<Self> {
        Arc::new(Self { started, last: AtomicU64::new(0) })
    }

    /// Since when it is the upstream that is waited for.
    pub(super) fn upstream_since(&self, now: Instant) -> Instant {
        match self.last.load(Relaxed) {
            WAITING => now,
            nanos => later(self.started, Duration::from_nanos(nanos)),
        }
    }

    fn moved(&self) {
        let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(WAITING - 1);
        self.last.store(nanos, Relaxed);
    }

    fn waits(&self) {
        self.last.store(WAITING, Relaxed);
    }
}

// === impl SentBody ===

impl<B> SentBody<B> {
    pub(super) fn new(inner: B, upload: Arc<Upload>) -> Self {
        Self { inner, mark: Mark(upload) }
    }
}

impl<B> http_body::Body for SentBody<B>
where
    B: http_body::Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = this.inner.poll_frame(cx);
        match frame {
            Poll::Ready(_) => this.mark.0.moved(),
            Poll::Pending => this.mark.0.waits(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

// === impl Mark ===

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.moved();
    }
}
