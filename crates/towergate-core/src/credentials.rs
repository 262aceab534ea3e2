//! Where a provider's key comes from.

use std::{fmt, sync::Arc};

use http::HeaderValue;
use secrecy::ExposeSecret as _;
/// What a key is kept in, so that nothing prints it.
pub use secrecy::SecretString;

use crate::redact::Secret;

/// A provider's key, ready to be sent. Cheap to clone; never printed.
#[derive(Clone)]
pub struct Credential(Arc<Inner>);

struct Inner {
    key: SecretString,
    bearer: HeaderValue,
    redactable: Option<Secret>,
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
        Ok(Self(Arc::new(Inner { key: key.into(), bearer, redactable: Secret::new(key) })))
    }

    /// The `Authorization` field, marked sensitive.
    #[must_use]
    pub fn bearer(&self) -> &HeaderValue {
        &self.0.bearer
    }

    /// The key itself.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.0.key
    }

    /// The key as what an upstream must not repeat; `None` where it is [too short](Secret::SHORTEST) for a secret.
    #[must_use]
    pub fn redactable(&self) -> Option<&Secret> {
        self.0.redactable.as_ref()
    }

    /// Whether both are clones of one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
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
        assert!(key.redactable().unwrap().is_in(b"bad key sk-canary!"));
        assert!(!key.redactable().unwrap().is_in(b"bad key"));
        assert!(Credential::try_from("none").unwrap().redactable().is_none());
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
