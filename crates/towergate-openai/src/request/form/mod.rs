//! The model that a multipart form names (RFC 7578), read as the form streams through.

mod delimiter;
mod parameters;
mod strict;

use std::ops::Range;

use http::{HeaderMap, header::CONTENT_TYPE};
use towergate_core::{Error, ErrorKind};

#[cfg(test)]
use self::tests::looked_at;
use self::{
    delimiter::{Delimiter, Ending, Found},
    parameters::Parameters,
    strict::{Charset, Doubt, PartHeader},
};

/// The header of a part may be so long; what is longer is not looked into.
const MAX_HEADER: usize = 16 * 1024;
/// Of a strict one: no reader is known that takes less.
const MAX_STRICT_HEADER: usize = 4 * 1024;
/// So may the name of a model.
const MAX_MODEL: usize = 1024;

/// Finds the part `model` of a multipart form, and fails where there is a second one. Keeps no more of the
/// form than a line of a part's header, or the model. Each byte is looked at once or twice, in whatever pieces they come.
///
/// Lines may end in LF alone, as some readers behind us allow it: they must not find a model that is not
/// found here. A [strict](Self::strict) one fails wherever two readers could find different models.
#[derive(Debug)]
pub struct Form {
    delimiter: Delimiter,
    state: State,
    /// How many bytes were read.
    at: usize,
    /// What came of a line, or of the model with the delimiter behind it.
    kept: Vec<u8>,
    /// How many bytes came since the delimiter, up to the end of the part's header.
    header: usize,
    /// Whether the part is the model.
    is_model: bool,
    /// Where the content of the part begins.
    content: usize,
    model: Option<(String, Range<usize>)>,
    strict: Option<Strict>,
}

/// What a strict one knows beside.
#[derive(Debug)]
struct Strict {
    /// Of the form as a whole.
    charset: Charset,
    part: PartHeader,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In front of the first delimiter.
    Preamble,
    /// In the line of a delimiter, behind it.
    Delimiter,
    /// In the header of a part.
    Header,
    /// In its content.
    Content,
    /// Behind the last delimiter.
    Epilogue,
    /// Where no form can be read.
    Unreadable,
}

// === impl Form ===

impl Form {
    /// For the form that these headers announce; none where they announce none.
    #[must_use]
    pub fn new(headers: &HeaderMap) -> Option<Self> {
        let boundary = boundary(headers.get(CONTENT_TYPE)?.as_bytes())?;
        Some(Self {
            delimiter: Delimiter::new(&boundary),
            state: State::Preamble,
            at: 0,
            kept: Vec::new(),
            header: 0,
            is_model: false,
            content: 0,
            model: None,
            strict: None,
        })
    }

    /// As [`new`](Self::new), for one that fails wherever two readers could read the form differently.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`] where the headers could be read differently.
    pub fn strict(headers: &HeaderMap) -> Result<Option<Self>, Error> {
        let Some(mut form) = Self::new(headers) else { return Ok(None) };
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let charset = match (types.next(), types.next()) {
            (Some(one), None) => strict::check_content_type(one.as_bytes()),
            _ => Err("it has more than one content type"),
        };
        form.strict = Some(Strict { charset: charset.map_err(doubtful)?, part: PartHeader::new() });
        Ok(Some(form))
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`] where a second model comes, and, of a strict one, where two readers could read the form
    /// differently.
    pub fn read(&mut self, data: &[u8]) -> Result<(), Error> {
        let mut rest = data;
        while !rest.is_empty() {
            let read = match self.state {
                State::Preamble | State::Content => self.read_content(rest)?,
                State::Delimiter | State::Header => self.read_line(rest)?,
                State::Epilogue => return self.read_epilogue(rest),
                State::Unreadable => return Ok(()),
            };
            rest = &rest[read..];
        }
        Ok(())
    }

    /// The form is over.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`] where a strict one has no last delimiter.
    pub fn finish(&self) -> Result<(), Error> {
        if self.is_over() { Ok(()) } else { self.doubt("it ends without its last delimiter") }
    }

    /// The model, and where in the form its name stands.
    #[must_use]
    pub fn model(&self) -> Option<(&str, Range<usize>)> {
        self.model.as_ref().map(|(model, place)| (&**model, place.clone()))
    }

