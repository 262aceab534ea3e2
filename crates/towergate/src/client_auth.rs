//! Whether clients must present a key, and that this never ends by itself.

#[cfg(feature = "server")]
use std::sync::Arc;
use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError, Weak},
};

use crate::BuildError;

/// Whether clients must present a key, said in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "config", derive(serde::Deserialize, schemars::JsonSchema))]
#[cfg_attr(feature = "config", serde(rename_all = "lowercase"))]
pub enum ClientAuthMode {
    /// They must. Without any key the gateway does not start.
    Required,
    /// They need not: everybody may come in. There must be no keys.
    Disabled,
}

/// The listeners that strangers can reach, of which a gateway without client keys warns.
#[derive(Debug, Default)]
pub(crate) struct Exposed(Mutex<Vec<Weak<SocketAddr>>>);

// === impl ClientAuthMode ===

impl ClientAuthMode {
    /// Whether a mode goes with there being keys.
    pub(crate) fn check(mode: Option<Self>, has_keys: bool) -> Result<(), BuildError> {
        match (mode, has_keys) {
            (Some(Self::Required), false) => Err(BuildError::NoClientKeys),
            (Some(Self::Disabled), true) => Err(BuildError::ClientKeysDisabled),
            _ => Ok(()),
        }
    }
}

// === impl Exposed ===

impl Exposed {
    /// Notes a listener, until what is returned is dropped. `None` where only this machine reaches it.
    #[cfg(feature = "server")]
    pub(crate) fn add(&self, address: SocketAddr) -> Option<Arc<SocketAddr>> {
        let address = Arc::new(address);
        if address.ip().to_canonical().is_loopback() {
            return None;
        }
        self.lock().push(Arc::downgrade(&address));
        Some(address)
    }

    /// Says loudly that anybody can come in, where anybody can.
    pub(crate) fn warn(&self) {
        let mut listeners = self.lock();
        listeners.retain(|address| address.strong_count() > 0);
        listeners.iter().filter_map(Weak::upgrade).for_each(|listen| warn_of(*listen));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<SocketAddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn warn_of(listen: SocketAddr) {
    tracing::warn!(
        %listen,
        "anybody who reaches this address can spend the providers' keys: there are no client keys [setting: client_keys, \
         TOWERGATE_CLIENT_KEYS]"
    );
}
