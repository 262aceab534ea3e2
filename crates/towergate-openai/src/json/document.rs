//! [`Document`]: a document that comes in pieces.

use super::{Fault, is_space, reader::decode, skip::Skip};

/// The longest key that is compared.
const KEY: usize = 64;

/// Is fed one document piece by piece, checks its structure, and keeps the values of a few keys of
/// the top level.
#[derive(Debug)]
pub(crate) struct Document<const KEYS: usize> {
    keys: [&'static str; KEYS],
    kept: [Vec<u8>; KEYS],
    /// What they begin with.
    first: [Option<u8>; KEYS],
    /// A kept value that is longer is forgotten.
    cap: usize,
    state: State,
    skip: Skip,
    key: Vec<u8>,
    wanted: Option<usize>,
    started: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    FirstKey,
    Key,
    InKey,
    Colon,
    Value,
    After,
    /// A document that is no object.
    Other,
    Done,
}

impl<const KEYS: usize> Document<KEYS> {
    pub(crate) fn new(keys: [&'static str; KEYS], cap: usize) -> Self {
        Self {
            keys,
            kept: [const { Vec::new() }; KEYS],
            first: [None; KEYS],
            cap,
            state: State::Start,
            skip: Skip::new(),
            key: Vec::new(),
            wanted: None,
            started: false,
        }
    }

    /// Reads on.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut at = 0;
        if !self.started && !bytes.is_empty() {
            self.started = true;
            at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        }
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                State::InKey | State::Value | State::Other => {
                    let rest = &bytes[at..];
                    let length = self.skip.feed(rest)?;
                    self.keep(&rest[..length]);
                    at += length;
                    if self.skip.is_done() {
                        self.state = self.after_skip();
                    }
                    continue;
                }
                _ if is_space(byte) => {}
                State::Start if byte == b'{' => self.state = State::FirstKey,
                State::Start => {
                    self.begin(State::Other);
                    continue;
                }
                State::FirstKey if byte == b'}' => self.state = State::Done,
                State::FirstKey | State::Key if byte == b'"' => {
                    self.key.clear();
                    self.begin(State::InKey);
                    continue;
                }
                State::Colon if byte == b':' => self.begin(State::Value),
                State::After if byte == b',' => self.state = State::Key,
                State::After if byte == b'}' => self.state = State::Done,
                _ => return Err(Fault::Malformed),
            }
            at += 1;
        }
        Ok(())
    }

    /// Nothing follows.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        match self.state {
            State::Done => Ok(()),
            State::Other => self.skip.finish(),
            _ => Err(Fault::End),
        }
    }

    /// Whether there was nothing but white space.
    pub(crate) fn is_empty(&self) -> bool {
        self.state == State::Start
    }

    /// The value of a key, if it came and was short enough.
    pub(crate) fn kept(&self, key: &str) -> Option<&[u8]> {
        let place = self.keys.iter().position(|wanted| *wanted == key)?;
        self.kept.get(place).map(|value| value.trim_ascii_start()).filter(|value| !value.is_empty())
    }

    /// The first byte of the value of a key, as soon as it came, however long the value is.
    pub(crate) fn first(&self, key: &str) -> Option<u8> {
        let place = self.keys.iter().position(|wanted| *wanted == key)?;
        self.first.get(place).copied().flatten()
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.skip = Skip::new();
    }

    fn after_skip(&mut self) -> State {
        match self.state {
            State::InKey => {
                let key = decode(&self.key);
                self.wanted = self.keys.iter().position(|wanted| key.as_deref() == Some(*wanted));
                if let Some(kept) = self.wanted.and_then(|place| self.kept.get_mut(place)) {
                    kept.clear();
                }
                if let Some(first) = self.wanted.and_then(|place| self.first.get_mut(place)) {
                    *first = None;
                }
                State::Colon
            }
            State::Value => State::After,
            _ => State::Done,
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        match (self.state, self.wanted) {
            (State::InKey, _) if self.key.len() + bytes.len() <= KEY => self.key.extend_from_slice(bytes),
            // Now too long for all that follows, and no string: it matches nothing.
            (State::InKey, _) => self.key.resize(KEY + 1, 0),
            (State::Value, Some(place)) => {
                if let Some(first) = self.first.get_mut(place).filter(|first| first.is_none()) {
                    *first = bytes.iter().copied().find(|byte| !is_space(*byte));
                }
                let Some(kept) = self.kept.get_mut(place) else { return };
                if kept.len() + bytes.len() <= self.cap {
                    kept.extend_from_slice(bytes);
                } else {
                    kept.clear();
                    self.wanted = None;
                }
            }
            _ => {}
        }
    }
}
