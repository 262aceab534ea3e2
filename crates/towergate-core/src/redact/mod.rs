//! Secrets that an upstream knows, and what it says of them: they must not come back.
//!
//! Whoever sends a request upstream gives it secrets: the provider's key, fields such as a gateway's token, a proxy's
//! password. An error may quote them. [`Secrets`] are those of a provider, a [`Redaction`] adds the key of one
//! attempt, and a [`Redactor`] masks them in a body that comes in pieces.
//!
//! **What is found.** A secret as it is, and with any of its characters escaped as JSON, URLs and HTML do it, even
//! several times over; over any number of pieces. Not what is encoded as a whole (a hash, another base64 than the one
//! that was sent), nor a part of a secret, such as the last four characters that OpenAI shows.
//!
//! **What is too short.** A secret under [`Secret::SHORTEST`] bytes is looked for nowhere: servers that need no key are
//! given words such as `none`, which would be cut out of every text.
//!
//! **The mask** has the length of what it stands for, so that no length that was announced changes: `[redacted]`, and
//! asterisks for the rest.
//!
//! ```
//! use towergate_core::{credentials::Credential, redact::{Redaction, Secrets}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = Credential::try_from("sk-very/secret")?;
//! let redaction = Redaction::new(Some(key), Secrets::default().into());
//! let said = br#"{"error":{"message":"wrong key sk-very\/secret"}}"#;
//! assert_eq!(
//!     redaction.redact(said.as_slice().into()),
//!     r#"{"error":{"message":"wrong key [redacted]*****"}}"#,
//! );
//! # Ok(())
//! # }
//! ```

mod escape;
mod redactor;
mod secret;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

pub use self::{redactor::Redactor, secret::Secret};
use crate::credentials::{Credential, CredentialSource};

/// The secrets of a provider, beside the key that an attempt sends.
#[derive(Clone, Default)]
pub struct Secrets {
    fixed: Vec<Secret>,
    keys: Vec<Arc<dyn CredentialSource>>,
}

/// What nobody may be told of a response to one attempt. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redaction {
    sent: Option<Credential>,
    others: Arc<Secrets>,
}

// === impl Secrets ===

impl Secrets {
    /// Adds a text. One that is shorter than [`Secret::SHORTEST`], or is there already, changes nothing.
    pub fn add(&mut self, text: &SecretString) {
        if let Some(secret) = Secret::new(text.expose_secret().trim())
            && !self.fixed.contains(&secret)
        {
            self.fixed.push(secret);
        }
    }

    /// Adds what a header field holds: the whole value and, where an authentication scheme stands before it
    /// (RFC 9110, section 11.4), the credentials behind that.
    pub fn add_field(&mut self, value: &HeaderValue) {
        // A value that is not text cannot be a key.
        let Ok(text) = value.to_str() else { return };
        self.add(&text.into());
        if let Some((_, credentials)) = text.trim().split_once(' ') {
            self.add(&credentials.into());
        }
    }

    /// Adds the keys of a source: always the one that it gives at present.
    pub fn add_source(&mut self, source: impl CredentialSource) {
        self.keys.push(Arc::new(source));
    }
}

impl fmt::Debug for Secrets {
    /// How many; never which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} texts, {} sources)", self.fixed.len(), self.keys.len())
    }
}

// === impl Redaction ===

impl Redaction {
    /// The key that was sent, where it is not the caller's own, and the provider's other secrets.
    #[must_use]
    pub fn new(sent: Option<Credential>, others: Arc<Secrets>) -> Self {
        Self { sent, others }
    }

    /// The key that was sent.
    #[must_use]
    pub fn sent(&self) -> Option<&Credential> {
        self.sent.as_ref()
    }

    /// Whether a text quotes a secret.
    #[must_use]
    pub fn finds(&self, text: &[u8]) -> bool {
        self.any(|secret| secret.is_in(text))
    }

    /// Removes the fields that quote a secret: of a head, or of trailers.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let mut quoting = Vec::new();
        // Each source is asked once, not once for each field.
        self.any(|secret| {
            let fields = headers.iter().filter(|(_, value)| secret.is_in(value.as_bytes()));
            quoting.extend(fields.map(|(name, _)| name.clone()));
            false
        });
        for name in quoting {
            headers.remove(name);
        }
    }

    /// A whole text, with a mask in place of each secret.
    #[must_use]
    pub fn redact(&self, text: Bytes) -> Bytes {
        match self.redactor() {
            Some(mut redactor) => redactor.last(text),
            None => text,
        }
    }

    /// Masks the secrets in a body; `None` where there are none to be looked for.
    #[must_use]
    pub fn redactor(&self) -> Option<Redactor> {
        let mut secrets = Vec::new();
        self.any(|secret| {
            secrets.push(secret.clone());
            false
        });
        Redactor::new(secrets)
    }

    /// Whether any secret is as asked.
    fn any(&self, mut is: impl FnMut(&Secret) -> bool) -> bool {
        self.sent.as_ref().and_then(Credential::redactable).is_some_and(&mut is)
            || self.others.fixed.iter().any(&mut is)
            || self.others.keys.iter().any(|source| {
                let key = source.credential().filter(|key| !self.is_sent(key));
                key.as_ref().and_then(Credential::redactable).is_some_and(&mut is)
            })
    }

    fn is_sent(&self, key: &Credential) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.is_same(key))
    }
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction").field("sent", &self.sent).field("others", &self.others).finish()
    }
}
