//! Why a gateway can't be built.

use towergate_core::{Error, credentials::InvalidCredential};

/// A setting that can't work. The message names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The provider's service can't be built.
    #[error("provider {provider:?}: {source}")]
    Provider {
        /// The provider's name.
        provider: String,
        /// What is wrong.
        source: towergate_openai::service::ConfigError,
    },
    /// A key that is none.
    #[error("the API key of the provider can't be used: {0}")]
    Credential(#[from] InvalidCredential),
    /// A variable of the environment.
    #[error(transparent)]
    Env(#[from] towergate_openai::env::EnvError),
    /// A file that should hold the key.
    #[error(transparent)]
    Secret(#[from] towergate_openai::secret::SecretError),
    /// A clock.
    #[error("{0}")]
    Timeouts(Error),
    /// Who serves what cannot be.
    #[error("routing: {0}")]
    Routing(String),
    /// Client authentication is required, and there is no key.
    #[error(
        "client authentication is required, and there is no client key [setting: client_keys, server.client_auth]"
    )]
    NoClientKeys,
    /// Client authentication is disabled, and there are keys.
    #[error(
        "client authentication is disabled, and there are client keys: leave out one of them [setting: server.client_auth]"
    )]
    ClientKeysDisabled,
    /// Everybody could come in from now on, and nothing says that this is meant; see
    /// [`Gateway::replace`](crate::Gateway::replace).
    #[error(
        "the new settings have no client keys and those in force have, so everybody could come in from now on; where that is meant, say `client_auth: disabled` below `server:` [setting: server.client_auth]"
    )]
    WouldOpen,
    /// There is no provider.
    #[error("a gateway needs a provider: GatewayBuilder::provider")]
    NoProvider,
}
