//! [`Redactor`]: masks secrets in a text that comes in pieces.

use std::{fmt, ops::Range};

use bytes::{Bytes, BytesMut};

use super::secret::{Match, Secret};

/// What a mask begins with, where it has room for it.
const MASK: &[u8] = b"[redacted]";

/// Masks secrets in a text that comes in pieces.
///
/// What may be the beginning of a secret is held back until it is known to be none: the secret's length at most, as it
/// would be written with every character escaped. Everything else goes on at once, and uncopied where nothing was found.
pub struct Redactor {
    secrets: Vec<Secret>,
    /// Whether a secret may begin with a byte.
    begins: Box<[bool; 256]>,
    held: Bytes,
}

// === impl Redactor ===

impl Redactor {
    pub(super) fn new(secrets: Vec<Secret>) -> Option<Self> {
        if secrets.is_empty() {
            return None;
        }
        let mut begins = Box::new([false; 256]);
        for byte in 0..=u8::MAX {
            begins[usize::from(byte)] = secrets.iter().any(|secret| secret.may_begin_with(byte));
        }
        Some(Self { secrets, begins, held: Bytes::new() })
    }

    /// How many bytes are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes a piece in, and gives what may go on; perhaps nothing.
    pub fn next(&mut self, piece: Bytes) -> Bytes {
        self.take(piece, false)
    }

    /// The same with the last piece: nothing is held back.
    pub fn last(&mut self, piece: Bytes) -> Bytes {
        self.take(piece, true)
    }

    fn take(&mut self, piece: Bytes, is_last: bool) -> Bytes {
        let mut text = piece;
        if !self.held.is_empty() {
            let mut joined = BytesMut::with_capacity(self.held.len() + text.len());
            joined.extend_from_slice(&self.held);
            joined.extend_from_slice(&text);
            text = joined.freeze();
        }
        let (found, searched) = self.search(&text, is_last);
        self.held = text.split_off(searched);
        masked(text, &found)
    }

    /// Where secrets stand, and up to where there can be no others.
    fn search(&self, text: &[u8], is_last: bool) -> (Vec<Range<usize>>, usize) {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(skipped) = text[at..].iter().position(|byte| self.begins[usize::from(*byte)]) {
            at += skipped;
            let mut length = 0;
            for secret in &self.secrets {
                match secret.matches(&text[at..], is_last) {
                    Match::Whole(whole) => length = whole.max(length),
                    // It may be the longer one of two that begin alike.
                    Match::Open => return (found, at),
                    Match::No => {}
                }
            }
            if length > 0 {
                found.push(at..at + length);
            }
            at += length.max(1);
        }
        (found, text.len())
    }
}

impl fmt::Debug for Redactor {
    /// How much is held; not what, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets, {} bytes held)", self.secrets.len(), self.held.len())
    }
}

fn masked(text: Bytes, found: &[Range<usize>]) -> Bytes {
    if found.is_empty() {
        return text;
    }
    let mut masked = text.to_vec();
    for range in found {
        let place = &mut masked[range.clone()];
        place.fill(b'*');
        if let Some(begin) = place.get_mut(..MASK.len()) {
            begin.copy_from_slice(MASK);
        }
    }
    masked.into()
}
