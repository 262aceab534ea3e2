//! The keys that clients show: kept as digests, compared in constant time.

use std::{fmt, sync::Arc};

use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use towergate_core::{access::ClientAccess, label::Label};

/// A client's key, of which only the SHA-256 digest is kept, and what it reaches. Two are equal where the
/// key is.
#[derive(Clone)]
pub struct ClientKey {
    digest: [u8; 32],
    access: Option<Arc<ClientAccess>>,
}

/// The keys that let a client in, each with a name. Cheap to clone.
#[derive(Clone)]
pub struct ClientKeys(Arc<[(Label, ClientKey)]>);

/// Why there are no client keys to be had of a configuration. Says nothing of any key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidClientKeys {
    /// A key is nothing but white space.
    EmptyKey,
    /// A key holds a character that a header field cannot: no client could send it.
    NotAHeaderValue,
    /// A digest is not 64 hex digits.
    NotSha256,
    /// Two names have the same key: it would not be known who came in.
    SameKey(Label, Label),
    /// There is not a single key: nobody could come in.
    NoKeys,
}

// === impl ClientKey ===

impl ClientKey {
    /// Of the key itself, which is hashed at once; white space around it is not part of it.
    ///
    /// # Errors
    ///
    /// An empty key, or one that cannot stand in a header.
    pub fn new(key: &SecretString) -> Result<Self, InvalidClientKeys> {
        let key = key.expose_secret().trim();
        if key.is_empty() {
            return Err(InvalidClientKeys::EmptyKey);
        }
        HeaderValue::from_str(key).map_err(|_| InvalidClientKeys::NotAHeaderValue)?;
        Ok(Self::digest(key.as_bytes()))
    }

    /// Of the key's SHA-256, as 64 hex digits: what `printf %s "$KEY" | sha256sum` prints.
    ///
    /// # Errors
    ///
    /// Anything but 64 hex digits.
    pub fn from_sha256(hex: &str) -> Result<Self, InvalidClientKeys> {
        let digits: Vec<u8> = hex
            .trim()
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
            .collect::<Option<_>>()
            .ok_or(InvalidClientKeys::NotSha256)?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
        match <[u8; 32]>::try_from(bytes) {
            Ok(digest) if digits.len() == 64 => Ok(Self { digest, access: None }),
            _ => Err(InvalidClientKeys::NotSha256),
        }
    }

    /// What it reaches. Default: everything.
    #[must_use]
    pub fn access(mut self, access: ClientAccess) -> Self {
        self.access = Some(access).filter(|access| !access.is_all()).map(Arc::new);
        self
    }

    /// What it reaches, where that is not everything.
    pub(super) fn restriction(&self) -> Option<&Arc<ClientAccess>> {
        self.access.as_ref()
    }

    fn digest(key: &[u8]) -> Self {
        Self { digest: Sha256::digest(key).into(), access: None }
    }
}

impl PartialEq for ClientKey {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClientKey {}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey([redacted])")
    }
}

// === impl ClientKeys ===

impl ClientKeys {
    /// The keys, each under the name of its client. One name may have several keys, so that a key
    /// can be rotated.
    ///
    /// # Errors
    ///
    /// No key at all, or the same key twice.
    pub fn new(keys: impl IntoIterator<Item = (Label, ClientKey)>) -> Result<Self, InvalidClientKeys> {
        let keys: Vec<(Label, ClientKey)> = keys.into_iter().collect();
        for (at, (name, key)) in keys.iter().enumerate() {
            if let Some((other, _)) = keys.iter().skip(at + 1).find(|(_, other)| other == key) {
                return Err(InvalidClientKeys::SameKey(name.clone(), other.clone()));
            }
        }
        if keys.is_empty() { Err(InvalidClientKeys::NoKeys) } else { Ok(Self(keys.into())) }
    }

    /// Whose key this is. Takes the same time whichever key it is, and however much of it is right.
    pub(super) fn find(&self, key: &[u8]) -> Option<&(Label, ClientKey)> {
        let digest = ClientKey::digest(key).digest;
        let mut found = Choice::from(0);
        let mut place = 0u64;
        for (at, (_, known)) in (0u64..).zip(self.0.iter()) {
            let same = known.digest.ct_eq(&digest);
            place.conditional_assign(&at, same);
            found |= same;
        }
        let place = usize::try_from(place).ok().filter(|_| found.into())?;
        self.0.get(place)
    }
}

impl fmt::Debug for ClientKeys {
    /// The names alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

// === impl InvalidClientKeys ===

impl fmt::Display for InvalidClientKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyKey => f.write_str("a client key is empty"),
            Self::NotAHeaderValue => {
                f.write_str("a client key holds a character that no HTTP header may hold")
            }
            Self::NotSha256 => f.write_str("the SHA-256 of a client key is not 64 hex digits"),
            Self::SameKey(one, other) => write!(f, "the clients {one:?} and {other:?} have the same key"),
            Self::NoKeys => f.write_str("client authentication is on, but there is no client key"),
        }
    }
}

impl std::error::Error for InvalidClientKeys {}
