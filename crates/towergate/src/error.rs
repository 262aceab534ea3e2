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
    /// There is no provider.
    #[error("a gateway needs a provider: GatewayBuilder::provider")]
    NoProvider,
}
