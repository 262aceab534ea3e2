//! What a form must be like, so that all readers read the same in it.
//!
//! The differences are those of Go's `mime/multipart`, python-multipart under Starlette, Werkzeug, Node's busboy and undici,
//! cpp-httplib, PHP and Rack. What clients send passes: curl, the SDKs of OpenAI over httpx and undici, Go, .NET, OkHttp.

use super::{
    super::names::{names_models, plain},
    parameters::{Parameters, is_token},
};

/// Why two readers could read a form differently.
pub(super) type Doubt = &'static str;

const BARE_LINE_FEED: Doubt = "a line of a part's header ends in a line feed alone";

/// The media type and the parameters of a form's `Content-Type`. Gives its charset back.
pub(super) fn check_content_type(value: &[u8]) -> Result<Charset, Doubt> {
    let (media_type, mut parameters) = Parameters::of(value);
    if media_type != b"multipart/form-data" {
        return Err("its content type is not in lower case");
    }
    let mut seen = Vec::new();
    let mut charset = Charset::Utf8;
    for parameter in parameters.by_ref() {
        match &*parameter.name {
            b"boundary" if parameter.is_escaped => return Err("the boundary is escaped"),
            b"boundary" if !is_boundary(&parameter.value) => {
                return Err("the boundary has characters that no boundary has");
            }
            b"charset" => {
                charset = Charset::of(&parameter.value).ok_or("it is in another charset than UTF-8")?;
            }
            b"boundary" => {}
            _ => return Err("the content type has other parameters than a boundary and a charset"),
        }
        once(&mut seen, parameter.name, "the content type has a parameter twice, or many")?;
    }
    if parameters.is_sound() { Ok(charset) } else { Err("the content type's parameters are malformed") }
}

/// RFC 2046, section 5.1.1; without the space.
fn is_boundary(boundary: &[u8]) -> bool {
    const OTHERS: &[u8] = b"'()+_,-./:=?";
    (1..=70).contains(&boundary.len())
        && boundary.iter().all(|byte| byte.is_ascii_alphanumeric() || OTHERS.contains(byte))
}

/// In which charset the texts of a form are. In all of these, ASCII is ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charset {
    /// Also where none is said.
    Utf8,
    Other,
}

/// What the header of a part says.
#[derive(Debug)]
pub(super) struct PartHeader {
    name: Option<Vec<u8>>,
    has_file_name: bool,
    media_type: Option<Vec<u8>>,
    /// None where it is said in a way that not all readers understand, or one that changes ASCII.
    charset: Option<Charset>,
    is_encoded: bool,
    length: Option<usize>,
    /// Fields that came.
    seen: Vec<Vec<u8>>,
}

// === impl Charset ===

impl Charset {
    fn of(value: &[u8]) -> Option<Self> {
        match &*value.to_ascii_lowercase() {
            b"utf-8" | b"utf8" => Some(Self::Utf8),
            b"us-ascii" | b"ascii" | b"iso-8859-1" | b"latin1" | b"windows-1252" => Some(Self::Other),
            _ => None,
        }
    }

    /// Whether a text is the same in this charset and in UTF-8.
    pub(super) fn allows(self, text: &[u8]) -> bool {
        self == Self::Utf8 || text.is_ascii()
    }
}

// === impl PartHeader ===

impl PartHeader {
    pub(super) fn new() -> Self {
        Self {
            name: None,
            has_file_name: false,
            media_type: None,
            charset: Some(Charset::Utf8),
            is_encoded: false,
            length: None,
            seen: Vec::new(),
        }
    }

