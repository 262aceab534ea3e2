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
    Text {
        key: bool,
    },
    Escape {
        key: bool,
    },
    Hex {
        key: bool,
        left: u8,
    },
    /// And how many of its letters have come.
    Word(Word, u8),
    Number(Number),
    Done,
}

/// What is neither text nor a number, and all of it known from its first letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    True,
    False,
    Null,
    NaN,
    Infinity,
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
                    at += plain_text(&bytes[at..]);
                    match bytes.get(at) {
                        None => break,
                        Some(b'"') => self.after_text(key),
                        Some(b'\\') => State::Escape { key },
                        Some(_) => return Err(Fault::Malformed),
                    }
                }
                State::Number(number) => match number.then(byte) {
                    Some(next) => State::Number(next),
                    None if number == Number::Minus && byte == b'I' => State::Word(Word::Infinity, 1),
                    None if number.may_end() => {
                        self.state = self.after_value();
                        continue;
                    }
                    None => return Err(Fault::Malformed),
                },
                State::Word(word, come) => {
                    let (letters, at) = (word.letters(), usize::from(come));
                    if letters.get(at) != Some(&byte) {
                        return Err(Fault::Malformed);
                    }
                    if at + 1 == letters.len() { self.after_value() } else { State::Word(word, come + 1) }
                }
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
            b't' => State::Word(Word::True, 1),
            b'f' => State::Word(Word::False, 1),
            b'n' => State::Word(Word::Null, 1),
            b'N' => State::Word(Word::NaN, 1),
            b'I' => State::Word(Word::Infinity, 1),
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

impl Word {
    fn letters(self) -> &'static [u8] {
        match self {
            Self::True => b"true",
            Self::False => b"false",
            Self::Null => b"null",
            Self::NaN => b"NaN",
            Self::Infinity => b"Infinity",
        }
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

/// How many bytes of a string there are before one that ends it, escapes, or must be escaped itself: a control
/// character.
pub(super) fn plain_text(text: &[u8]) -> usize {
    // Most strings are short: a few words of eight bytes, before the wide search is worth its start.
    const SHORT: usize = 64;
    let (words, few) = text[..text.len().min(SHORT)].as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let found = special_bytes(u64::from_le_bytes(*word));
        if found != 0 {
            return 8 * at + found.trailing_zeros() as usize / 8;
        }
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let first = 8 * words.len();
    if text.len() <= SHORT {
        return first + few.iter().position(is_special).unwrap_or(few.len());
    }
    let rest = &text[first..];
    let rest = &rest[..memchr2(b'"', b'\\', rest).unwrap_or(rest.len())];
    // No early end, so that it is done many bytes at a time.
    let has_control = rest.iter().fold(false, |found, byte| found | (*byte < 0x20));
    first + if has_control { rest.iter().position(is_special).unwrap_or(rest.len()) } else { rest.len() }
}

/// The highest bit of each byte that is a quote, a backslash or a control character. Bits above the first one found may
/// be wrong: a subtraction borrows upwards.
fn special_bytes(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = 0x80 * EACH;
    let below = |word: u64, limit: u64| word.wrapping_sub(limit * EACH) & !word;
    let quote = below(word ^ (u64::from(b'"') * EACH), 1);
    let backslash = below(word ^ (u64::from(b'\\') * EACH), 1);
    (quote | backslash | below(word, 0x20)) & HIGHEST
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn any_byte() -> impl Strategy<Value = u8> {
        prop_oneof![8 => b' '..=b'~', 1 => any::<u8>(), 1 => prop::sample::select(vec![b'"', b'\\', 0, 0x1f, 0x20, 0x80, 0xff])]
    }

    proptest! {
        #[test]
        fn plain_text_ends_at_the_first_special_byte(text in vec(any_byte(), 0..200), plain in 0..200_usize) {
            let mut text = text;
            text.splice(0..0, std::iter::repeat_n(b'a', plain));
            let first = text.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\');
            prop_assert_eq!(plain_text(&text), first.unwrap_or(text.len()));
        }
    }
}
