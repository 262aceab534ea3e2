//! The event reader: finds server-sent events in the frames of a body, without changing a byte.
//!
//! A frame is no event: it may hold several, or half of one, and end inside a UTF-8 character or
//! between CR and LF. [`SseReader`] is shown each frame and says where events end and what is in
//! them. An event that lies in one frame is read in place; one that straddles frames is put together
//! in a buffer. What is unfinished is kept up to a cap ([`EVENT_CAP`], unless another is set): of a
//! longer event only that much is seen. Nothing is allocated for an event that lies in one frame and has one line of data.
//!
//! The format is that of the HTML standard (section 9.2): lines end in LF, CRLF or CR; a blank line
//! ends an event; lines that begin with a colon are comments; several `data` lines are one text with
//! line feeds between. An event is over at the first byte of its blank line's end: where that is
//! CR, an LF after it belongs to what follows.
//!
//! ```
//! use towergate_openai::sse::SseReader;
//!
//! let mut reader = SseReader::new();
//! let mut seen = Vec::new();
//! for frame in [&b": hello\n\ndata: {\"a\""[..], b":1}\r\n\r\ndata: [DO", b"NE]\n\n"] {
//!     let mut at = 0;
//!     while let Some(event) = reader.next(frame, &mut at) {
//!         seen.extend(event.data.map(|data| String::from_utf8_lossy(data).into_owned()));
//!     }
//! }
//! assert_eq!(seen, ["{\"a\":1}", "[DONE]"]);
//! ```

mod parse;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use self::parse::parse;

/// Bytes that are kept of an event that straddles frames, unless the reader was made with another cap.
pub const EVENT_CAP: usize = 256 * 1024;

/// Finds events in frames.
#[derive(Debug)]
pub struct SseReader {
    cap: usize,
    /// What came of the unfinished event, up to the cap.
    pending: BytesMut,
    /// How many bytes came of it.
    pending_len: u64,
    /// Whether its last line has bytes.
    in_line: bool,
    /// The last byte was a CR: an LF does not end another line.
    after_cr: bool,
    /// An event has ended: a byte order mark can no longer come.
    started: bool,
    /// Data of several lines, joined.
    joined: Vec<u8>,
}

/// An event, as it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The `event` field; empty where there is none.
    pub name: &'a [u8],
    /// The `data` fields, joined; none where there is none: a comment, or blank lines.
    pub data: Option<&'a [u8]>,
    /// Whether it has an `id` field.
    pub has_id: bool,
    /// Whether more came than is kept: `data` is a beginning of it.
    pub is_cut: bool,
    /// Its length in bytes, over all frames, its blank line included.
    pub len: u64,
}

// === impl Event ===

#[cfg(test)]
impl<'a> Event<'a> {
    pub(crate) fn new(name: &'a [u8], data: Option<&'a [u8]>) -> Self {
        Self { name, data, has_id: false, is_cut: false, len: 0 }
    }
}

// === impl SseReader ===

impl SseReader {
    /// At the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::with_cap(EVENT_CAP)
    }

    /// At the start of a stream; keeps so many bytes of an event that straddles frames.
    #[must_use]
    pub fn with_cap(cap: usize) -> Self {
        Self {
            cap,
            pending: BytesMut::new(),
            pending_len: 0,
            in_line: false,
            after_cr: false,
            started: false,
            joined: Vec::new(),
        }
    }

    /// The next event that ends in `frame`, from `at` on; `at` moves behind it. With `None` the
    /// frame is used up, and the next one may be shown.
    pub fn next<'a>(&'a mut self, frame: &'a [u8], at: &mut usize) -> Option<Event<'a>> {
        let start = *at;
        let rest = frame.get(start..).unwrap_or_default();
        match self.find_end(rest) {
            Some(length) => {
                let own = &rest[..length];
                *at = start + length;
                let straddles = self.pending_len > 0;
                let len = self.pending_len + length as u64;
                let first = !std::mem::replace(&mut self.started, true);
                if straddles && self.pending.len() as u64 == self.pending_len {
                    self.pending.extend_from_slice(own);
                }
                self.pending_len = 0;
                let bytes = if straddles { &self.pending[..] } else { own };
                let (name, data, has_id) = parse(bytes, first, &mut self.joined);
                Some(Event { name, data, has_id, is_cut: bytes.len() as u64 != len, len })
            }
            None => {
                *at = frame.len();
                if self.pending_len == 0 {
                    self.pending.clear();
                }
                self.pending_len += rest.len() as u64;
                self.keep(rest);
                None
            }
        }
    }

    /// How many bytes came of the event that has not ended.
    #[must_use]
    pub fn pending_len(&self) -> u64 {
        self.pending_len
    }

    /// The bytes of the event that straddled frames and ended last, or of the one that has not
    /// ended; up to the cap. The buffer is given away, or copied where the event goes on.
    pub fn take_bytes(&mut self) -> Bytes {
        if self.pending_len == 0 {
            self.pending.split().freeze()
        } else {
            Bytes::copy_from_slice(&self.pending)
        }
    }

    /// Ends the stream: the event that lacks its blank line.
    pub fn finish(&mut self) -> Option<Event<'_>> {
        let len = std::mem::take(&mut self.pending_len);
        if len == 0 {
            return None;
        }
        let first = !std::mem::replace(&mut self.started, true);
        let (name, data, has_id) = parse(&self.pending, first, &mut self.joined);
        Some(Event { name, data, has_id, is_cut: self.pending.len() as u64 != len, len })
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.cap.saturating_sub(self.pending.len()).min(bytes.len());
        self.pending.extend_from_slice(&bytes[..room]);
    }

    /// How many of these bytes belong to the event that is under way, where it ends in them.
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let after_cr = std::mem::take(&mut self.after_cr);
            if byte == b'\n' && after_cr {
                at += 1;
                continue;
            }
            let Some(length) = memchr2(b'\n', b'\r', &bytes[at..]) else {
                self.in_line = true;
                return None;
            };
            at += length;
            self.after_cr = bytes[at] == b'\r';
            at += 1;
            if length == 0 && !self.in_line {
                return Some(at + self.take_lf(&bytes[at..]));
            }
            self.in_line = false;
        }
        None
    }

    /// The LF of a CRLF, where it came with it.
    fn take_lf(&mut self, bytes: &[u8]) -> usize {
        let taken = self.after_cr && bytes.first() == Some(&b'\n');
        self.after_cr &= !taken;
        usize::from(taken)
    }
}

impl Default for SseReader {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
