//! The model that a multipart form names (RFC 7578), read as the form streams through.

use std::ops::Range;

use http::{HeaderMap, header::CONTENT_TYPE};
use memchr::memmem::Finder;
use towergate_core::{Error, ErrorKind};

/// The header of a part may be so long; what is longer is not looked into.
const MAX_HEADER: usize = 16 * 1024;
/// So may the name of a model.
const MAX_MODEL: usize = 1024;

/// The `code` of a refusal, and what it says.
const TWICE: (&str, &str) = ("duplicate_key", "the form has the part \"model\" twice");
const LONG_HEADER: (&str, &str) = ("invalid_form", "a part of the form has a header that is too long");

/// Finds the part `model` of a multipart form, and fails where there is a second one. Keeps no more of the
/// form than a part's header, or a delimiter that may have begun.
///
/// Lines may end in LF alone, as some readers behind us allow it: they must not find a model that is not
/// found here.
#[derive(Debug)]
pub struct Form {
    /// Line feed, two dashes, the boundary.
    delimiter: Finder<'static>,
    state: State,
    /// Read, and not yet understood.
    pending: Vec<u8>,
    /// How much of `pending` holds no delimiter.
    searched: usize,
    /// Where `pending` begins in the form.
    offset: usize,
    model: Option<(String, Range<usize>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a part that is not looked into, or in front of the first one.
    Skipping,
    /// Behind a delimiter.
    Header,
    /// In the part `model`.
    Model,
    /// Behind the last delimiter, or where no form can be read.
    Over,
}

// === impl Form ===

impl Form {
    /// For the form that these headers announce; none where they announce none.
    #[must_use]
    pub fn new(headers: &HeaderMap) -> Option<Self> {
        let boundary = boundary(headers.get(CONTENT_TYPE)?.as_bytes())?;
        let delimiter = [b"\n--", &*boundary].concat();
        Some(Self {
            delimiter: Finder::new(&delimiter).into_owned(),
            state: State::Skipping,
            // The first delimiter may stand at the very beginning.
            pending: vec![b'\n'],
            searched: 0,
            offset: 0,
            model: None,
        })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`] where a second model comes.
    pub fn read(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.state == State::Over {
            return Ok(());
        }
        self.pending.extend_from_slice(data);
        while self.step()? {}
        Ok(())
    }

    /// The model, and where in the form its name stands.
    #[must_use]
    pub fn model(&self) -> Option<(&str, Range<usize>)> {
        self.model.as_ref().map(|(model, place)| (&**model, place.clone()))
    }

    /// Whether nothing more is read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Goes on by one part's header or content; false where more is needed for that.
    fn step(&mut self) -> Result<bool, Error> {
        match self.state {
            State::Skipping => {
                let Some(at) = self.next_delimiter() else {
                    self.forget(self.searched);
                    return Ok(false);
                };
                self.enter(State::Header, at + self.delimiter.needle().len());
            }
            State::Header if self.pending.starts_with(b"--") => self.enter(State::Over, 0),
            State::Header => {
                let found = header_end(&self.pending);
                if found.map_or(self.pending.len(), |(length, _)| length) > MAX_HEADER {
                    return self.give_up(LONG_HEADER);
                }
                let Some((length, end)) = found else { return Ok(false) };
                let header = self.pending.get(..length).unwrap_or_default();
                let next = if names_model(header) { State::Model } else { State::Skipping };
                // The last line feed may be the first byte of a delimiter: a part may be empty.
                self.enter(next, end - 1);
            }
            State::Model => {
                let found = self.next_delimiter();
                if found.unwrap_or(self.pending.len()) > MAX_MODEL {
                    return self.give_up(TWICE);
                }
                let Some(at) = found else { return Ok(false) };
                self.found(at)?;
                self.enter(State::Header, at + self.delimiter.needle().len());
            }
            State::Over => return Ok(false),
        }
        Ok(true)
    }

    /// The content of the part `model` ends where a delimiter begins; it begins behind a line feed.
    fn found(&mut self, at: usize) -> Result<(), Error> {
        if self.model.is_some() {
            return self.give_up(TWICE).map(drop);
        }
        let content = self.pending.get(1..at).unwrap_or_default();
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        // In front of the form stands a line feed of ours.
        let start = self.offset;
        if let Ok(model) = std::str::from_utf8(content) {
            self.model = Some((model.to_owned(), start..start + content.len()));
        }
        Ok(())
    }

    /// No form that can be read. Where a model was found already, another one could be hidden in it.
    fn give_up(&mut self, (code, why): (&'static str, &'static str)) -> Result<bool, Error> {
        if self.model.is_some() {
            return Err(Error::new(ErrorKind::BadRequest, why).with_code(code).with_param("model"));
        }
        self.enter(State::Over, 0);
        Ok(false)
    }

    fn next_delimiter(&mut self) -> Option<usize> {
        let found = self.delimiter.find(self.pending.get(self.searched..)?);
        let at = found.map(|at| at + self.searched);
        self.searched =
            self.pending.len().saturating_sub(self.delimiter.needle().len() - 1).max(self.searched);
        at
    }

    fn enter(&mut self, state: State, consumed: usize) {
        self.state = state;
        self.searched = consumed;
        self.forget(consumed);
    }

    fn forget(&mut self, consumed: usize) {
        self.pending.drain(..consumed);
        self.searched = self.searched.saturating_sub(consumed);
        self.offset += consumed;
    }
}

/// The length of a part's header, and where its content begins.
fn header_end(bytes: &[u8]) -> Option<(usize, usize)> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..)? {
        [b'\n', ..] => Some((at, at + 2)),
        [b'\r', b'\n', ..] => Some((at, at + 3)),
        _ => None,
    })
}

/// Whether a part's header says that it is the part `model`.
fn names_model(header: &[u8]) -> bool {
    header.split(|byte| *byte == b'\n').any(|line| {
        let Some(colon) = memchr::memchr(b':', line) else { return false };
        let (name, value) = line.split_at(colon);
        name.trim_ascii().eq_ignore_ascii_case(b"content-disposition")
            && parameters(&value[1..])
                .any(|(name, value)| name.eq_ignore_ascii_case(b"name") && value == b"model")
    })
}

fn boundary(content_type: &[u8]) -> Option<Vec<u8>> {
    let media = content_type.split(|byte| *byte == b';').next()?.trim_ascii();
    if !media.eq_ignore_ascii_case(b"multipart/form-data") {
        return None;
    }
    let (_, boundary) = parameters(content_type).find(|(name, _)| name.eq_ignore_ascii_case(b"boundary"))?;
    // RFC 2046, section 5.1.1: 1 to 70 characters. Somebody may be generous.
    (1..=200).contains(&boundary.len()).then_some(boundary)
}

/// What stands behind the semicolons of a header's value; quotes are taken off (RFC 9110, section 5.6.6).
fn parameters(value: &[u8]) -> impl Iterator<Item = (&[u8], Vec<u8>)> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let at = memchr::memchr(b';', rest)?;
            rest = rest.get(at + 1..)?.trim_ascii_start();
            let Some(end) = rest.iter().position(|byte| matches!(byte, b'=' | b';')) else { continue };
            let (name, value) = rest.split_at(end);
            let Some(value) = value.strip_prefix(b"=") else { continue };
            let value = value.trim_ascii_start();
            let text = if let Some(quoted) = value.strip_prefix(b"\"") {
                let (text, after) = unquote(quoted);
                rest = after;
                text
            } else {
                let end = memchr::memchr(b';', value).unwrap_or(value.len());
                rest = value.get(end..)?;
                value.get(..end)?.trim_ascii().to_vec()
            };
            return Some((name.trim_ascii(), text));
        }
    })
}

/// The text up to the closing quote, and what stands behind that.
fn unquote(quoted: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut text = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return (text, quoted.get(at + 1..).unwrap_or_default()),
            b'\\' => text.extend(bytes.next().map(|(_, byte)| *byte)),
            byte => text.push(*byte),
        }
    }
    (text, &[])
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn form() -> Form {
        announced("multipart/form-data; boundary=b").unwrap()
    }

    fn announced(content_type: &'static str) -> Option<Form> {
        Form::new(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]))
    }

    /// The model, and what stands where it is said to stand.
    fn model(body: &str) -> Option<(String, String)> {
        let mut form = form();
        form.read(body.as_bytes()).unwrap();
        form.model().map(|(model, place)| (model.to_owned(), body[place].to_owned()))
    }

    fn part(name: &str, content: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
    }

    #[test]
    fn the_model_is_found_wherever_it_stands() {
        let other = part("other", "x");
        let named = part("model", "whisper-1");
        let file = "--b\r\ncontent-type: audio/wav\r\ncontent-disposition: form-data; filename=\"a;name=model\"; \
                    name=file\r\n\r\n--b not\r\n--a\r\n\0\r\n";
        for body in [
            format!("{named}--b--\r\n"),
            format!("{other}{named}{file}--b--"),
            format!("{file}{named}--b--"),
            format!("preamble\r\n{other}{named}{other}--b--\r\nepilogue"),
            format!("{named}{file}--b--").replace("\r\n", "\n"),
            format!("{named}{file}"),
            format!("{}{named}--b--", part("empty", "").replace("\r\n\r\n\r\n", "\r\n\r\n")),
            named.replace("name=\"model\"", "NAME = mo\\del").replace("mo\\del", "\"mo\\del\"") + "--b",
        ] {
            assert_eq!(model(&body), Some(("whisper-1".to_owned(), "whisper-1".to_owned())), "{body}");
        }
    }

    #[test]
    fn what_is_none_is_not_found() {
        let named = part("model", "whisper-1");
        for body in [
            String::new(),
            named.clone(),
            format!("x{named}--b--"),
            format!("{}--b--", part("models", "x")),
            format!("{}--b--", part("file", "name=\"model\"\r\n\r\nx")),
            format!("--b--\r\n{named}--b--"),
            format!("{}--b--", part("model", &"x".repeat(3000))),
            format!("--b\r\n{}\r\n\r\nx\r\n{named}--b--", "x".repeat(20_000)),
        ] {
            assert_eq!(model(&body), None, "{body}");
        }
        for content_type in ["application/json", "multipart/form-data", "multipart/mixed; boundary=b"] {
            assert!(announced(content_type).is_none(), "{content_type}");
        }
        assert!(announced("Multipart/Form-Data; charset=utf-8; BOUNDARY=\"b b\"").is_some());
    }

    #[test]
    fn a_second_one_is_refused() {
        let named = part("model", "whisper-1");
        let long_header = named.replace("\r\nContent", &format!("\r\nX: {}\r\nContent", "x".repeat(20_000)));
        for second in [
            named.clone(),
            named.replace("\r\n", "\n"),
            named.replace("\"model\"", "model"),
            part("model", &"x".repeat(3000)),
        ] {
            let refused = form().read(format!("{named}{second}--b--").as_bytes()).unwrap_err();
            assert_eq!((refused.code(), refused.param()), ("duplicate_key", Some("model")));
        }
        let refused = form().read(format!("{named}{long_header}--b--").as_bytes()).unwrap_err();
        assert_eq!(refused.code(), "invalid_form");
    }

    proptest! {
        #[test]
        fn it_is_the_same_however_it_comes(
            before in ".{0,40}", name in "[a-z0-9./-]{0,30}", file in prop::collection::vec(any::<u8>(), 0..300),
            cut in 1_usize..50,
        ) {
            let body = [
                part("prompt", &before).as_bytes(), part("model", &name).as_bytes(),
                b"--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n", &file, b"\r\n--b--\r\n",
            ].concat();
            let mut form = form();
            for piece in body.chunks(cut) {
                form.read(piece).unwrap();
                prop_assert!(form.pending.len() <= MAX_HEADER + cut);
            }
            let (found, place) = form.model().unwrap();
            prop_assert_eq!(found, &name);
            prop_assert_eq!(&body[place], name.as_bytes());
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'-'), Just(b'b'), any::<u8>()], 0..400), cut in 1_usize..30) {
            let mut form = form();
            for piece in body.chunks(cut) {
                let _ = form.read(piece);
            }
        }
    }
}
