//! [`Reader`]: walks a document that is in memory.

use std::borrow::Cow;

use super::{
    Fault, is_space,
    skip::{Skip, plain_text},
};

/// A place in a document.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the start; a byte order mark is passed over.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        Self { bytes, at }
    }

    /// How many bytes were read: where a fault is.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The first byte of the next token.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !is_space(byte) {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Goes over one value; gives back its bytes.
    pub(crate) fn skip(&mut self) -> Result<&'a [u8], Fault> {
        self.peek();
        let rest = &self.bytes[self.at..];
        if let Some(length) = simple_value(rest) {
            self.at += length;
            return Ok(&rest[..length]);
        }
        let mut skip = Skip::new();
        let length = skip.feed(rest)?;
        self.at += length;
        skip.finish()?;
        Ok(&rest[..length])
    }

    /// Walks an object. `entry` gets each key, decoded, and must take its value. A value that is no
    /// object is gone over, and `false` comes back.
    pub(crate) fn object(
        &mut self,
        mut entry: impl FnMut(&[u8], &mut Self) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        if self.peek() != Some(b'{') {
            return self.skip().map(|_| false);
        }
        self.at += 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(true);
        }
        loop {
            self.expect(b'"')?;
            let key = self.skip()?;
            self.expect(b':')?;
            self.at += 1;
            match unescaped(key) {
                Some(key) => entry(key, self)?,
                None => match decode(key) {
                    Some(key) => entry(key.as_bytes(), self)?,
                    None => entry(key, self)?,
                },
            }
            if !self.goes_on(b'}')? {
                return Ok(true);
            }
        }
    }

    /// Walks an array. `element` must take each value. A value that is no array is gone over.
    pub(crate) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        if self.peek() != Some(b'[') {
            return self.skip().map(|_| false);
        }
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(true);
        }
        loop {
            element(self)?;
            if !self.goes_on(b']')? {
                return Ok(true);
            }
        }
    }

    /// Takes a value; the number where it is a whole one that is not negative.
    pub(crate) fn whole_number(&mut self) -> Result<Option<u64>, Fault> {
        let value = self.skip()?;
        Ok(std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()))
    }

    /// Takes a value; the text where it is a string.
    pub(crate) fn text(&mut self) -> Result<Option<Cow<'a, str>>, Fault> {
        self.skip().map(decode)
    }

    /// Nothing but white space follows.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        self.peek().map_or(Ok(()), |_| Err(Fault::Malformed))
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Fault> {
        match self.peek() {
            None => Err(Fault::End),
            Some(byte) if byte == wanted => Ok(()),
            Some(_) => Err(Fault::Malformed),
        }
    }

    fn goes_on(&mut self, close: u8) -> Result<bool, Fault> {
        let byte = self.peek().ok_or(Fault::End)?;
        if byte != b',' && byte != close {
            return Err(Fault::Malformed);
        }
        self.at += 1;
        Ok(byte == b',')
    }
}

/// The length of a value that most values are like: a string without escapes, `null`, `true` or `false`.
/// Only a shortcut: the machine takes them too, as it does all else.
fn simple_value(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' => {
            let length = plain_text(&bytes[1..]);
            (bytes.get(length + 1) == Some(&b'"')).then_some(length + 2)
        }
        b'n' => bytes.starts_with(b"null").then_some(4),
        b't' => bytes.starts_with(b"true").then_some(4),
        b'f' => bytes.starts_with(b"false").then_some(5),
        _ => None,
    }
}

/// What is between the quotes, where nothing in it is escaped.
fn unescaped(quoted: &[u8]) -> Option<&[u8]> {
    let text = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!text.contains(&b'\\')).then_some(text)
}

/// The text of a string, given with its quotes; none where it is no string, or no Unicode.
pub(crate) fn decode(quoted: &[u8]) -> Option<Cow<'_, str>> {
    let text = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', text).is_some() {
        return serde_json::from_slice(quoted).ok().map(Cow::Owned);
    }
    std::str::from_utf8(text).ok().map(Cow::Borrowed)
}
