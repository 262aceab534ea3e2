//! [`Skip`]: the grammar of one value, as a machine that can stop and go on at any byte.

use memchr::memchr2;

use super::{Fault, is_space};

/// Goes over one value, without recursion and without keeping it.
#[derive(Debug, Clone)]
pub(super) struct Skip {
    state: State,
    nesting: Nesting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    FirstElement,
    FirstKey,
    Key,
    Colon,
    After,
    Text { key: bool },
    Escape { key: bool },
    Hex { key: bool, left: u8 },
    Word(&'static [u8]),
    Number(Number),
    Done,
}

/// Where in a number: what may follow depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Dot,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// The open objects and arrays: a bit each, the innermost last.
#[derive(Debug, Clone, Default)]
struct Nesting {
    depth: usize,
    /// The innermost ones.
    top: u64,
    /// Those outside of them, in words of 64.
    below: Vec<u64>,
}

impl Skip {
    pub(super) fn new() -> Self {
        Self { state: State::Value, nesting: Nesting::default() }
    }

    /// Goes on; gives back how many bytes belong to the value.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let next = match self.state {
                State::Done => break,
                State::Text { key } => {
                    let rest = &bytes[at..];
                    let length = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    let (text, end) = rest.split_at(length);
                    if has_control(text) {
                        return Err(Fault::Malformed);
                    }
                    at += length;
                    match end.first() {
                        None => break,
                        Some(b'"') => self.after_text(key),
                        Some(_) => State::Escape { key },
                    }
                }
                State::Number(number) => match number.then(byte) {
                    Some(next) => State::Number(next),
                    None if number.may_end() => {
                        self.state = self.after_value();
                        continue;
                    }
                    None => return Err(Fault::Malformed),
                },
                State::Word(rest) => match rest.split_first() {
                    Some((wanted, [])) if *wanted == byte => self.after_value(),
                    Some((wanted, rest)) if *wanted == byte => State::Word(rest),
                    _ => return Err(Fault::Malformed),
                },
                State::Escape { key } => match byte {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::Text { key },
                    b'u' => State::Hex { key, left: 4 },
                    _ => return Err(Fault::Malformed),
                },
                State::Hex { key, left } if byte.is_ascii_hexdigit() => {
                    if left == 1 {
                        State::Text { key }
                    } else {
                        State::Hex { key, left: left - 1 }
                    }
                }
                State::Hex { .. } => return Err(Fault::Malformed),
                state if is_space(byte) => state,
                State::FirstElement if byte == b']' => self.close(false)?,
                State::Value | State::FirstElement => self.begin(byte)?,
                State::FirstKey if byte == b'}' => self.close(true)?,
                State::FirstKey | State::Key if byte == b'"' => State::Text { key: true },
                State::Colon if byte == b':' => State::Value,
                State::After => match (byte, self.nesting.is_object()) {
                    (b',', true) => State::Key,
                    (b',', false) => State::Value,
                    (b'}', _) => self.close(true)?,
                    (b']', _) => self.close(false)?,
                    _ => return Err(Fault::Malformed),
                },
                State::FirstKey | State::Key | State::Colon => return Err(Fault::Malformed),
            };
            self.state = next;
            at += 1;
        }
        Ok(at)
    }

    /// Whether the value is over. A number at the top level is over only once something follows it,
    /// or with [`finish`](Self::finish).
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Nothing follows.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        match self.state {
            State::Done => Ok(()),
            State::Number(number) if self.nesting.depth == 0 && number.may_end() => Ok(()),
            _ => Err(Fault::End),
        }
    }

    fn begin(&mut self, byte: u8) -> Result<State, Fault> {
        Ok(match byte {
            b'"' => State::Text { key: false },
            b'{' => {
                self.nesting.push(true);
                State::FirstKey
            }
            b'[' => {
                self.nesting.push(false);
                State::FirstElement
            }
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            b'N' => State::Word(b"aN"),
            b'I' => State::Word(b"nfinity"),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Integer),
            _ => return Err(Fault::Malformed),
        })
    }

    fn close(&mut self, object: bool) -> Result<State, Fault> {
        if self.nesting.is_object() != object {
            return Err(Fault::Malformed);
        }
        self.nesting.pop();
        Ok(self.after_value())
    }

    fn after_text(&self, key: bool) -> State {
        if key { State::Colon } else { self.after_value() }
    }

    fn after_value(&self) -> State {
        if self.nesting.depth == 0 { State::Done } else { State::After }
    }
}

impl Number {
    fn then(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Dot,
            (Self::Dot | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => Self::ExponentDigits,
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits)
    }
}

impl Nesting {
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.below.push(self.top);
        }
        self.top = self.top << 1 | u64::from(object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.top >>= 1;
        if self.depth.is_multiple_of(64)
            && let Some(word) = self.below.pop()
        {
            self.top = word;
        }
    }

    fn is_object(&self) -> bool {
        self.top & 1 == 1
    }
}

/// Control characters must be escaped. No early end, so that it is done many bytes at a time.
fn has_control(text: &[u8]) -> bool {
    text.iter().fold(false, |found, byte| found | (*byte < 0x20))
}
