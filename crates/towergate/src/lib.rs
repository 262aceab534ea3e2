//! An inference gateway for the OpenAI API, made of tower layers.
//!
//! The whole is one [`Gateway`]: a `tower::Service` that any hyper or axum app mounts. Its parts
//! can be had singly: the [`layers`], the [`openai`] service at the bottom, and their common
//! vocabulary, [`core`].
//!
//! ```
//! use towergate::{Gateway, OpenAiProvider};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let openai = OpenAiProvider::builder().api_key("sk-...")?.build()?;
//! let gateway = Gateway::builder().provider(openai).build()?;
//! // axum:  Router::new().fallback_service(gateway)
//! // hyper: TowerToHyperService::new(gateway)
//! # Ok(()) }
//! ```
//!
//! How the layers stand to each other, and why, is in `docs/stack.md`.

mod client_auth;
mod client_keys;
#[cfg(feature = "config")]
pub mod config;
mod cors;
mod error;
mod gateway;
mod guard;
pub mod health;
mod provider;
mod registry;
mod router;
#[cfg(feature = "server")]
pub mod server;
mod stack;
mod time;
mod tunnel;

pub use towergate_core as core;
pub use towergate_layers as layers;
pub use towergate_openai as openai;

pub use self::{
    client_auth::ClientAuthMode,
    client_keys::{InvalidClientKeyLine, parse_client_keys},
    error::BuildError,
    gateway::{Gateway, GatewayBuilder, ResponseFuture},
    provider::{
        Availability, HealthCheck, OpenAiProvider, OpenAiProviderBuilder, Provider, ProviderService,
        ProviderStatus, ServiceProvider,
    },
    registry::Registry,
    router::{Candidate, Routing, ServedModel, Strategy},
};
pub use towergate_core::Body;
