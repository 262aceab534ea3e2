//! Looks into the beginning of a form, and lets it stream on from there.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use towergate_core::{Body, BoxError, Error, Facts, memory::Reservation, protocol::ReadForm};

use super::{IntakeLayer, Limits};

/// What a piece that was read ahead costs beside its bytes.
const PIECE_COST: usize = size_of::<Frame<Bytes>>();

/// A form whose beginning is being read. As a body it is the whole of it again, read along to its end:
/// a second value for what was found in the beginning fails it.
pub(super) struct Peek {
    /// What was read ahead.
    ahead: VecDeque<Frame<Bytes>>,
    length: usize,
    /// How many bytes came, and how many there are to be where that is known: whoever sends them on does not ask for more.
    received: u64,
    declared: Option<u64>,
    reservation: Option<Reservation>,
    rest: Body,
    form: Option<Box<dyn ReadForm>>,
    failed: bool,
}

// === impl Peek ===

impl Peek {
    pub(super) fn new(
        rest: Body,
        form: Box<dyn ReadForm>,
        declared: Option<u64>,
        reservation: Reservation,
    ) -> Self {
        Self {
            ahead: VecDeque::new(),
            length: 0,
            received: 0,
            declared,
            reservation: Some(reservation),
            rest,
            form: Some(form),
            failed: false,
        }
    }

    /// Ready once it is known what there is to be known, or enough was read.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, limits: &Limits) -> Poll<Result<(), BoxError>> {
        while self.facts().is_none() && self.length < IntakeLayer::<()>::PEEKED {
            let frame = match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
                None => {
                    self.finish()?;
                    break;
                }
                Some(Err(error)) => return Poll::Ready(Err(limits.read_error(error))),
                Some(Ok(frame)) => frame,
            };
            if let Err(error) = self.read(&frame) {
                return Poll::Ready(Err(error));
            }
            let length = frame.data_ref().map_or(0, Bytes::len);
            if length == 0 && frame.is_data() {
                continue;
            }
            let cost = length.saturating_add(PIECE_COST);
            if let Some(reservation) = &mut self.reservation {
                reservation.grow(cost).map_err(Error::from)?;
            }
            self.length += length;
            self.ahead.push_back(frame);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn facts(&self) -> Option<Facts> {
        self.form.as_ref().and_then(|form| form.facts())
    }

    /// The whole form. Where nothing was found there is nothing to be found twice: it is read along only where it is the
    /// form of a client that does not reach everything.
    pub(super) fn into_body(mut self, is_restricted: bool) -> Body {
        if !is_restricted && self.facts().is_none_or(|facts| facts.model.is_none()) {
            self.form = None;
        }
        Body::new(self)
    }

    fn read(&mut self, frame: &Frame<Bytes>) -> Result<(), BoxError> {
        if let (Some(form), Some(data)) = (&mut self.form, frame.data_ref()) {
            form.read(data)?;
            self.received += data.len() as u64;
        }
        if self.rest.is_end_stream() || self.declared == Some(self.received) {
            self.finish()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        match &mut self.form {
            Some(form) => Ok(form.finish()?),
            None => Ok(()),
        }
    }
}

impl http_body::Body for Peek {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        if let Some(frame) = self.ahead.pop_front() {
            self.length -= frame.data_ref().map_or(0, Bytes::len);
            return Poll::Ready(Some(Ok(frame)));
        }
        self.reservation = None;
        let read = match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
            None => self.finish().err().map(Err),
            Some(frame) => Some(frame.and_then(|frame| self.read(&frame).map(|()| frame))),
        };
        self.failed = matches!(read, Some(Err(_)));
        Poll::Ready(read)
    }

    fn is_end_stream(&self) -> bool {
        self.failed || (self.ahead.is_empty() && self.rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.size_hint();
        let ahead = self.length as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(ahead));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(ahead)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl fmt::Debug for Peek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peek").field("length", &self.length).finish_non_exhaustive()
    }
}
