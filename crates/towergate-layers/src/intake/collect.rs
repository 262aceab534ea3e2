//! Collects a body once, under its own limit and under the one that all bodies share.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Body as _;
use towergate_core::{
    Body, BoxError, Error,
    memory::{Exhausted, Reservation},
};

use super::Limits;

/// Reads a body to its end.
#[derive(Debug)]
pub(super) struct Collect {
    body: Body,
    /// A body of one frame is not copied.
    first: Bytes,
    /// One of several is.
    joined: Vec<u8>,
    /// What the bytes take of the memory: drawn as they arrive, and given back when the last copy of them is gone, a
    /// retry's included.
    reservation: Reservation,
    /// How many bytes there will be, by the client's word. It bounds the room that is made for them, and makes none.
    declared: usize,
}

// === impl Collect ===

impl Collect {
    pub(super) fn new(body: Body, declared: Option<u64>, reservation: Reservation) -> Self {
        let declared = declared.and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
        Self { body, first: Bytes::new(), joined: Vec::new(), reservation, declared }
    }

    /// Ready once the body is read. Trailers are dropped: what reads them would have to wait for the
    /// body, and then has it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, limits: &Limits) -> Poll<Result<(), BoxError>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(limits.read_error(error))),
                Some(Ok(frame)) => frame,
            };
            if let Ok(data) = frame.into_data()
                && let Err(error) = self.add(data, limits)
            {
                return Poll::Ready(Err(error.into()));
            }
            if self.body.is_end_stream() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn add(&mut self, data: Bytes, limits: &Limits) -> Result<(), Error> {
        let before = self.first.len() + self.joined.len();
        let length = before.saturating_add(data.len());
        limits.check_body(length as u64, &self.reservation)?;
        if before == 0 {
            self.reservation.grow(length)?;
            self.first = data;
            return Ok(());
        }
        self.make_room(length)?;
        self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        self.joined.extend_from_slice(&data);
        Ok(())
    }

    /// Room for so many bytes in one piece: twice what there was, so that they are copied a few times at most, however many
    /// frames they come in.
    fn make_room(&mut self, length: usize) -> Result<(), Exhausted> {
        let drawn = self.reservation.bytes();
        if length <= drawn {
            return Ok(());
        }
        let ample = drawn.saturating_mul(2).min(self.declared).max(length);
        let room = match self.reservation.grow(ample - drawn) {
            Ok(()) => ample,
            Err(_) => self.reservation.grow(length - drawn).map(|()| length)?,
        };
        self.joined.reserve_exact(room - self.joined.len());
        Ok(())
    }

    /// What was read.
    pub(super) fn into_bytes(self) -> Bytes {
        if self.joined.is_empty() {
            self.reservation.hold(self.first)
        } else {
            self.reservation.hold(self.joined)
        }
    }
}
