//! The text form of client keys, as `TOWERGATE_CLIENT_KEYS` and a file of keys have it.

use secrecy::SecretString;
use towergate_core::label::Label;
use towergate_layers::client_auth::{ClientKey, ClientKeys, InvalidClientKeys};

/// A line that is no client key. Says which, and nothing of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("client key {line}: {source}")]
pub struct InvalidClientKeyLine {
    /// Which one, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub source: InvalidClientKeys,
}

/// Reads keys, one a line or separated by commas: `key`, `name=key` or `name=sha256:HEX`. Empty lines
/// and what follows a `#` at the beginning of a line do not count. A key without a name is called
/// `client-1`, `client-2` and so on.
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
            // Base64 ends in `=`; that is no name.
            Some((name, key)) if !key.trim_matches('=').is_empty() => (Label::new(name.trim()), key.trim()),
            _ => (Label::new(&format!("client-{line}")), entry),
        };
        let key = match key.strip_prefix("sha256:") {
            Some(digest) => ClientKey::from_sha256(digest),
            None => ClientKey::new(&SecretString::from(key)),
        };
        keys.push((name, key.map_err(|source| InvalidClientKeyLine { line, source })?));
    }
    let line = keys.len();
    ClientKeys::new(keys).map_err(|source| InvalidClientKeyLine { line, source })
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
        assert_eq!(names("YWJjZA=="), r#"{"client-1"}"#);
        assert_eq!(names(&format!("ci=sha256:{}", "0f".repeat(32))), r#"{"ci"}"#);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        let error = parse_client_keys("good\nname=sha256:canary").unwrap_err();
        assert_eq!(error.line, 2);
        assert!(!error.to_string().contains("canary"));
        assert_eq!(parse_client_keys(" \n#x").unwrap_err().source, InvalidClientKeys::NoKeys);
    }
}
