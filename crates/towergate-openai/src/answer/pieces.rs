//! [`Fate`] and [`Pieces`]: what becomes of each event, and what goes on of a stream, in order.

use std::{collections::VecDeque, ops::Range};

use bytes::{Buf as _, Bytes};
use http_body::Frame;
use towergate_core::Error;

use super::strip::{Strip, data_line};

/// What is to be handed on, each piece with whether an event is unfinished behind it.
#[derive(Default)]
pub(super) struct Pieces {
    waiting: VecDeque<(Frame<Bytes>, bool)>,
    /// The LF that may come next belongs to an event that was left out.
    drops_lf: bool,
}

/// What becomes of the event just read.
pub(super) enum Fate {
    Pass,
    Drop,
    /// It passes, and quotes no secret.
    PassMasked,
    /// It passes without the usage in it.
    PassStripped(Range<usize>),
    /// It passes, and the rest unread with it.
    PassAll,
    /// It passes, and quotes no secret; the stream ends behind it.
    PassAndEnd(Error),
    /// The stream ends before it.
    End(Error),
}

// === impl Pieces ===

impl Pieces {
    pub(super) fn next(&mut self) -> Option<(Frame<Bytes>, bool)> {
        self.waiting.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, mut bytes: Bytes, mid_event: bool) {
        if bytes.is_empty() {
            return;
        }
        if std::mem::take(&mut self.drops_lf) && bytes.first() == Some(&b'\n') {
            bytes.advance(1);
        }
        if !bytes.is_empty() {
            self.waiting.push_back((Frame::data(bytes), mid_event));
        }
    }

    /// Trailers, behind everything.
    pub(super) fn push_frame(&mut self, frame: Frame<Bytes>) {
        self.waiting.push_back((frame, false));
    }

    /// An event without these bytes of its data. One whose data has several lines stays as it is: such a server
    /// is none that writes a usage which nobody asked it for.
    pub(super) fn push_stripped(&mut self, event: &Bytes, range: &Range<usize>) {
        match data_line(event) {
            Some(data) => {
                self.push(event.slice(..data.start + range.start), true);
                self.push(event.slice(data.start + range.end..), false);
            }
            None => self.push(event.clone(), false),
        }
    }

    /// Leaves an event out, and nothing else: where a CRLF was split between two frames, its LF stands at the
    /// beginning of the event behind it.
    pub(super) fn drop_event(&mut self, event: &[u8]) {
        if event.first() == Some(&b'\n') {
            self.push(Bytes::from_static(b"\n"), false);
        }
        self.drops_lf = event.last() == Some(&b'\r');
    }
}

// === impl Fate ===

impl Fate {
    /// What passes goes without the usage in it.
    pub(super) fn stripped(self, strip: Strip) -> Self {
        match (self, strip) {
            (Self::Pass, Strip::Event) => Self::Drop,
            (Self::Pass, Strip::Bytes(range)) => Self::PassStripped(range),
            (fate, _) => fate,
        }
    }

    /// What tells of a failure, and passes, quotes no secret.
    pub(super) fn masked(self, tells_of_failure: bool) -> Self {
        match self {
            Self::Pass if tells_of_failure => Self::PassMasked,
            fate => fate,
        }
    }
}
