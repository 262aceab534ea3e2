//! How one byte of a secret may be written in somebody else's text.

/// How often a text may have been escaped again: JSON in JSON in JSON.
const NESTED: usize = 8;
/// The longest character reference of HTML that is read, its nesting included.
const REFERENCE: usize = 24;

/// What stands at the beginning of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A byte, in an escape of this length.
    Escaped(u8, usize),
    /// The beginning of an escape; more has to come.
    Open,
    /// No escape.
    Plain,
}

/// Bytes that an escape begins with.
pub(super) const INTRODUCERS: [u8; 3] = [b'\\', b'%', b'&'];

/// Reads one escape: of JSON and most programming languages (`\/`, `\"`, `\u0073`, `\x73`), of URLs (`%73`), or of
/// HTML (`&#x73;`, `&#115;`, `&amp;`); each may have been escaped again in its own way. ASCII alone: keys are. Where
/// the text `is_all` there is, nothing is open.
pub(super) fn unit(text: &[u8], is_all: bool) -> Unit {
    let (unit, at_least) = match text.first() {
        Some(b'\\') => backslash(text),
        Some(b'%') => percent(text),
        Some(b'&') => reference(text),
        _ => return Unit::Plain,
    };
    if is_all && unit == Unit::Open { at_least } else { unit }
}

/// What the text begins with, and what that is if nothing follows.
fn backslash(text: &[u8]) -> (Unit, Unit) {
    let run = text.iter().take(NESTED).take_while(|byte| **byte == b'\\').count();
    let itself = if run > 1 { Unit::Escaped(b'\\', 2) } else { Unit::Plain };
    let unit = match text.get(run) {
        None if run < NESTED => Unit::Open,
        Some(b'u') => hex(text, run + 1, 4),
        Some(b'x') => hex(text, run + 1, 2),
        Some(byte @ (b'/' | b'"' | b'\'')) => Unit::Escaped(*byte, run + 1),
        _ => itself,
    };
    (unit, itself)
}

fn percent(text: &[u8]) -> (Unit, Unit) {
    let mut at = 1;
    let mut itself = Unit::Plain;
    // `%25` is a percent sign, which may begin another one.
    while at < NESTED && text.get(at..at + 2) == Some(b"25") {
        at += 2;
        itself = Unit::Escaped(b'%', at);
        match hex(text, at, 2) {
            Unit::Escaped(..) => {}
            Unit::Open => return (Unit::Open, itself),
            Unit::Plain => return (itself, itself),
        }
    }
    (hex(text, at, 2), itself)
}

fn reference(text: &[u8]) -> (Unit, Unit) {
    let window = &text[..text.len().min(REFERENCE)];
    let mut name = &window[1..];
    let mut itself = Unit::Plain;
    // `&amp;` is an ampersand, which may begin another one.
    while let Some(inner) = name.strip_prefix(b"amp;".as_slice()) {
        name = inner;
        itself = Unit::Escaped(b'&', window.len() - inner.len());
    }
    let Some(end) = name.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'#') else {
        return (if window.len() < REFERENCE { Unit::Open } else { itself }, itself);
    };
    let byte = match &name[..end] {
        _ if name[end] != b';' => None,
        b"lt" => Some(b'<'),
        b"gt" => Some(b'>'),
        b"quot" => Some(b'"'),
        b"apos" => Some(b'\''),
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        _ => None,
    };
    let length = window.len() - name.len() + end + 1;
    (byte.map_or(itself, |byte| Unit::Escaped(byte, length)), itself)
}

/// So many hexadecimal digits, from `at` on, as the end of an escape.
fn hex(text: &[u8], at: usize, digits: usize) -> Unit {
    let rest = text.get(at..).unwrap_or_default();
    let found = &rest[..rest.len().min(digits)];
    if !found.iter().all(u8::is_ascii_hexdigit) {
        return Unit::Plain;
    }
    if found.len() < digits {
        return Unit::Open;
    }
    number(found, 16).map_or(Unit::Plain, |byte| Unit::Escaped(byte, at + digits))
}

fn number(digits: &[u8], radix: u32) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    let code = u32::from_str_radix(digits, radix).ok()?;
    u8::try_from(code).ok().filter(u8::is_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_a_byte_is_read() {
        for (text, byte) in [
            (r"\/", b'/'),
            (r"\\\/", b'/'),
            (r#"\""#, b'"'),
            (r"\u0073", b's'),
            (r"\\u002D", b'-'),
            (r"\\\\u002d", b'-'),
            (r"\x2d", b'-'),
            (r"\\", b'\\'),
            ("%73", b's'),
            ("%2d", b'-'),
            ("%252D", b'-'),
            ("%25252D", b'-'),
            ("&#115;", b's'),
            ("&#x2f;", b'/'),
            ("&#x0002F;", b'/'),
            ("&amp;", b'&'),
            ("&amp;#47;", b'/'),
            ("&amp;amp;#47;", b'/'),
            ("&quot;", b'"'),
        ] {
            let escaped = Unit::Escaped(byte, text.len());
            assert_eq!(unit(text.as_bytes(), true), escaped, "{text}");
            assert_eq!(unit(format!("{text}!").as_bytes(), false), escaped, "{text}");
        }
    }

    #[test]
    fn what_has_not_ended_is_waited_for_and_what_is_none_is_not() {
        for open in [r"\", r"\u00", r"\\\", r"\x", "%", "%2", "%25", "&", "&#1", "&am", "&amp;", "&amp;#x"] {
            assert_eq!(unit(open.as_bytes(), false), Unit::Open, "{open}");
            assert_ne!(unit(open.as_bytes(), true), Unit::Open, "{open}");
        }
        let plain = [
            "",
            "s",
            r"\n",
            r"\u00g",
            r"\u0444",
            r"\xe4",
            "%zz",
            "%e4",
            "& ",
            "&copy;",
            "&#9999;",
            "&#x;",
            "&a very long one",
        ];
        for plain in plain {
            assert_eq!(unit(plain.as_bytes(), false), Unit::Plain, "{plain}");
        }
        assert_eq!(unit(b"%25zz", false), Unit::Escaped(b'%', 3));
        assert_eq!(unit(&[b'\\'; 100], false), Unit::Escaped(b'\\', 2));
        assert_eq!(unit(&[b'&', b'a'].repeat(30), false), Unit::Plain);
        assert_eq!(unit(&[&b"&"[..], &[b'a'; 100]].concat(), false), Unit::Plain);
    }
}
