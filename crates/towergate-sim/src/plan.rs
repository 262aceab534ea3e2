//! How a body is handed out: a lazy sequence of steps, and the body that follows it.
//!
//! Faults that concern the body are decided here, piece by piece: nothing is made before it is
//! asked for, so that a stream of gigabytes needs no memory.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use towergate_core::BoxError;

use crate::{
    fault::{Ending, Fault},
    io::Connection,
};

/// Filling is handed out in blocks of this size.
const BLOCK: usize = 64 << 10;
/// hyper and h2 drop what is not written yet when a body fails: this is how long they have for it.
const GRACE: Duration = Duration::from_millis(10);
static LETTERS: [u8; BLOCK] = [b'x'; BLOCK];
static SPACES: [u8; BLOCK] = [b' '; BLOCK];

/// What faults count: an event of a stream, half of a JSON answer, a block of a binary one.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// How many bytes of filling follow.
    pub(crate) fill: u64,
    pub(crate) filling: Filling,
    /// What follows the filling.
    pub(crate) tail: Bytes,
}

/// What a piece is filled up with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Filling {
    Letters,
    Spaces,
}

pub(crate) type Pieces = Box<dyn Iterator<Item = Piece> + Send>;

/// A body that follows the pieces and the fault.
pub(crate) struct PlanBody {
    pieces: Pieces,
    fault: Fault,
    /// What comes before the first piece, again and again.
    comment: Bytes,
    comments: u64,
    /// Between two pieces.
    delay: Duration,
    connection: Option<Connection>,

    /// How many pieces were handed out.
    index: u64,
    current: Option<Piece>,
    /// What is left of a chunk that is being split.
    chunk: Bytes,
    /// The wait that is under way.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    state: State,
    /// Bytes to come, where that is known.
    remaining: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flowing,
    /// The body breaks at the next poll.
    Breaking,
    Over,
}

/// The error of a body that a fault breaks.
#[derive(Debug)]
pub(crate) struct BrokenByFault;

// === impl Piece ===

impl Piece {
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), fill: 0, filling: Filling::Letters, tail: Bytes::new() }
    }

    /// The next chunk of it, if any is left.
    fn next_chunk(&mut self) -> Option<Bytes> {
        if !self.bytes.is_empty() {
            return Some(std::mem::take(&mut self.bytes));
        }
        if self.fill > 0 {
            let block = match self.filling {
                Filling::Letters => Bytes::from_static(&LETTERS),
                Filling::Spaces => Bytes::from_static(&SPACES),
            };
            let size = usize::try_from(self.fill).map_or(BLOCK, |fill| fill.min(BLOCK));
            self.fill -= size as u64;
            return Some(block.slice(..size));
        }
        (!self.tail.is_empty()).then(|| std::mem::take(&mut self.tail))
    }
}

// === impl PlanBody ===

impl PlanBody {
    pub(crate) fn new(pieces: Pieces, fault: Fault, connection: Option<Connection>) -> Self {
        Self {
            pieces,
            comment: Bytes::new(),
            comments: 0,
            delay: Duration::ZERO,
            connection,
            index: 0,
            current: None,
            chunk: Bytes::new(),
            waiting: None,
            state: State::Flowing,
            remaining: None,
            fault,
        }
    }

    /// A body that breaks before its first byte.
    pub(crate) fn broken() -> Self {
        let mut body = Self::new(Box::new(std::iter::empty()), Fault::new(), None);
        body.state = State::Breaking;
        body
    }

    /// Puts comments first, as many as the fault says.
    pub(crate) fn with_comment(mut self, comment: &'static str) -> Self {
        self.comment = Bytes::from_static(comment.as_bytes());
        self.comments = self.fault.comments;
        self
    }

    /// Waits between two pieces.
    pub(crate) fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Says how long it is, unless the fault makes that untrue on purpose or hides it.
    pub(crate) fn with_length(mut self, length: u64) -> Self {
        let truncated = matches!(self.fault.end, Some((_, Ending::Truncate)));
        if self.fault.comments == 0 && self.fault.bytes.is_none() && !self.fault.chunked && !truncated {
            self.remaining = Some(length);
        }
        self
    }

    /// The next chunk as it is to be written; `None` ends the body, or breaks or holds it by what
    /// it leaves in `state` and `waiting`.
    fn step(&mut self) -> Option<Bytes> {
        if self.chunk.is_empty() {
            self.chunk = self.next_chunk()?;
        }
        let size = self.fault.split.map_or(self.chunk.len(), |split| split.min(self.chunk.len()));
        Some(self.chunk.split_to(size))
    }

    fn next_chunk(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.current.as_mut().and_then(Piece::next_chunk) {
            return Some(chunk);
        }
        if self.current.take().is_some() {
            self.index += 1;
            if !self.delay.is_zero() {
                self.wait_for(self.delay);
                return None;
            }
        }
        if self.comments > 0 {
            // Endless ones are not counted down.
            self.comments -= u64::from(self.comments != u64::MAX);
            return Some(self.comment.clone());
        }
        if let Some((_, gate)) = self.fault.hold_at.take_if(|(index, _)| *index == self.index) {
            self.waiting = Some(Box::pin(async move { gate.wait().await }));
            return None;
        }
        if let Some((_, delay)) = self.fault.delay_at.take_if(|(index, _)| *index == self.index) {
            self.wait_for(delay);
            return None;
        }
        if let Some((index, ending)) = self.fault.end
            && index == self.index
        {
            match ending {
                Ending::Truncate => self.state = State::Over,
                Ending::Stall => self.waiting = Some(Box::pin(std::future::pending())),
                Ending::Cut | Ending::Reset => {
                    self.state = State::Breaking;
                    self.wait_for(GRACE);
                }
            }
            return None;
        }
        self.current = self.pieces.next();
        let chunk = self.current.as_mut().and_then(Piece::next_chunk);
        if chunk.is_none() {
            self.state = State::Over;
        }
        chunk
    }

    fn wait_for(&mut self, time: Duration) {
        self.waiting = Some(Box::pin(tokio::time::sleep(time)));
    }
}

impl Body for PlanBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if let Some(waiting) = &mut this.waiting {
                ready!(waiting.as_mut().poll(cx));
                this.waiting = None;
            }
            match this.state {
                State::Over => return Poll::Ready(None),
                State::Breaking => {
                    this.state = State::Over;
                    if let (Some((_, Ending::Reset)), Some(connection)) = (this.fault.end, &this.connection) {
                        connection.reset();
                    }
                    return Poll::Ready(Some(Err(BrokenByFault.into())));
                }
                State::Flowing => {}
            }
            // Where there is none, `state` or `waiting` says why.
            if let Some(chunk) = this.step() {
                if let Some(remaining) = &mut this.remaining {
                    *remaining = remaining.saturating_sub(chunk.len() as u64);
                }
                if !this.fault.slow_chunks.is_zero() {
                    this.wait_for(this.fault.slow_chunks);
                }
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == Some(0)
            || (self.state == State::Over && self.waiting.is_none() && self.chunk.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map(SizeHint::with_exact).unwrap_or_default()
    }
}

impl fmt::Debug for PlanBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanBody")
            .field("index", &self.index)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

// === impl BrokenByFault ===

impl fmt::Display for BrokenByFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer is broken off, as its fault says")
    }
}

impl std::error::Error for BrokenByFault {}
