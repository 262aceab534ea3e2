//! Collects a body once, under its own limit and under the one that all bodies share.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Body as _;
use towergate_core::{Body, BoxError, Error, memory::Reservation};

use super::Limits;

/// How much is set aside on a client's word alone (`Content-Length`).
const CAPACITY_HINT: u64 = 256 * 1024;

/// Reads a body to its end.
#[derive(Debug)]
pub(super) struct Collect {
    body: Body,
    read: Owned,
    hint: usize,
}

/// The bytes of a body, and what they take from the memory budget: given back when the last copy
/// of them is gone, a retry's included.
#[derive(Debug)]
struct Owned {
    bytes: Read,
    reservation: Reservation,
}

#[derive(Debug)]
enum Read {
    /// One frame is not copied.
    Whole(Bytes),
    Joined(Vec<u8>),
}

// === impl Collect ===

impl Collect {
    pub(super) fn new(body: Body, declared: Option<u64>, limits: &Limits) -> Self {
        let hint = declared.unwrap_or_default().min(CAPACITY_HINT);
        let read = Owned { bytes: Read::Whole(Bytes::new()), reservation: limits.memory.reservation() };
        Self { body, read, hint: usize::try_from(hint).unwrap_or_default() }
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
        let Owned { bytes, reservation } = &mut self.read;
        if data.len() > limits.max_body.saturating_sub(bytes.as_ref().len()) {
            return Err(limits.body_too_large());
        }
        if !reservation.grow(data.len()) {
            return Err(limits.no_memory());
        }
        match bytes {
            Read::Whole(whole) if whole.is_empty() => *whole = data,
            Read::Whole(whole) => {
                let mut joined = Vec::with_capacity(self.hint.max(whole.len() + data.len()));
                joined.extend_from_slice(whole);
                joined.extend_from_slice(&data);
                *bytes = Read::Joined(joined);
            }
            Read::Joined(joined) => joined.extend_from_slice(&data),
        }
        Ok(())
    }

    /// What was read.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self.read)
    }
}

// === impl Read, Owned ===

impl AsRef<[u8]> for Read {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}
