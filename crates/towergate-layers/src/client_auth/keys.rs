//! The keys that clients show: kept as digests, and found by their digest.
//!
//! A candidate is hashed once, whatever the number of keys, and its digest is looked up in a hash table. What the
//! time of a lookup depends on says nothing of a key: the place in the table follows from a hash of the digest under
//! a random key of this process (`RandomState`), and two digests are compared in constant time. A client that
//! measures could at most learn that two digests share a place. The digest itself is of a value that the client
//! chose, so hashing it reveals nothing that the client does not know.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use towergate_core::{access::ClientAccess, label::Label, memory::ClientMemory};

/// Bytes that a key may have; a longer candidate is not hashed. As long as the longest header field that common
/// proxies pass (nginx: 8 KiB), so that no key is refused that would arrive.
pub(super) const MAX_KEY_BYTES: usize = 8 * 1024;

/// A client's key, of which only the SHA-256 digest is kept, and what it reaches. Two are equal where the
/// key is.
#[derive(Clone)]
pub struct ClientKey {
    digest: KeyDigest,
    access: Option<Arc<ClientAccess>>,
}

/// The keys that let a client in, each with a name. Cheap to clone.
#[derive(Clone)]
pub struct ClientKeys {
    clients: Arc<HashMap<KeyDigest, Client>>,
    /// Whether they have more than one name.
    several: bool,
}

/// Whose key it is, and what it reaches where that is not everything.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: Label,
    pub(super) access: Option<Arc<ClientAccess>>,
    /// The same for all keys of one name.
    pub(super) memory: ClientMemory,
}

/// The SHA-256 of a key. Compared in constant time.
#[derive(Clone, Copy)]
struct KeyDigest([u8; 32]);

/// Why there are no client keys to be had of a configuration. Says nothing of any key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidClientKeys {
    /// A key is nothing but white space.
    EmptyKey,
    /// A key holds a character that a header field cannot: no client could send it.
    NotAHeaderValue,
    /// A key is longer than 8 KiB.
    TooLong,
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
    /// An empty key, one over 8 KiB, or one that cannot stand in a header.
    pub fn new(key: &SecretString) -> Result<Self, InvalidClientKeys> {
        let key = key.expose_secret().trim();
        if key.is_empty() {
            return Err(InvalidClientKeys::EmptyKey);
        }
        if key.len() > MAX_KEY_BYTES {
            return Err(InvalidClientKeys::TooLong);
        }
        HeaderValue::from_str(key).map_err(|_| InvalidClientKeys::NotAHeaderValue)?;
        Ok(Self { digest: KeyDigest::of(key.as_bytes()), access: None })
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
            Ok(digest) if digits.len() == 64 => Ok(Self { digest: KeyDigest(digest), access: None }),
            _ => Err(InvalidClientKeys::NotSha256),
        }
    }

    /// What it reaches. Default: everything.
    #[must_use]
    pub fn access(mut self, access: ClientAccess) -> Self {
        self.access = Some(access).filter(|access| !access.is_all()).map(Arc::new);
        self
    }
}

impl PartialEq for ClientKey {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClientKey {}

impl Hash for ClientKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

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
        let mut clients = HashMap::new();
        let mut memory = HashMap::<Label, ClientMemory>::new();
        for (name, ClientKey { digest, access }) in keys {
            match clients.entry(digest) {
                Entry::Vacant(entry) => {
                    let memory = memory.entry(name.clone()).or_default().clone();
                    entry.insert(Client { name, access, memory });
                }
                Entry::Occupied(entry) => {
                    return Err(InvalidClientKeys::SameKey(entry.get().name.clone(), name));
                }
            }
        }
        if clients.is_empty() {
            return Err(InvalidClientKeys::NoKeys);
        }
        Ok(Self { clients: Arc::new(clients), several: memory.len() > 1 })
    }

    /// The same keys, for clients that may have requests under way already: what these hold in memory counts on.
    #[must_use]
    pub fn in_place_of(&self, old: &Self) -> Self {
        let held: HashMap<&Label, &ClientMemory> =
            old.clients.values().map(|client| (&client.name, &client.memory)).collect();
        let clients = self.clients.iter().map(|(digest, Client { name, access, memory })| {
            let memory = held.get(name).copied().unwrap_or(memory).clone();
            (*digest, Client { name: name.clone(), access: access.clone(), memory })
        });
        Self { clients: Arc::new(clients.collect()), several: self.several }
    }

    /// Whether these are the keys of several clients.
    pub(super) fn are_of_several(&self) -> bool {
        self.several
    }

    /// Whose key this is. Costs one digest, however many keys there are, and none where it is too long for a key.
    pub(super) fn find(&self, key: &[u8]) -> Option<&Client> {
        let could_be = !key.is_empty() && key.len() <= MAX_KEY_BYTES;
        could_be.then(|| self.clients.get(&KeyDigest::of(key))).flatten()
    }
}

impl fmt::Debug for ClientKeys {
    /// The names alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&Label> = self.clients.values().map(|client| &client.name).collect();
        names.sort_unstable();
        f.debug_set().entries(names).finish()
    }
}

// === impl KeyDigest ===

impl KeyDigest {
    fn of(key: &[u8]) -> Self {
        #[cfg(test)]
        super::tests::DIGESTS.with(|digests| digests.set(digests.get() + 1));
        Self(Sha256::digest(key).into())
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(test)]
        super::tests::COMPARISONS.with(|comparisons| comparisons.set(comparisons.get() + 1));
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
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
            Self::TooLong => write!(f, "a client key is longer than {} KiB", MAX_KEY_BYTES / 1024),
            Self::NotSha256 => f.write_str("the SHA-256 of a client key is not 64 hex digits"),
            Self::SameKey(one, other) => write!(f, "the clients {one:?} and {other:?} have the same key"),
            Self::NoKeys => f.write_str("there is no client key: nobody could come in"),
        }
    }
}

impl std::error::Error for InvalidClientKeys {}
