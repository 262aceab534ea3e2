//! The bodies on both sides of hyper's client: what is uploaded, and what comes back.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use towergate_core::{Body, BoxError, Error, headers};

use super::error::{self, Upstream};

/// Why an upload failed, as its body said it.
///
/// hyper hands the error of a request body on over HTTP/1.1; over HTTP/2 it only resets the stream,
/// and the cause would be lost. So it is kept here, and asked for first when a request fails.
#[derive(Debug, Default)]
pub(super) struct UploadFailure(Mutex<Option<BoxError>>);

/// A request body that keeps its own error, and has no other trailers than those that may go upstream.
#[derive(Debug)]
pub(super) struct Upload {
    inner: Body,
    /// None: no trailers.
    trailers: Option<Arc<[HeaderName]>>,
    failure: Option<Arc<UploadFailure>>,
}

/// What hyper is told in place of the error that was kept.
#[derive(Debug, thiserror::Error)]
#[error("the request body failed")]
struct UploadFailed;

/// An answer's body, whose errors are ours, and whose trailers are such as may go on.
#[derive(Debug)]
pub(super) struct Answer {
    inner: Incoming,
    upstream: Arc<Upstream>,
    upload: Option<Arc<UploadFailure>>,
    /// It is a stream of HTTP/2, whose end is said (`END_STREAM`).
    multiplexed: bool,
    ended: bool,
}

// === impl UploadFailure ===

impl UploadFailure {
    pub(super) fn take(&self) -> Option<Error> {
        self.slot().take().map(error::of_upload)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<BoxError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Upload ===

impl Upload {
    /// A body that is in memory has no trailers and cannot fail: it needs no place to keep its error.
    pub(super) fn new(
        inner: Body,
        trailers: Option<&Arc<[HeaderName]>>,
    ) -> (Self, Option<Arc<UploadFailure>>) {
        let failure = inner.as_bytes().is_none().then(Arc::<UploadFailure>::default);
        let trailers = trailers.filter(|_| failure.is_some()).cloned();
        (Self { inner, trailers, failure: failure.clone() }, failure)
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(match (frame, &self.failure) {
            (Some(Err(error)), Some(failure)) => {
                *failure.slot() = Some(error);
                Some(Err(UploadFailed.into()))
            }
            (Some(Ok(frame)), _) => filtered(frame, |trailers| {
                let allowed = self.trailers.as_deref().unwrap_or_default();
                headers::retain_request_trailers(trailers, allowed);
            })
            .map(Ok),
            (frame, _) => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn new(
        inner: Incoming,
        version: Version,
        upstream: Arc<Upstream>,
        upload: Option<Arc<UploadFailure>>,
    ) -> Self {
        Self { inner, upstream, upload, multiplexed: version >= Version::HTTP_2, ended: false }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let frame = filtered(frame, headers::retain_response_trailers);
                self.ended = frame.is_none();
                frame.map(Ok)
            }
            Some(Err(error)) => {
                self.ended = true;
                let upload = self.upload.as_ref().and_then(|upload| upload.take());
                Some(Err(upload.unwrap_or_else(|| error::of_body(error, &self.upstream))))
            }
            // hyper takes a reset with `NO_ERROR` for the end, wherever it comes.
            None if self.multiplexed && !self.inner.is_end_stream() => {
                self.ended = true;
                Some(Err(error::of_reset(&self.upstream)))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A frame with the trailers that are left of it; nothing where none are: then that was the end.
fn filtered(frame: Frame<Bytes>, filter: impl FnOnce(&mut HeaderMap)) -> Option<Frame<Bytes>> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            filter(&mut trailers);
            (!trailers.is_empty()).then(|| Frame::trailers(trailers))
        }
        Err(frame) => Some(frame),
    }
}
