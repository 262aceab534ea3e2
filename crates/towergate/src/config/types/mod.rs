//! The settings as they are written in a file. Field docs become the descriptions of the schema.

mod provider;
mod provider_type;
mod routing;
mod server;
mod values;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::{
    provider::{
        BreakerSection, DefaultsSection, HealthChecksSection, KeySection, ModelEntry, ModelSection,
        PoolSection, ProviderSection, RetrySection, TimeoutsSection, TlsSection,
    },
    provider_type::ProviderType,
    routing::{RoutingSection, RoutingStrategy},
    server::{ClientKeySection, LimitsSection, LogFormat, LoggingSection, ServerSection, ServerTlsSection},
    values::{HttpVersion, Secret, Size, Texts, Time},
};

/// A configuration of towergate.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// The upstreams, by name.
    pub providers: BTreeMap<String, ProviderSection>,
    /// What holds for every provider that does not say otherwise.
    pub defaults: DefaultsSection,
    /// Who takes over from whom.
    pub routing: RoutingSection,
    /// The listener, its limits, and how it shuts down.
    pub server: ServerSection,
    /// What the bodies of requests under way may hold in memory.
    pub limits: LimitsSection,
    /// Keys that clients must present, by the name that log and metrics show. Without this section everybody may come
    /// in; an empty one is an error.
    pub client_keys: BTreeMap<String, ClientKeySection>,
    /// Log lines.
    pub logging: LoggingSection,
}
