//! [`Secret`]: one text that is looked for.

use std::{fmt, sync::Arc};

use secrecy::{ExposeSecret as _, SecretString};

use super::escape::{INTRODUCERS, Unit, unit};

/// A secret text that can be looked for. Cheap to clone; never printed.
#[derive(Clone)]
pub struct Secret(Arc<SecretString>);

/// What a text begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// The whole secret, in so many bytes.
    Whole(usize),
    /// The beginning of the secret; more of the text has to come.
    Open,
    /// Something else.
    No,
}

// === impl Secret ===

impl Secret {
    /// The shortest text, in bytes, that counts as a secret: 8. The words that are given to servers that need no key
    /// (`none`, `test`, `EMPTY`) are shorter; keys are longer.
    pub const SHORTEST: usize = 8;

    /// A text to look for; `None` where it is too short for that.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (text.len() >= Self::SHORTEST).then(|| Self(Arc::new(text.into())))
    }

    /// Whether a text quotes it. Costs a look at the length where the text is shorter.
    #[must_use]
    pub fn is_in(&self, text: &[u8]) -> bool {
        let mut rest = text;
        while rest.len() >= self.bytes().len() {
            let Some(at) = rest.iter().position(|byte| self.may_begin_with(*byte)) else { return false };
            rest = &rest[at..];
            if let Match::Whole(_) = self.matches(rest, true) {
                return true;
            }
            rest = &rest[1..];
        }
        false
    }

    /// Whether the secret, however it is written, may begin with this byte.
    pub(super) fn may_begin_with(&self, byte: u8) -> bool {
        self.bytes().first() == Some(&byte) || INTRODUCERS.contains(&byte)
    }

    /// Whether the text begins with the secret. Where the text `is_all` there is, nothing is open.
    pub(super) fn matches(&self, text: &[u8], is_all: bool) -> Match {
        let open = if is_all { Match::No } else { Match::Open };
        let secret = self.bytes();
        // First as it is: what looks like an escape may stand for itself.
        if text.starts_with(secret) {
            return Match::Whole(secret.len());
        }
        if secret.starts_with(text) {
            return open;
        }
        let mut at = 0;
        for &byte in secret {
            let rest = &text[at..];
            let Some(&raw) = rest.first() else { return open };
            at += match unit(rest, is_all) {
                Unit::Escaped(escaped, length) if escaped == byte => length,
                Unit::Open => return open,
                _ if raw == byte => 1,
                _ => return Match::No,
            };
        }
        Match::Whole(at)
    }

    fn bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

impl PartialEq for Secret {
    /// For lists of one's own secrets; the time that it takes tells of their content.
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}
