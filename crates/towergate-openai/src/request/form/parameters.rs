//! The parameters of a field such as `Content-Disposition`.

/// What stands behind the semicolons of a field's value (RFC 9110, section 5.6.6). Reads also what has not that grammar, as
/// others do.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    rest: &'a [u8],
    is_sound: bool,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    /// In lower case.
    pub(super) name: Vec<u8>,
    /// Without quotes and backslashes.
    pub(super) value: Vec<u8>,
    /// Whether there were backslashes.
    pub(super) is_escaped: bool,
}

// === impl Parameters ===

impl<'a> Parameters<'a> {
    /// What stands in front of the parameters, and the parameters.
    pub(super) fn of(value: &'a [u8]) -> (&'a [u8], Self) {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let (first, rest) = value.split_at(end);
        (first.trim_ascii(), Self { rest, is_sound: true })
    }

    /// Whether what was read has the grammar.
    pub(super) fn is_sound(&self) -> bool {
        self.is_sound
    }

    fn value(&mut self, value: &'a [u8]) -> (Vec<u8>, bool) {
        let start = value.trim_ascii_start();
        self.is_sound &= start.len() == value.len();
        if let Some(quoted) = start.strip_prefix(b"\"") {
            let (text, behind) = unquote(quoted);
            let is_closed = behind.is_some();
            self.rest = behind.unwrap_or_default();
            let is_escaped = quoted.len() - self.rest.len() != text.len() + usize::from(is_closed);
            self.is_sound &= is_closed && !text.iter().any(u8::is_ascii_control);
            return (text, is_escaped);
        }
        let end = memchr::memchr(b';', start).unwrap_or(start.len());
        let (text, behind) = start.split_at(end);
        let text = text.trim_ascii();
        self.is_sound &= is_token(text);
        self.rest = behind;
        (text.to_vec(), false)
    }
}

impl Iterator for Parameters<'_> {
    type Item = Parameter;

    fn next(&mut self) -> Option<Parameter> {
        loop {
            let semicolon = memchr::memchr(b';', self.rest);
            let (between, rest) = self.rest.split_at(semicolon.unwrap_or(self.rest.len()));
            self.is_sound &= between.trim_ascii().is_empty();
            self.rest = rest;
            semicolon?;
            let rest = rest[1..].trim_ascii_start();
            let end = rest.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(rest.len());
            let (name, value) = rest.split_at(end);
            self.is_sound &= is_token(name);
            let Some(value) = value.strip_prefix(b"=") else {
                self.is_sound = false;
                self.rest = value;
                continue;
            };
            let (value, is_escaped) = self.value(value);
            return Some(Parameter { name: name.trim_ascii().to_ascii_lowercase(), value, is_escaped });
        }
    }
}

/// The text up to the closing quote, and what stands behind that, where there is one.
fn unquote(quoted: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    let mut text = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return (text, quoted.get(at + 1..)),
            b'\\' => text.extend(bytes.next().map(|(_, byte)| *byte)),
            byte => text.push(*byte),
        }
    }
    (text, None)
}

/// RFC 9110, section 5.6.2.
pub(super) fn is_token(text: &[u8]) -> bool {
    const OTHERS: &[u8] = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || OTHERS.contains(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Name and value of each, and whether all is sound.
    fn read(value: &str) -> (Vec<(String, String, bool)>, bool) {
        let (_, mut parameters) = Parameters::of(value.as_bytes());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let all = parameters
            .by_ref()
            .map(|parameter| (text(parameter.name), text(parameter.value), parameter.is_escaped))
            .collect();
        (all, parameters.is_sound())
    }

    #[test]
    fn what_is_sound_is_told_from_what_is_read_all_the_same() {
        let one = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned(), false)];
        for value in ["f; name=a", "f;name=\"a\"", "f;  NAME=a ", "f ; name=\"a\" "] {
            assert_eq!(read(value), (one("name", "a"), true), "{value}");
        }
        assert_eq!(read("f; name=\"a;b=c\""), (one("name", "a;b=c"), true));
        assert_eq!(read("f; name=\"\""), (one("name", ""), true));
        assert_eq!(read("f"), (vec![], true));
        for value in [
            "f; name = a",
            "f; name= \"a\"",
            "f; name =\"a\"",
            "f; name=\"a",
            "f; name=\"a\"x",
            "f; name=\"a\";",
            "f;; name=a",
            "f; x; name=a",
        ] {
            assert_eq!(read(value), (one("name", "a"), false), "{value}");
        }
        assert_eq!(read("f; name=a b"), (one("name", "a b"), false));
        assert_eq!(read("f; name="), (one("name", ""), false));
        let (escaped, is_sound) = read(r#"f; name="m\"o\\del""#);
        assert_eq!(escaped, [("name".to_owned(), r#"m"o\del"#.to_owned(), true)]);
        assert!(is_sound);
    }

    proptest! {
        #[test]
        fn what_is_sound_is_what_it_says(
            all in prop::collection::vec(("[a-z]{1,5}[*]?", "[ -!#-\\[\\]-~]{0,8}"), 0..4),
        ) {
            let written: String = all.iter().map(|(name, value)| format!("; {name}=\"{value}\"")).collect();
            let expected: Vec<_> = all.into_iter().map(|(name, value)| (name, value, false)).collect();
            prop_assert_eq!(read(&format!("form-data{written}")), (expected, true));
        }

        #[test]
        fn no_bytes_panic(value in prop::collection::vec(prop_oneof![Just(b';'), Just(b'"'), Just(b'\\'), Just(b'='), any::<u8>()], 0..60)) {
            let (_, parameters) = Parameters::of(&value);
            parameters.for_each(drop);
        }
    }
}