    /// Takes a line, without its line feed.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Doubt> {
        let line = line.strip_suffix(b"\r").ok_or(BARE_LINE_FEED)?;
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err("a part's header has a folded line");
        }
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err("a part's header has a control character");
        }
        let colon = memchr::memchr(b':', line).ok_or("a part's header has a line that is no field")?;
        let (name, value) = (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
        if !is_token(&name) {
            return Err("a part's header has a field without a proper name");
        }
        match &*name {
            b"content-disposition" => self.disposition(value)?,
            b"content-type" => self.content_type(value),
            b"content-transfer-encoding" => {
                let is_plain = |coding: &[u8]| value.eq_ignore_ascii_case(coding);
                self.is_encoded = ![&b"7bit"[..], b"8bit", b"binary"].into_iter().any(is_plain);
            }
            b"content-length" => {
                let length = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
                self.length = length.and_then(|text| text.parse().ok());
                self.length.ok_or("a part's length is no number")?;
            }
            // Nobody reads it.
            _ => return Ok(()),
        }
        once(&mut self.seen, name, "a part's header has a field twice")
    }

    fn disposition(&mut self, value: &[u8]) -> Result<(), Doubt> {
        let (disposition, mut parameters) = Parameters::of(value);
        if !disposition.eq_ignore_ascii_case(b"form-data") {
            return Err("a part has another disposition than form-data");
        }
        let mut seen = Vec::new();
        let (mut count, mut may_hide) = (0, false);
        for parameter in parameters.by_ref() {
            count += occurrences_of_name(&parameter.name);
            match &*parameter.name {
                b"name" if parameter.is_escaped => return Err("a part's name is escaped"),
                b"name" => self.name = Some(parameter.value),
                b"filename" | b"filename*" => {
                    self.has_file_name = true;
                    // Some readers end the quotes at an escaped one, or the parameter at a semicolon in quotes.
                    may_hide |= parameter.is_escaped || parameter.value.contains(&b';');
                }
                name if name.contains(&b'*') => return Err("a part's disposition has an extended parameter"),
                _ => may_hide |= parameter.is_escaped || parameter.value.contains(&b';'),
            }
            once(&mut seen, parameter.name, "a part's disposition has a parameter twice, or many")?;
        }
        if !parameters.is_sound() {
            return Err("a part's disposition is malformed");
        }
        if may_hide && occurrences_of_name(value) > count {
            return Err("a part's file name could hold another name for the part");
        }
        Ok(())
    }

    fn content_type(&mut self, value: &[u8]) {
        let (media_type, mut parameters) = Parameters::of(value);
        self.media_type = Some(media_type.to_ascii_lowercase());
        let charsets: Vec<_> = parameters.by_ref().filter(|it| it.name.starts_with(b"charset")).collect();
        self.charset = match &*charsets {
            [] => Some(Charset::Utf8),
            [one] if one.name == b"charset" => Charset::of(&one.value),
            _ => None,
        }
        .filter(|_| parameters.is_sound());
    }

    /// The header is over, with this line, without its line feed. Says whether the part is the model.
    pub(super) fn end(&self, line: &[u8]) -> Result<bool, Doubt> {
        if line != b"\r" {
            return Err(BARE_LINE_FEED);
        }
        let name = self.name.as_deref().ok_or("a part has no name")?;
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"%\\;=".contains(byte);
        if name.is_empty() || !name.iter().all(is_plain) {
            return Err("a part's name has characters that readers decode differently");
        }
        if self.media_type.as_ref().is_some_and(|media_type| media_type.starts_with(b"multipart/")) {
            return Err("a part is a form itself");
        }
        if name == b"_charset_" {
            return Err("it says in a part which charset it is in");
        }
        let is_model = name == b"model";
        if !is_model && std::str::from_utf8(name).is_ok_and(|name| names_models(&plain(name))) {
            return Err("a part beside \"model\" names a model");
        }
        if is_model && self.has_file_name {
            return Err("the part \"model\" is a file");
        }
        if is_model && self.media_type.as_ref().is_some_and(|media_type| media_type != b"text/plain") {
            return Err("the part \"model\" is no plain text");
        }
        if is_model && (self.is_encoded || self.charset.is_none()) {
            return Err("the part \"model\" is encoded, or in another charset than UTF-8");
        }
        Ok(is_model)
    }

    /// Whether a content of this length is what the header announces.
    pub(super) fn check_length(&self, length: usize) -> Result<(), Doubt> {
        match self.length {
            Some(said) if said != length => Err("a part has another length than its header says"),
            _ => Ok(()),
        }
    }

    /// Whether the text of the part is the same for all who read it.
    pub(super) fn allows_text(&self, text: &[u8]) -> bool {
        self.charset.is_some_and(|charset| charset.allows(text))
    }
}

/// How often a reader could see a parameter called `name`.
fn occurrences_of_name(text: &[u8]) -> usize {
    text.windows(4).filter(|word| word.eq_ignore_ascii_case(b"name")).count()
}

/// Fails at a second one, and where there are so many that looking for it would take long.
fn once(seen: &mut Vec<Vec<u8>>, name: Vec<u8>, doubt: Doubt) -> Result<(), Doubt> {
    const MANY: usize = 16;
    if seen.len() == MANY || seen.contains(&name) {
        return Err(doubt);
    }
    seen.push(name);
    Ok(())
}
