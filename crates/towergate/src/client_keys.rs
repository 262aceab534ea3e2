//! The text form of client keys, as `TOWERGATE_CLIENT_KEYS` and a file of keys have it.

use secrecy::SecretString;
use towergate_core::label::Label;
use towergate_layers::client_auth::{ClientKey, ClientKeys, InvalidClientKeys};

/// A line that is no client key. Says which, and nothing of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{source}", .line.map(|line| format!("client key {line}: ")).unwrap_or_default())]
pub struct InvalidClientKeyLine {
    /// Which one, counted from 1; `None` where all together are meant.
    pub line: Option<usize>,
    /// What is wrong.
    pub source: InvalidClientKeys,
}

/// Reads keys, one a line or separated by commas: `key`, `name=key` or `name=sha256:HEX`. Empty lines
/// and what follows a `#` at the beginning of a line do not count. A key without a name is called
/// `client-1`, `client-2` and so on. A text that ends in `=` is a key where it is Base64 of 24 characters or more, and
/// else a name whose key is missing, as `name=${KEY}` leaves it where the variable is empty.
///
/// ```
/// let keys = towergate::parse_client_keys("alice=tg-1, bob=tg-2")?;
/// # Ok::<(), towergate::InvalidClientKeyLine>(())
/// ```
///
/// # Errors
///
/// The first line that is no key, or no key at all.
pub fn parse_client_keys(text: &str) -> Result<ClientKeys, InvalidClientKeyLine> {
    let mut keys = Vec::new();
    let entries = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    for (at, entry) in entries.enumerate() {
        let line = at + 1;
        let (name, key) = match entry.split_once('=') {
            Some((name, key)) if !is_padded_base64(entry) => {
                let is_missing = key.bytes().all(|byte| byte == b'=');
                (Label::new(name.trim()), if is_missing { "" } else { key.trim() })
            }
            _ => (Label::new(&format!("client-{line}")), entry),
        };
        let key = match key.strip_prefix("sha256:") {
            Some(digest) => ClientKey::from_sha256(digest),
            None => ClientKey::new(&SecretString::from(key)),
        };
        keys.push((name, key.map_err(|source| InvalidClientKeyLine { line: Some(line), source })?));
    }
    ClientKeys::new(keys).map_err(|source| InvalidClientKeyLine { line: None, source })
}

/// Whether a text is Base64 (RFC 4648, both alphabets) of at least 16 bytes, with its padding.
fn is_padded_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
    (1..=2).contains(&(text.len() - digits.len()))
        && text.len() >= 24
        && text.len().is_multiple_of(4)
        && digits.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> String {
        format!("{:?}", parse_client_keys(text).unwrap())
    }

    #[test]
    fn names_are_given_or_made() {
        assert_eq!(names("one,two"), r#"{"client-1", "client-2"}"#);
        assert_eq!(names("# keys\nalice=one\n\nbob = two\n"), r#"{"alice", "bob"}"#);
        assert_eq!(names("MDEyMzQ1Njc4OWFiY2RlZg=="), r#"{"client-1"}"#);
        assert_eq!(names("ci=MDEyMzQ1Njc4OWFiY2RlZg=="), r#"{"ci"}"#);
        assert_eq!(names(&format!("ci=sha256:{}", "0f".repeat(32))), r#"{"ci"}"#);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        let error = parse_client_keys("good\nname=sha256:canary").unwrap_err();
        assert_eq!(error.line, Some(2));
        assert!(!error.to_string().contains("canary"));
        for empty in ["", " \n#x", ",", " , ,\n"] {
            let error = parse_client_keys(empty).unwrap_err();
            assert_eq!((error.line, &error.source), (None, &InvalidClientKeys::NoKeys), "{empty:?}");
            assert_eq!(error.to_string(), "there is no client key: nobody could come in");
        }
    }

    #[test]
    fn a_name_without_a_key_is_no_key() {
        for text in ["alice=", "alice= ", "bob=", "good,alice=", "alice==", "alice=sha256:"] {
            let error = parse_client_keys(text).unwrap_err();
            assert_ne!(error.source, InvalidClientKeys::NoKeys, "{text:?}");
        }
        assert_eq!(parse_client_keys("alice=").unwrap_err().source, InvalidClientKeys::EmptyKey);
    }
}
