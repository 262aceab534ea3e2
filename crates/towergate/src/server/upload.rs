//! [`Upload`]: a request's body over HTTP/2, which ends only where its client ended it.
//!
//! A stream that its client resets with `NO_ERROR` (Node's `stream.close()` does) is a body that is over, to hyper: half an
//! upload would go on as a whole one. Any other reset is an error of h2's own, which no layer knows: a client that
//! went away would count as one that sent nonsense.

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use towergate_core::{Body, BoxError};

struct Upload {
    inner: Incoming,
    failed: bool,
}

/// The request as the service gets it.
pub(super) fn received(request: Request<Incoming>) -> Request<Body> {
    let multiplexed = request.version() >= Version::HTTP_2;
    request
        .map(|inner| if multiplexed { Body::new(Upload { inner, failed: false }) } else { Body::new(inner) })
}

// === impl Upload ===

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let error = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
            // Over by the client's word (`END_STREAM`).
            None if self.inner.is_end_stream() => return Poll::Ready(None),
            None => reset("the client gave its upload up"),
            Some(Err(error)) if is_gone(&error) => reset(error),
            Some(Err(error)) => error.into(),
        };
        self.failed = true;
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An error that every layer knows for what it is.
fn reset(cause: impl Into<BoxError>) -> BoxError {
    io::Error::new(io::ErrorKind::ConnectionReset, cause).into()
}

/// Whether the client has reset its stream, or its connection is gone; not, what h2 found wrong with it.
fn is_gone(error: &hyper::Error) -> bool {
    let h2 = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    h2.is_some_and(|error| error.is_remote() || error.is_io())
}
