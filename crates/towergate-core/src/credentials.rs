//! Where a provider's key comes from.

use std::{fmt, sync::Arc};

use http::HeaderValue;
use secrecy::ExposeSecret as _;
/// What a key is kept in, so that nothing prints it.
pub use secrecy::SecretString;

/// A provider's key, ready to be sent. Cheap to clone; never printed.
#[derive(Clone)]
pub struct Credential {
    secret: Arc<SecretString>,
    bearer: HeaderValue,
}

/// Why a text is no key. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidCredential {
    /// Nothing but white space.
    Empty,
    /// It holds a character that a header field cannot (RFC 9110, section 5.5).
    NotAHeaderValue,
}

/// Gives the credential for an attempt. Asked once for each attempt, so that a rotated key is used
/// from the next attempt on.
///
/// Must not block: whatever fetches or watches does so elsewhere and leaves the result here.
pub trait CredentialSource: Send + Sync + 'static {
    /// The credential to use now; `None` where the upstream asks for none.
    fn credential(&self) -> Option<Credential>;
}

// === impl Credential ===

impl Credential {
    /// Makes a credential of a key; white space around it is not part of it.
    ///
    /// # Errors
    ///
    /// An empty key, or one that cannot stand in a header.
    pub fn new(key: &SecretString) -> Result<Self, InvalidCredential> {
        let key = key.expose_secret().trim();
        if key.is_empty() {
            return Err(InvalidCredential::Empty);
        }
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| InvalidCredential::NotAHeaderValue)?;
        bearer.set_sensitive(true);
        Ok(Self { secret: Arc::new(SecretString::from(key)), bearer })
    }

    /// The `Authorization` field, marked sensitive.
    #[must_use]
    pub fn bearer(&self) -> &HeaderValue {
        &self.bearer
    }

    /// The key itself.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// Whether a body holds the key: such a body must not reach a client.
    #[must_use]
    pub fn is_leaked_by(&self, body: &[u8]) -> bool {
        let key = self.secret.expose_secret().as_bytes();
        body.windows(key.len()).any(|window| window == key)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential([redacted])")
    }
}

/// As [`Credential::new`].
impl TryFrom<&str> for Credential {
    type Error = InvalidCredential;

    fn try_from(key: &str) -> Result<Self, InvalidCredential> {
        Self::new(&SecretString::from(key))
    }
}

/// As [`Credential::new`].
impl TryFrom<String> for Credential {
    type Error = InvalidCredential;

    fn try_from(key: String) -> Result<Self, InvalidCredential> {
        Self::new(&SecretString::from(key))
    }
}

impl CredentialSource for Option<Credential> {
    fn credential(&self) -> Option<Credential> {
        self.clone()
    }
}

impl CredentialSource for Credential {
    fn credential(&self) -> Option<Credential> {
        Some(self.clone())
    }
}

impl<C: CredentialSource + ?Sized> CredentialSource for Arc<C> {
    fn credential(&self) -> Option<Credential> {
        (**self).credential()
    }
}

// === impl InvalidCredential ===

impl fmt::Display for InvalidCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the key is empty",
            Self::NotAHeaderValue => "the key holds a character that no HTTP header may hold",
        })
    }
}

impl std::error::Error for InvalidCredential {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_trimmed_and_never_printed() {
        let key = Credential::new(&SecretString::from(" sk-canary\n")).unwrap();
        assert_eq!(key.bearer(), "Bearer sk-canary");
        assert!(!format!("{key:?} {:?}", key.bearer()).contains("canary"));
        assert!(key.is_leaked_by(b"bad key sk-canary!"));
        assert!(!key.is_leaked_by(b"bad key"));
        assert_eq!(Credential::try_from("sk-canary".to_owned()).unwrap().bearer(), key.bearer());
    }

    #[test]
    fn what_is_no_key_is_said_without_the_key() {
        let error = |text: &str| Credential::new(&SecretString::from(text)).unwrap_err();
        assert_eq!(error(" \n"), InvalidCredential::Empty);
        assert_eq!(error("sk-\ncanary"), InvalidCredential::NotAHeaderValue);
        assert!(!error("sk-\ncanary").to_string().contains("canary"));
    }
}
