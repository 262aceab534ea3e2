//! [`ResponseBody`]: a response's body, in which nobody reads what was sent.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use towergate_core::redact::{Redaction, Redactor};

pin_project! {
    /// The inner body: without the fields of its trailers that quote a secret and, where the response is not a success, with
    /// the secrets masked. See the [module](super).
    pub struct ResponseBody<B> {
        // Gone once it has ended, or where it is withheld.
        #[pin]
        inner: Option<B>,
        redaction: Redaction,
        redactor: Option<Redactor>,
        // They wait for what was held back before them.
        trailers: Option<HeaderMap>,
    }
}

// === impl ResponseBody ===

impl<B> ResponseBody<B> {
    /// `redactor` masks its data, where there is one.
    pub(super) fn new(inner: B, redaction: Redaction, redactor: Option<Redactor>) -> Self {
        Self { inner: Some(inner), redaction, redactor, trailers: None }
    }

    /// No body at all.
    pub(super) fn withheld() -> Self {
        Self { inner: None, redaction: Redaction::default(), redactor: None, trailers: None }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        loop {
            if let Some(trailers) = this.trailers.take() {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            let Some(mut inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            let frame = match ready!(inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    this.inner.set(None);
                    let rest = rest_of(this.redactor);
                    return Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest))));
                }
            };
            let data = match frame.into_data() {
                Ok(data) => match this.redactor {
                    Some(redactor) if inner.is_end_stream() => redactor.last(data),
                    Some(redactor) => redactor.next(data),
                    None => return Poll::Ready(Some(Ok(Frame::data(data)))),
                },
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    this.redaction.strip(&mut trailers);
                    *this.trailers = Some(trailers);
                    rest_of(this.redactor)
                }
            };
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.trailers.is_none() && self.held() == 0 && self.inner.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), B::size_hint);
        let held = self.held() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(held)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B> ResponseBody<B> {
    fn held(&self) -> usize {
        self.redactor.as_ref().map_or(0, Redactor::held)
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("redactor", &self.redactor).finish_non_exhaustive()
    }
}

/// What was held back and is not a secret after all.
fn rest_of(redactor: &mut Option<Redactor>) -> Bytes {
    redactor.as_mut().map_or_else(Bytes::new, |redactor| redactor.last(Bytes::new()))
}
