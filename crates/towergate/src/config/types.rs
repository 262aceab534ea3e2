//! The settings as they are written in a file. Field docs become the descriptions of the schema.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    schema::{BYTES, DURATION},
    units::{parse_bytes, parse_duration},
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
    /// Keys that clients must present, by the name that log and metrics show. Without any, everybody may come in.
    pub client_keys: BTreeMap<String, ClientKeySection>,
    /// Log lines.
    pub logging: LoggingSection,
}

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
    /// Fields set on every request, in place of the caller's. Values may be `${VARIABLE}`.
    pub headers: BTreeMap<String, Secret>,
    /// Fields of the caller that go upstream beside the usual ones.
    pub allow_headers: Vec<String>,
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

/// What a provider is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderType {
    /// OpenAI, or any server that speaks its protocol.
    #[default]
    OpenAi,
    /// OpenAI's European region.
    #[serde(rename = "openai-eu")]
    OpenAiEu,
    /// OpenAI's region in the United States.
    #[serde(rename = "openai-us")]
    OpenAiUs,
    /// Azure OpenAI, v1: `base_url` is `https://RESOURCE.openai.azure.com/openai/v1`.
    Azure,
    /// Groq.
    Groq,
    /// Mistral.
    Mistral,
    /// DeepSeek.
    DeepSeek,
    /// Together.
    Together,
    /// OpenRouter.
    OpenRouter,
    /// vLLM, on this machine unless `base_url` says otherwise.
    Vllm,
    /// Ollama, on this machine unless `base_url` says otherwise.
    Ollama,
    /// llama.cpp's server, on this machine unless `base_url` says otherwise.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
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

/// The HTTP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// A pool of connections.
    Http1,
    /// Several connections with many streams each.
    Http2,
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

/// Who takes over from whom.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingSection {
    /// Attempts that one request may take over all providers. Default: 4.
    #[schemars(range(min = 1))]
    pub max_attempts: Option<u32>,
    /// Who of several providers of one priority is asked first. Default: weighted.
    pub strategy: Option<RoutingStrategy>,
    /// Whether the provider that is free soonest is tried where all are set aside. Default: true.
    pub last_resort: Option<bool>,
    /// Who serves what is bound to one provider and does not say to which. Default: the first of the lowest priority.
    pub default_provider: Option<String>,
    /// For a model, the models to try where no provider of it answers.
    pub fallback_models: BTreeMap<String, Vec<String>>,
    /// For a model, the models to try where a request is longer than its context.
    pub context_length_fallbacks: BTreeMap<String, Vec<String>>,
    /// For a model, the models to try where it refuses a request for its content.
    pub content_policy_fallbacks: BTreeMap<String, Vec<String>>,
}

/// Who of several providers of one priority is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoutingStrategy {
    /// In turns, each with its share by weight to within one request.
    Weighted,
    /// Of two drawn by lot the one with fewer requests under way.
    LeastInFlight,
    /// Of two drawn by lot the one that is expected to answer sooner, by what was seen of it.
    PeakEwma,
}

/// The listener, its limits, and how it shuts down.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSection {
    /// Where to listen. Default: 127.0.0.1:8080.
    #[schemars(example = "127.0.0.1:8080")]
    pub listen: Option<String>,
    /// A listener of its own for /healthz, /readyz and /metrics. Never speaks TLS.
    #[schemars(example = "127.0.0.1:9090")]
    pub admin_listen: Option<String>,
    /// Speak TLS on the first.
    pub tls: ServerTlsSection,
    /// The largest JSON body. Default: 64MiB.
    pub max_body: Option<Size>,
    /// The largest streamed upload. Default: 1GiB.
    pub max_upload: Option<Size>,
    /// Requests under way at a time; more are answered with 503 at once. Default: no limit.
    #[schemars(range(min = 1))]
    pub max_in_flight: Option<u32>,
    /// The whole request, over all attempts. Default: 600.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub total_timeout: Option<Time>,
    /// The longest gap in a client's upload. Default: 30.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub request_body_timeout: Option<Time>,
    /// After how long a silence of the provider the client of a stream gets the comment `: keep-alive`; 0 for never.
    /// Default: 15.
    pub stream_keep_alive: Option<Time>,
    /// How long connections are still accepted after SIGTERM, with /readyz already off. Default: 0.
    pub drain_delay: Option<Time>,
    /// How long what is under way may go on after that. Default: 30.
    pub drain_timeout: Option<Time>,
}

