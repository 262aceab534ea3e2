//! A body that tells an observer what flowed and, exactly once, how it ended.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::BoxError;

/// How a response ended.
#[derive(Debug)]
pub enum End<'a> {
    /// The whole body was handed on, trailers included.
    Complete,
    /// The body failed; the transport breaks.
    Error(&'a BoxError),
    /// Whoever was reading went away: the future or the body was dropped unfinished.
    Dropped,
}

/// Watches one response, from the call to the end of its body.
pub trait Observe {
    /// A frame of data is being handed on. Never called with an empty one.
    fn on_data(&mut self, _data: &Bytes) {}

    /// The response is over. Called exactly once; must not panic or block.
    fn on_end(self, end: End<'_>);
}

/// Holds an observer and fires it exactly once: when told how things ended, or when dropped.
///
/// A layer's future holds it until the head arrives, then hands it to [`Observed`]. So a request
/// that is dropped before its head is seen as surely as one dropped in its body.
#[derive(Debug)]
pub struct Guard<O: Observe>(Option<O>);

pin_project! {
    /// A body with an observer.
    ///
    /// The end is seen at `None`, at an error, at trailers, and after a frame behind which the
    /// inner body says that nothing follows (hyper does not poll again then). A body that is
    /// already over when it is wrapped completes at once.
    #[derive(Debug)]
    pub struct Observed<B, O: Observe> {
        #[pin]
        inner: B,
        guard: Guard<O>,
    }
}

// === impl Guard ===

impl<O: Observe> Guard<O> {
    /// Arms the guard.
    pub fn new(observer: O) -> Self {
        Self(Some(observer))
    }

    /// Fires the observer, unless it has fired already.
    pub fn finish(&mut self, end: End<'_>) {
        if let Some(observer) = self.0.take() {
            observer.on_end(end);
        }
    }

    /// The observer, while it has not fired.
    pub fn observer_mut(&mut self) -> Option<&mut O> {
        self.0.as_mut()
    }
}

impl<O: Observe> Drop for Guard<O> {
    fn drop(&mut self) {
        self.finish(End::Dropped);
    }
}

// === impl Observed ===

impl<B: Body, O: Observe> Observed<B, O> {
    /// Hands the guard on from the future to the body.
    pub fn new(inner: B, mut guard: Guard<O>) -> Self {
        if inner.is_end_stream() {
            guard.finish(End::Complete);
        }
        Self { inner, guard }
    }

    /// A body that nobody watches, of the same type.
    pub fn disarmed(inner: B) -> Self {
        Self { inner, guard: Guard(None) }
    }
}

impl<B, O> Body for Observed<B, O>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    O: Observe,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let frame = match ready!(this.inner.as_mut().poll_frame(cx)) {
            None => {
                this.guard.finish(End::Complete);
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                let error = error.into();
                this.guard.finish(End::Error(&error));
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => frame,
        };
        if let (Some(data), Some(observer)) = (frame.data_ref(), this.guard.observer_mut())
            && !data.is_empty()
        {
            observer.on_data(data);
        }
        if frame.is_trailers() || this.inner.is_end_stream() {
            this.guard.finish(End::Complete);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
