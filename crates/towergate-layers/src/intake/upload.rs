//! A body that streams through: counted against its limit, and without credentials in its trailers.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use towergate_core::{BoxError, Error, headers};

pin_project! {
    /// Fails with the error it holds when more comes than may.
    pub(super) struct Upload<B> {
        #[pin]
        inner: B,
        left: u64,
        too_large: Option<Error>,
    }
}

// === impl Upload ===

impl<B> Upload<B> {
    pub(super) fn new(inner: B, limit: u64, too_large: Error) -> Self {
        Self { inner, left: limit, too_large: Some(too_large) }
    }
}

impl<B> Body for Upload<B>
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
        let this = self.project();
        if this.too_large.is_none() {
            return Poll::Ready(None);
        }
        let Some(frame) = ready!(this.inner.poll_frame(cx)) else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        let frame = match frame.into_trailers() {
            Ok(mut trailers) => {
                headers::strip_request_trailers(&mut trailers);
                return Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))));
            }
            Err(frame) => frame,
        };
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        match this.left.checked_sub(length) {
            Some(left) => *this.left = left,
            None => return Poll::Ready(this.too_large.take().map(|error| Err(error.into()))),
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.too_large.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
