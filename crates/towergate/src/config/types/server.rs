//! The listener, the keys of its clients, and the log.

use schemars::JsonSchema;
use serde::Deserialize;

use super::values::{Secret, Size, Texts, Time};
use crate::ClientAuthMode;

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
    /// Whether clients must present a key. Default: where there are client keys; a reload without any is refused then,
    /// unless this says that it is meant.
    pub client_auth: Option<ClientAuthMode>,
    /// Connections at a time, of which those of clients that were never let in make way for others. Default: half of
    /// what the limit of file descriptors leaves, and 10000 at most.
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// How long a connection may go without a request that is let in. Default: 10.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub authentication_timeout: Option<Time>,
    /// The largest head of a request, 8KiB or more; a larger one is answered with 431. Default: 64KiB.
    pub max_header_bytes: Option<Size>,
    /// The most fields in the head of a request; more are answered with 431. Default: 256.
    #[schemars(range(min = 1))]
    pub max_headers: Option<u32>,
    /// Requests at a time on one HTTP/2 connection. Default: 256.
    #[schemars(range(min = 1))]
    pub max_streams: Option<u32>,
    /// Hosts, by which clients without keys may call, on any port, beside those that the listener accepts of itself:
    /// gateway.example.com, "*.example.com", 10.0.0.5, or any. Default: none.
    pub allowed_hosts: Option<Texts>,
    /// Web pages that may call, and open WebSockets, by their origin: `https://app.example.com`, `http://localhost:*`,
    /// "https://*.example.com", or any. Default: none but the gateway's own.
    pub allowed_origins: Option<Texts>,
    /// Web pages that may call and read what comes back (CORS), by their origin, as above; or any. Default: none.
    pub cors: Option<Texts>,
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

/// What the bodies of requests under way may hold in memory: collected bodies, uploads kept for another attempt, and held
/// answers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// All of them together; past it a request is answered with 503. Default: 1GiB.
    pub memory: Option<Size>,
    /// Those of one client, by the name of its key; past it a request is answered with 429. Default: a quarter of `memory`,
    /// and no less than `server.max_body`.
    pub memory_per_client: Option<Size>,
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
    /// endpoints that run a model and keep nothing. Requests that servers could read differently are refused.
    pub allowed_models: Option<Vec<String>>,
    /// The endpoints that it reaches, each with what is below it, such as /v1/files; /v1 is everything. A request that
    /// refers to something stored needs the endpoint that keeps it, such as /v1/conversations.
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
