//! What is held of a body, and the body that begins with it.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use towergate_core::{Body, BoxError, memory::Reservation};

/// What a held chunk costs beside its bytes: a million chunks of one byte are not a megabyte.
const CHUNK_COST: usize = size_of::<Bytes>();

/// Frames held back, and the memory they are charged for.
pub(super) struct Held {
    /// Most answers are one chunk: no queue is made for it.
    front: Option<Bytes>,
    more: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    bytes: u64,
    reservation: Reservation,
}

/// A body that begins with what was held.
#[derive(Debug)]
pub(super) struct HeldBody<B> {
    held: Option<Held>,
    /// Gone once it has ended.
    rest: Option<B>,
}

// === impl Held ===

impl Held {
    pub(super) fn new(reservation: Reservation) -> Self {
        Self { front: None, more: VecDeque::new(), trailers: None, bytes: 0, reservation }
    }

    /// Bytes of data held, and not yet handed on.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the budget was charged.
    pub(super) fn cost(&self) -> usize {
        self.reservation.bytes()
    }

    /// Takes a frame in; `false` where the budget has no room for it. It is held all the same: it is
    /// in memory already.
    pub(super) fn push(&mut self, frame: Frame<Bytes>) -> bool {
        match frame.into_data() {
            Ok(data) if data.is_empty() => true,
            Ok(data) => {
                self.bytes += data.len() as u64;
                let paid = self.reservation.grow(data.len().saturating_add(CHUNK_COST)).is_ok();
                if self.front.is_none() && self.more.is_empty() {
                    self.front = Some(data);
                } else {
                    self.more.push_back(data);
                }
                paid
            }
            Err(frame) => {
                self.trailers = frame.into_trailers().ok();
                true
            }
        }
    }

    /// All of it in one piece; copies only where it came in several.
    pub(super) fn contiguous(&mut self) -> Option<&Bytes> {
        if !self.more.is_empty() {
            let mut whole = BytesMut::with_capacity(usize::try_from(self.bytes).unwrap_or_default());
            for chunk in self.front.take().into_iter().chain(self.more.drain(..)) {
                whole.extend_from_slice(&chunk);
            }
            self.front = Some(whole.freeze());
        }
        self.front.as_ref()
    }

    fn pop(&mut self) -> Option<Bytes> {
        let chunk = self.front.take().or_else(|| self.more.pop_front())?;
        self.bytes -= chunk.len() as u64;
        Some(chunk)
    }

    fn is_empty(&self) -> bool {
        self.front.is_none() && self.more.is_empty() && self.trailers.is_none()
    }

    /// What was held is all there is: collected, where it is one piece.
    pub(super) fn into_whole(mut self) -> Body {
        if !self.more.is_empty() || self.trailers.is_some() {
            return Body::new(HeldBody::<Body> { held: Some(self), rest: None });
        }
        match self.front.take() {
            Some(bytes) => self.reservation.hold(bytes).into(),
            None => Body::empty(),
        }
    }

    /// What was held, and then the rest.
    pub(super) fn into_stream<B>(self, rest: B) -> Body
    where
        B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if self.is_empty() {
            return Body::new(rest);
        }
        Body::new(HeldBody { held: Some(self), rest: Some(rest) })
    }
}

impl fmt::Debug for Held {
    /// The length; never the content, which is somebody's answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({} bytes)", self.bytes)
    }
}

// === impl HeldBody ===

impl<B> http_body::Body for HeldBody<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(held) = &mut self.held {
            let frame = match held.pop() {
                Some(chunk) => Some(Frame::data(chunk)),
                None => held.trailers.take().map(Frame::trailers),
            };
            if held.is_empty() {
                self.held = None;
            }
            if let Some(frame) = frame {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(rest).poll_frame(cx));
        if frame.is_none() {
            self.rest = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.rest.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.as_ref().map_or(0, Held::bytes);
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(held)) {
            hint.set_upper(upper);
        }
        hint
    }
}
