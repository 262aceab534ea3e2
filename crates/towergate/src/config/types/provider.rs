//! A provider's section, and what holds for all of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    provider_type::ProviderType,
    values::{HttpVersion, Secret, Time},
};

/// An upstream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSection {
    /// What it is: a base URL, and whether it wants a key. Default: openai.
    #[serde(rename = "type")]
    pub kind: ProviderType,
    /// Where it is, with its path prefix. Default: that of its type; for openai `OPENAI_BASE_URL`.
    pub base_url: Option<String>,
    /// The one model that it serves. Without `model` and `models` it takes any.
    pub model: Option<String>,
    /// The models that it serves: the name that clients use, and what the provider calls it.
    pub models: BTreeMap<String, Option<ModelEntry>>,
    /// Lower ones are chosen first; higher ones take over. Default: 1.
    pub priority: Option<u32>,
    /// Its share of the requests among those of the same priority; with 0 it is chosen only where none with a
    /// weight is left. Default: 1.
    #[schemars(range(min = 0.0))]
    pub weight: Option<f64>,
    /// The key, best as `${VARIABLE}`. Default: for openai `OPENAI_API_KEY` or `OPENAI_API_KEY_FILE`.
    pub api_key: Option<Secret>,
    /// A file with the key; a regular file is followed, a FIFO is read once.
    pub api_key_file: Option<String>,
    /// Several keys in place of one, each used by its share; one that is refused or limited is set aside.
    pub keys: Vec<KeySection>,
    /// Send the caller's own key instead.
    pub pass_through_auth: Option<bool>,
    /// `OpenAI-Organization`. Default: for openai `OPENAI_ORG_ID`.
    pub organization: Option<String>,
    /// `OpenAI-Project`. Default: for openai `OPENAI_PROJECT_ID`.
    pub project: Option<String>,
    /// Fields set on every request, in place of the caller's. Values may be `${VARIABLE}`. One that holds a credential, by
    /// its name or because it comes from a variable, is a secret: no error of the provider's repeats it.
    pub headers: BTreeMap<String, Secret>,
    /// Fields of the caller that go upstream beside the usual ones.
    pub allow_headers: Vec<String>,
    /// Trailer fields of the caller's streamed uploads that go upstream. Default: none.
    pub allow_trailers: Vec<String>,
    /// The HTTP version to speak. Default: "1.1".
    pub http_version: Option<HttpVersion>,
    /// Trust and identity, beside the system's roots.
    pub tls: TlsSection,
    /// Whether streams are asked for their usage where the client did not ask, for the metrics; it is taken out of
    /// the stream again. Default: where the server is known to accept it.
    pub usage_in_streams: Option<bool>,
    /// Seconds for head, first event and idle alike, as in the official SDKs; `timeouts` sets them singly.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub timeout: Option<Time>,
    /// Retries after the first attempt. Default: 3.
    #[schemars(range(max = 100))]
    pub max_retries: Option<u32>,
    /// The clocks, singly.
    pub timeouts: TimeoutsSection,
    /// How it is retried.
    pub retry: RetrySection,
    /// When it is set aside.
    pub breaker: BreakerSection,
    /// How it is asked for its models at intervals.
    pub health_checks: HealthChecksSection,
    /// Its connections.
    pub pool: PoolSection,
}

/// One of several keys of a provider.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeySection {
    /// What metrics and log lines call it. Default: its number in the list.
    pub name: Option<String>,
    /// The key, best as `${VARIABLE}`.
    pub api_key: Option<Secret>,
    /// A file with the key; a regular file is followed, a FIFO is read once.
    pub api_key_file: Option<String>,
    /// Its share of the attempts; with 0 it is used only where no other is left. Default: 1.
    #[schemars(range(min = 0.0))]
    pub weight: Option<f64>,
}

/// What holds for every provider that does not say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DefaultsSection {
    /// Seconds for head, first event and idle alike.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub timeout: Option<Time>,
    /// Retries after the first attempt.
    #[schemars(range(max = 100))]
    pub max_retries: Option<u32>,
    /// The HTTP version to speak.
    pub http_version: Option<HttpVersion>,
    /// The clocks, singly.
    pub timeouts: TimeoutsSection,
    /// How providers are retried.
    pub retry: RetrySection,
    /// When a provider is set aside.
    pub breaker: BreakerSection,
    /// How providers are asked for their models at intervals.
    pub health_checks: HealthChecksSection,
    /// Connections.
    pub pool: PoolSection,
}

