//! [`Body`]: the one body type of the gateway, and its wrappers.
//!
//! A body is boxed once, where it enters the stack. What has been collected (`Full`) and what is
//! kept for a second attempt (`Replay`) stay unboxed, so that a retry can clone them.

mod observe;
mod replay;

#[cfg(test)]
mod tests;

use std::{
    any::Any,
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};

use self::replay::Replay;
pub use self::{
    observe::{End, Guard, Observe, Observed},
    replay::ReplayLost,
};
use crate::{BoxError, memory::Reservation};

/// A request or response body.
///
/// `Send`, `Unpin` and cheap to move; not `Sync`, as hyper asks for none. Frames, trailers and the
/// size hint of whatever is inside pass unchanged.
pub struct Body(Kind);

enum Kind {
    Empty,
    Full(Bytes),
    Replay(Replay),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

// === impl Body ===

impl Body {
    /// A body of no bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Wraps any body; one that is a `Body` already is not boxed a second time. A `Full<Bytes>` is in memory, as a
    /// body made of its bytes.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        if let Some(already) = (&mut body as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return already.take().unwrap_or_else(Self::empty);
        }
        if let Some(full) = (&mut body as &mut dyn Any).downcast_mut::<Option<Full<Bytes>>>() {
            return full.take().map_or_else(Self::empty, collected);
        }
        match body {
            Some(body) => Self(Kind::Stream(body.map_err(Into::into).boxed_unsync())),
            None => Self::empty(),
        }
    }

    /// The bytes, where the whole body is in memory: it was collected, or it is empty.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Empty => Some(&[]),
            Kind::Full(bytes) => Some(bytes),
            Kind::Replay(_) | Kind::Stream(_) => None,
        }
    }

    /// Makes a body that can be sent more than once.
    ///
    /// A collected body already is. A stream is kept as it is read, up to `cap` bytes, and charged to
    /// the `reservation`, where there is one, as they come; a stream that is known to be longer is left alone, and
    /// one that turns out to be longer, comes in so many pieces that these would take more than the bytes, or finds
    /// no memory left, is forgotten and goes on as a plain stream. Nothing is read ahead of the consumer.
    #[must_use]
    pub fn into_replayable(self, cap: usize, reservation: Option<Reservation>) -> Self {
        match self.0 {
            Kind::Stream(stream) => {
                Self(Replay::wrap(stream, cap, reservation).map_or_else(Kind::Stream, Kind::Replay))
            }
            other => Self(other),
        }
    }

    /// Another body with the same bytes, where this can be sent more than once.
    ///
    /// Of the copies of one replayable stream only the one polled last goes on: an earlier attempt
    /// that is still being uploaded ends with [`ReplayLost`].
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        match &self.0 {
            Kind::Empty => Some(Self::empty()),
            Kind::Full(bytes) => Some(Self(Kind::Full(bytes.clone()))),
            Kind::Replay(replay) => Some(Self(Kind::Replay(replay.copy()))),
            Kind::Stream(_) => None,
        }
    }

    /// Whether a copy made by [`try_clone`](Self::try_clone) still has all the bytes: its stream
    /// neither failed nor grew past the cap in the meantime.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        match &self.0 {
            Kind::Empty | Kind::Full(_) => true,
            Kind::Replay(replay) => replay.is_complete(),
            Kind::Stream(_) => false,
        }
    }

    /// Whether nothing of it is still to come from elsewhere: it was collected, or its stream was
    /// read to the end by some copy, and all of it was kept.
    #[must_use]
    pub fn is_buffered(&self) -> bool {
        match &self.0 {
            Kind::Empty | Kind::Full(_) => true,
            Kind::Replay(replay) => replay.is_buffered(),
            Kind::Stream(_) => false,
        }
    }
}

/// The bytes of a `Full`, which gives them out by being polled only, and at once.
fn collected(mut full: Full<Bytes>) -> Body {
    match Pin::new(&mut full).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().map_or_else(|_| Body::empty(), Body::from),
        Poll::Ready(Some(Err(never))) => match never {},
        Poll::Ready(None) | Poll::Pending => Body::empty(),
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    /// The kind and the length; never the content, which may be a prompt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Empty => f.write_str("Body(empty)"),
            Kind::Full(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Kind::Replay(_) => f.write_str("Body(replayable stream)"),
            Kind::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::empty() } else { Self(Kind::Full(bytes)) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Replay(replay) => replay.poll_frame(cx),
            Kind::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Replay(replay) => replay.is_end_stream(),
            Kind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Replay(replay) => replay.size_hint(),
            Kind::Stream(stream) => stream.size_hint(),
        }
    }
}