    /// Whether there are no more parts to be read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Epilogue | State::Unreadable)
    }

    /// Goes on to the end of a delimiter; gives back how many bytes that were.
    fn read_content(&mut self, data: &[u8]) -> Result<usize, Error> {
        let found = self.delimiter.find(data);
        let read = found.map_or(data.len(), |found| found.end);
        self.at += read;
        if self.is_model && self.state == State::Content {
            if self.kept.len() + read > MAX_MODEL + self.delimiter.len() {
                self.doubt("the model's name is too long")?;
                self.enter(State::Unreadable);
                return Ok(read);
            }
            self.kept.extend_from_slice(&data[..read]);
        }
        let Some(Found { before, .. }) = found else { return Ok(read) };
        let start = self.at - self.delimiter.len();
        let is_first = self.state == State::Preamble;
        // RFC 2046, section 5.1.1: the line break in front of a delimiter is a part of it.
        let is_strict =
            if is_first { before == Ending::Empty } else { before == Ending::CrLf && start > self.content };
        if !is_strict {
            self.doubt(if is_first {
                "bytes stand in front of its first delimiter"
            } else {
                "a delimiter in it does not follow a line break of its own, of CR and LF"
            })?;
        }
        if before.ends_line() {
            if !is_first {
                self.end_part(start)?;
            }
            self.enter(State::Delimiter);
        }
        Ok(read)
    }

    /// The part is over; a delimiter begins at `end`.
    fn end_part(&mut self, end: usize) -> Result<(), Error> {
        if let Some(strict) = &self.strict {
            let length = end.saturating_sub(self.content + b"\r\n".len());
            strict.part.check_length(length).map_err(doubtful)?;
        }
        if !self.is_model {
            return Ok(());
        }
        let content = self.kept.get(..end - self.content).unwrap_or_default();
        let content = content.strip_suffix(b"\n").unwrap_or_default();
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let is_clear = |strict: &Strict| strict.charset.allows(content) && strict.part.allows_text(content);
        let text = std::str::from_utf8(content).ok().filter(|_| self.strict.as_ref().is_none_or(is_clear));
        match text {
            Some(text) => self.model = Some((text.to_owned(), self.content..self.content + content.len())),
            None => self.doubt("the model's name is in another charset than UTF-8")?,
        }
        Ok(())
    }

    /// Goes on to the end of a line; gives back how many bytes that were.
    fn read_line(&mut self, data: &[u8]) -> Result<usize, Error> {
        // The last delimiter may have no end of a line behind it.
        let few = if self.state == State::Delimiter { 2_usize.saturating_sub(self.kept.len()) } else { 0 };
        let data = if few > 0 { &data[..data.len().min(few)] } else { data };
        let read = memchr::memchr(b'\n', data).map_or(data.len(), |at| at + 1);
        looked_at(read);
        self.at += read;
        self.header += read;
        if self.header > if self.strict.is_some() { MAX_STRICT_HEADER } else { MAX_HEADER } {
            // Where a model was found already, another one could be hidden in it.
            if self.model.is_some() || self.strict.is_some() {
                return Err(Error::new(
                    ErrorKind::BadRequest,
                    "a part of the form has a header that is too long",
                )
                .with_code("invalid_form")
                .with_param("model"));
            }
            self.enter(State::Unreadable);
            return Ok(read);
        }
        self.kept.extend_from_slice(&data[..read]);
        if self.state == State::Delimiter && self.kept == b"--" {
            self.enter(State::Epilogue);
        } else if self.kept.last() == Some(&b'\n') {
            let line = std::mem::take(&mut self.kept);
            self.end_line(&line[..line.len() - 1])?;
            self.kept = line;
            self.kept.clear();
        }
        Ok(read)
    }

    /// Takes a line, without its line feed.
    fn end_line(&mut self, line: &[u8]) -> Result<(), Error> {
        if self.state == State::Delimiter {
            if line != b"\r" {
                self.doubt("something stands behind a delimiter, in its line")?;
            }
            if let Some(strict) = &mut self.strict {
                strict.part = PartHeader::new();
            }
            self.is_model = false;
            self.state = State::Header;
            return Ok(());
        }
        let is_end = matches!(line, b"" | b"\r");
        if let Some(Strict { part, .. }) = &mut self.strict {
            let is_model = if is_end { part.end(line).map(Some) } else { part.line(line).map(|()| None) };
            self.is_model = is_model.map_err(doubtful)?.unwrap_or_default();
        } else if !is_end {
            self.is_model |= names_model(line);
        }
        if is_end {
            if self.is_model && self.model.is_some() {
                return Err(Error::new(ErrorKind::BadRequest, "the form has the part \"model\" twice")
                    .with_code("duplicate_key")
                    .with_param("model"));
            }
            self.enter(State::Content);
            self.content = self.at;
            // The content may be nothing.
            self.delimiter.restart(Ending::CrLf);
        }
        Ok(())
    }

    fn read_epilogue(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.strict.is_some() {
            let end = data.len().min(b"\r\n".len() + 1);
            self.kept.extend_from_slice(&data[..end]);
            if !b"\r\n".starts_with(&self.kept) {
                return self.doubt("bytes stand behind its last delimiter");
            }
        }
        Ok(())
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.kept.clear();
        self.header = 0;
    }

    /// Fails where it is strict.
    fn doubt(&self, why: Doubt) -> Result<(), Error> {
        if self.strict.is_some() { Err(doubtful(why)) } else { Ok(()) }
    }
}

fn doubtful(why: Doubt) -> Error {
    let message = format!(
        "two readers could find different models in this form ({why}), and the client key reaches certain models only"
    );
    Error::new(ErrorKind::BadRequest, message)
        .with_code("ambiguous_form")
        .with_setting("client_keys.allowed_models")
}

/// Whether a line of a part's header says that it is the part `model`.
fn names_model(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    let (name, value) = line.split_at(colon);
    name.trim_ascii().eq_ignore_ascii_case(b"content-disposition")
        && Parameters::of(&value[1..])
            .1
            .any(|parameter| parameter.name == b"name" && parameter.value == b"model")
}

fn boundary(content_type: &[u8]) -> Option<Vec<u8>> {
    let (media_type, mut parameters) = Parameters::of(content_type);
    if !media_type.eq_ignore_ascii_case(b"multipart/form-data") {
        return None;
    }
    let boundary = parameters.find(|parameter| parameter.name == b"boundary")?.value;
    // RFC 2046, section 5.1.1: 1 to 70 characters. Somebody may be generous.
    (1..=200).contains(&boundary.len()).then_some(boundary)
}

/// So many bytes were looked at; tests count them.
#[cfg(not(test))]
fn looked_at(_bytes: usize) {}

#[cfg(test)]
mod tests;