/// What a provider calls a model, or all that is to be said of it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ModelEntry {
    /// The provider's name for it.
    Upstream(String),
    /// More than that.
    Settings(ModelSection),
}

/// A model that a provider serves.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSection {
    /// The provider's name for it. Default: the same.
    pub upstream: Option<String>,
    /// How long the head may take, in place of the provider's clock.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub head: Option<Time>,
    /// How long the first event may take.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub first_event: Option<Time>,
    /// The longest gap between two events.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub idle: Option<Time>,
    /// How long a stream may take to its head, and from there to its first event, while another provider stands
    /// ready. Not for models that think silently.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub failover_after: Option<Time>,
    /// Whether it thinks before its first event, and so may be silent. Default: known of OpenAI's own models.
    pub thinks: Option<bool>,
}

/// Trust and identity.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// A PEM file with certificates to trust, beside the system's.
    pub ca_file: Option<String>,
    /// A PEM file with the certificate chain to show. Needs `client_key_file`.
    pub client_certificate_file: Option<String>,
    /// A PEM file with its key.
    pub client_key_file: Option<String>,
}

/// The clocks of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsSection {
    /// DNS, TCP and TLS together. Default: 30.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub connect: Option<Time>,
    /// From the request to the head of the answer. Default: 30, and for what generates without a stream the total.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub head: Option<Time>,
    /// From the head of a stream to its first event. Default: 30, and for models that think the total.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub first_event: Option<Time>,
    /// The longest gap between two events. Default: 120.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub idle: Option<Time>,
    /// The longest silence of a WebSocket. Default: 600.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub tunnel_idle: Option<Time>,
}

/// How a provider is retried.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySection {
    /// The longest wait between two attempts. Default: 30.
    pub max_backoff: Option<Time>,
    /// Whether waits are shortened at random by up to a quarter. Default: true.
    pub jitter: Option<bool>,
    /// The longest wait that an upstream may ask for. Default: 30.
    pub max_retry_after: Option<Time>,
    /// Whether an attempt is repeated that may have been billed. Default: true.
    pub maybe_billed: Option<bool>,
    /// Retries for each request of the last 10 s. Default: 0.2.
    #[schemars(range(min = 0.0))]
    pub budget_ratio: Option<f64>,
    /// Retries that are allowed each second whatever the traffic. Default: 10.
    pub budget_min_per_second: Option<u32>,
}

/// When a provider is set aside.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSection {
    /// Whether it ever is. Default: true.
    pub enabled: Option<bool>,
    /// After how many failures in a row; 0 for never. Default: 5.
    pub consecutive_failures: Option<u32>,
    /// At which share of failures in the window. Default: 0.5.
    #[schemars(range(min = 0.0))]
    pub failure_ratio: Option<f64>,
    /// How many attempts the window must hold for that. Default: 20.
    pub min_requests: Option<u32>,
    /// How long an attempt counts. Default: 10.
    pub window: Option<Time>,
    /// For how long it is set aside at first; twice as long each time. Default: 5.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub open_for: Option<Time>,
    /// For how long at most. Default: 30.
    pub max_open_for: Option<Time>,
    /// How many attempts may find out at a time whether it is well again. Default: 1.
    #[schemars(range(min = 1))]
    pub probes: Option<u32>,
}

/// How a provider is asked for its models at intervals, which costs no tokens. While it does not answer it is passed
/// over.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthChecksSection {
    /// Whether it is. Default: true, and false where the caller's own key is sent: there is none to ask with.
    pub enabled: Option<bool>,
    /// The time between two checks; the first one comes after it. Default: 30.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub interval: Option<Time>,
    /// How long a check may take. Default: 5.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub timeout: Option<Time>,
    /// Failed checks in a row after which it is passed over. Default: 3.
    #[schemars(range(min = 1))]
    pub unhealthy_after: Option<u32>,
    /// Answered checks in a row after which it is taken back. Default: 2.
    #[schemars(range(min = 1))]
    pub healthy_after: Option<u32>,
}

/// Connections to a provider.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSection {
    /// How long an idle connection is kept. Default: 30.
    pub idle_timeout: Option<Time>,
    /// How many idle connections are kept.
    pub max_idle: Option<u32>,
}
