//! A streamed request body that is kept, up to a cap, so that it can be sent again.
//!
//! Copies share one buffer and one source. The copy polled most recently owns the source: it reads
//! what is in the buffer first and then the source itself. A copy of an earlier attempt that is
//! still held by its connection is told [`ReplayLost`] when it is polled again.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

use crate::{BoxError, memory::Reservation};

type Source = UnsyncBoxBody<Bytes, BoxError>;

/// So many pieces are kept whatever the cap is. Beyond them what keeping a piece costs beside its bytes
/// may come to the cap once more: a million pieces of one byte are not a megabyte.
const FREE_PIECES: usize = 1024;
/// What keeping a piece costs beside its bytes.
const PIECE_COST: usize = size_of::<Bytes>();

/// The bytes of a streamed request are no longer there for this attempt: another attempt took over,
/// the upload failed, or it outgrew the replay buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayLost(());

pub(super) struct Replay {
    shared: Arc<Mutex<Shared>>,
    /// Which claim on the source this copy holds; 0 until its first poll.
    claim: u64,
    /// How many of the kept chunks this copy has handed out.
    next: usize,
    trailers_sent: bool,
}

struct Shared {
    source: Source,
    chunks: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    /// Bytes in `chunks`.
    kept: usize,
    cap: usize,
    /// What the chunks are charged to.
    reservation: Option<Reservation>,
    /// The claim of the copy polled last.
    claim: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    /// More came than may be kept: only the copy that holds the claim can go on.
    Overflowed,
    Failed,
}

// === impl Replay ===

impl Replay {
    /// Gives the source back where it is known to be longer than the cap.
    pub(super) fn wrap(source: Source, cap: usize, reservation: Option<Reservation>) -> Result<Self, Source> {
        if source.size_hint().lower() > cap as u64 {
            return Err(source);
        }
        let shared = Shared {
            source,
            chunks: Vec::new(),
            trailers: None,
            kept: 0,
            cap,
            reservation,
            claim: 0,
            state: State::Reading,
        };
        Ok(Self { shared: Arc::new(Mutex::new(shared)), claim: 0, next: 0, trailers_sent: false })
    }

    pub(super) fn copy(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), claim: 0, next: 0, trailers_sent: false }
    }

    pub(super) fn is_complete(&self) -> bool {
        let shared = lock(&self.shared);
        matches!(shared.state, State::Reading | State::Ended)
    }

    pub(super) fn is_buffered(&self) -> bool {
        let shared = lock(&self.shared);
        match shared.state {
            // A consumer that knows the length does not ask for the end.
            State::Reading => shared.source.is_end_stream() || shared.source.size_hint().exact() == Some(0),
            State::Ended => true,
            State::Overflowed | State::Failed => false,
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut shared = lock(&self.shared);
        if self.is_lost(&shared) {
            return Poll::Ready(Some(Err(ReplayLost(()).into())));
        }
        if self.claim == 0 {
            shared.claim += 1;
            self.claim = shared.claim;
        }

        if let Some(chunk) = shared.chunks.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        match shared.state {
            State::Reading | State::Overflowed => {}
            State::Ended => {
                let trailers = shared.trailers.clone().filter(|_| !self.trailers_sent);
                self.trailers_sent = true;
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            State::Failed => return Poll::Ready(Some(Err(ReplayLost(()).into()))),
        }
        match ready!(Pin::new(&mut shared.source).poll_frame(cx)) {
            None => {
                shared.end();
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                shared.forget(State::Failed);
                Poll::Ready(Some(Err(error)))
            }
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.next += usize::from(shared.keep(data));
                } else if let Some(trailers) = frame.trailers_ref() {
                    shared.trailers = Some(trailers.clone());
                    shared.end();
                    self.trailers_sent = true;
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let shared = lock(&self.shared);
        // One that is lost still owes the error: taken for ended, it would be sent as an upload of nothing.
        if self.is_lost(&shared) || shared.chunks.get(self.next).is_some() {
            return false;
        }
        match shared.state {
            State::Reading | State::Overflowed => shared.source.is_end_stream(),
            State::Ended => shared.trailers.is_none() || self.trailers_sent,
            // It still owes the error.
            State::Failed => false,
        }
    }

    /// Whether this copy cannot go on: another one took over, or what it has not sent is gone.
    fn is_lost(&self, shared: &Shared) -> bool {
        match self.claim {
            0 => matches!(shared.state, State::Overflowed | State::Failed),
            claim => claim != shared.claim,
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let shared = lock(&self.shared);
        if self.is_lost(&shared) {
            return SizeHint::default();
        }
        let buffered: u64 = shared.chunks.iter().skip(self.next).map(|chunk| chunk.len() as u64).sum();
        let rest = match shared.state {
            State::Reading | State::Overflowed => shared.source.size_hint(),
            State::Ended => SizeHint::with_exact(0),
            State::Failed => SizeHint::default(),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(buffered));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(buffered)) {
            hint.set_upper(upper);
        }
        hint
    }
}

// === impl Shared ===

impl Shared {
    /// Keeps a chunk for later copies, where there is something in it; says whether it was kept.
    fn keep(&mut self, data: &Bytes) -> bool {
        if self.state != State::Reading || data.is_empty() {
            return false;
        }
        self.kept = self.kept.saturating_add(data.len());
        let too_much = self.kept > self.cap || self.chunks.len() >= FREE_PIECES + self.cap / PIECE_COST;
        let cost = data.len().saturating_add(PIECE_COST);
        if too_much || self.reservation.as_mut().is_some_and(|reservation| reservation.grow(cost).is_err()) {
            // Every chunk in here was handed out by the copy that just read past it.
            self.forget(State::Overflowed);
            return false;
        }
        self.chunks.push(data.clone());
        true
    }

    /// Nothing is kept any more.
    fn forget(&mut self, state: State) {
        self.state = state;
        self.chunks = Vec::new();
        self.reservation = None;
    }

    fn end(&mut self) {
        if self.state == State::Reading {
            self.state = State::Ended;
        }
    }
}

/// A panic inside the source leaves nothing that a later poll could misread.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl ReplayLost ===

impl fmt::Display for ReplayLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body is no longer there to be sent by this attempt")
    }
}

impl std::error::Error for ReplayLost {}