/// The listener's certificate. The files are followed: a new certificate takes no restart.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerTlsSection {
    /// A PEM file with the certificate chain, the server's own first. Needs `key_file`.
    pub cert_file: Option<String>,
    /// A PEM file with its key.
    pub key_file: Option<String>,
    /// A PEM file with authorities: only clients with a certificate of one of them come in.
    pub client_ca_file: Option<String>,
}

/// A key that lets a client in.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientKeySection {
    /// The key, best as `${VARIABLE}`.
    pub key: Option<Secret>,
    /// Its SHA-256, as 64 hex digits, in place of the key.
    pub sha256: Option<String>,
    /// The models that it reaches, by the names that clients use. Default: all. With this alone, it reaches only
    /// endpoints that run a model and keep nothing.
    pub allowed_models: Option<Vec<String>>,
    /// The endpoints that it reaches, each with what is below it, such as /v1/files; /v1 is everything.
    pub allowed_endpoints: Option<Vec<String>>,
}

/// Log lines.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoggingSection {
    /// A level, or module=level pairs. Default: info.
    pub level: Option<String>,
    /// How lines look. Default: text.
    pub format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A text that may be, or name, a secret: nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

/// A time: a number of seconds, or text such as `30s`, `500ms`, `2m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

/// A size: a number of bytes, or text such as `64MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub usize);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A secret; best given as ${VARIABLE}." })
    }
}

impl<'de> Deserialize<'de> for HttpVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(1.1) => Ok(Self::Http1),
            NumberOrText::Number(2.0) => Ok(Self::Http2),
            NumberOrText::Text(text) if text == "1.1" => Ok(Self::Http1),
            NumberOrText::Text(text) if text == "2" => Ok(Self::Http2),
            _ => Err(D::Error::custom("the HTTP version is 1.1 or 2")),
        }
    }
}

impl JsonSchema for HttpVersion {
    fn schema_name() -> Cow<'static, str> {
        "HttpVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Unquoted, YAML takes them for numbers.
        json_schema!({ "enum": ["1.1", "2", 1.1, 2], "description": "The HTTP version." })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(seconds) => Duration::try_from_secs_f64(seconds).map_err(D::Error::custom),
            NumberOrText::Text(text) => parse_duration(&text).map_err(D::Error::custom),
        }
        .map(Self)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // A century: what is longer is a mistake, and would overflow clocks.
        json_schema!({ "type": ["number", "string"], "format": DURATION, "minimum": 0, "maximum": 3_155_760_000_u64 })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(bytes) => Ok(Self(bytes as usize)),
            NumberOrText::Text(text) => parse_bytes(&text).map(Self).map_err(D::Error::custom),
        }
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "format": BYTES, "minimum": 0 })
    }
}

// === impl ProviderType ===

impl ProviderType {
    /// Where it is unless told otherwise.
    #[must_use]
    pub fn base_url(self) -> Option<&'static str> {
        Some(match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::OpenAiEu => "https://eu.api.openai.com/v1",
            Self::OpenAiUs => "https://us.api.openai.com/v1",
            // Each customer has a host of its own.
            Self::Azure => return None,
            Self::Groq => "https://api.groq.com/openai/v1",
            Self::Mistral => "https://api.mistral.ai/v1",
            Self::DeepSeek => "https://api.deepseek.com",
            Self::Together => "https://api.together.ai/v1",
            Self::OpenRouter => "https://openrouter.ai/api/v1",
            Self::Vllm => "http://localhost:8000/v1",
            Self::Ollama => "http://localhost:11434/v1",
            Self::LlamaCpp => "http://localhost:8080/v1",
        })
    }

    /// Whether it is known to accept `stream_options`, whatever host it is on. Where this says no, OpenAI's own hosts
    /// are known by their name.
    pub(super) fn accepts_stream_options(self) -> bool {
        !matches!(self, Self::OpenAi | Self::Mistral | Self::LlamaCpp)
    }

    /// Whether the `OPENAI_*` variables are about it, where it has no base URL of its own.
    pub(super) fn is_openai(self) -> bool {
        self == Self::OpenAi
    }
}
