//! [`ServerPlan`]: the settings of the listener, with where each comes from.

use std::{fmt::Display, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use towergate_core::memory::MemoryBudget;
use towergate_layers::{
    guard::{AllowedHosts, AllowedOrigins, HostPattern, OriginPattern},
    timeout::Timeouts,
};

use super::{
    Config,
    setting::{Origin, Row, Setting, row, seconds},
    types::{LogFormat, Size, Texts, Time},
};
use crate::{ClientAuthMode, GatewayBuilder};

/// The settings of the listener, its limits, its shutdown and its log, each with where it comes from. A flag or
/// a variable [overrides](Setting::overridden) what the file says.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the settings of the same names have them")]
pub struct ServerPlan {
    pub listen: Setting<SocketAddr>,
    pub admin_listen: Setting<Option<SocketAddr>>,
    pub tls_cert_file: Setting<Option<PathBuf>>,
    pub tls_key_file: Setting<Option<PathBuf>>,
    pub tls_client_ca_file: Setting<Option<PathBuf>>,
    pub client_auth: Setting<Option<ClientAuthMode>>,
    pub max_connections: Setting<Option<usize>>,
    pub authentication_timeout: Setting<Duration>,
    pub max_header_bytes: Setting<usize>,
    pub max_headers: Setting<usize>,
    pub max_streams: Setting<u32>,
    pub allowed_hosts: Setting<Vec<HostPattern>>,
    pub allowed_origins: Setting<Vec<OriginPattern>>,
    pub cors: Setting<Vec<OriginPattern>>,
    pub max_body: Setting<usize>,
    pub max_upload: Setting<usize>,
    pub max_in_flight: Setting<Option<u32>>,
    pub memory: Setting<usize>,
    /// `None`: what follows from `memory` and `max_body`.
    pub memory_per_client: Setting<Option<usize>>,
    pub total_timeout: Setting<Duration>,
    pub request_body_timeout: Setting<Duration>,
    pub stream_keep_alive: Setting<Duration>,
    pub drain_delay: Setting<Duration>,
    pub drain_timeout: Setting<Duration>,
    pub log: Setting<String>,
    pub log_format: Setting<LogFormat>,
}

impl ServerPlan {
    /// What holds without a file.
    #[must_use]
    pub fn built_in() -> Self {
        Self {
            listen: Setting::built_in(SocketAddr::from(([127, 0, 0, 1], 8080))),
            admin_listen: Setting::built_in(None),
            tls_cert_file: Setting::built_in(None),
            tls_key_file: Setting::built_in(None),
            tls_client_ca_file: Setting::built_in(None),
            client_auth: Setting::built_in(None),
            max_connections: Setting::built_in(None),
            authentication_timeout: Setting::built_in(Duration::from_secs(10)),
            max_header_bytes: Setting::built_in(64 << 10),
            max_headers: Setting::built_in(256),
            max_streams: Setting::built_in(256),
            allowed_hosts: Setting::built_in(Vec::new()),
            allowed_origins: Setting::built_in(Vec::new()),
            cors: Setting::built_in(Vec::new()),
            max_body: Setting::built_in(64 << 20),
            max_upload: Setting::built_in(1 << 30),
            max_in_flight: Setting::built_in(None),
            memory: Setting::built_in(1 << 30),
            memory_per_client: Setting::built_in(None),
            total_timeout: Setting::built_in(Duration::from_secs(600)),
            request_body_timeout: Setting::built_in(Duration::from_secs(30)),
            stream_keep_alive: Setting::built_in(Duration::from_secs(15)),
            drain_delay: Setting::built_in(Duration::ZERO),
            drain_timeout: Setting::built_in(Duration::from_secs(30)),
            log: Setting::built_in("info".to_owned()),
            log_format: Setting::built_in(LogFormat::Text),
        }
    }

    /// Which hosts a gateway behind this listener accepts of clients without keys: what the listener accepts of itself
    /// ([`AllowedHosts::for_listener`], [`AllowedHosts::for_tls_listener`]), and those that are named.
    #[must_use]
    pub fn hosts(&self) -> AllowedHosts {
        let own = match self.tls_cert_file.value {
            Some(_) => AllowedHosts::for_tls_listener(),
            None => AllowedHosts::for_listener(self.listen.value),
        };
        own.and(self.allowed_hosts.value.iter().cloned())
    }

    /// Gives a gateway these limits, says whether clients must present a key, and lets in the web pages that are named. [`hosts`](Self::hosts) are checked where one
    /// is named; a server on the listener itself gives them to the gateway in any case.
    pub fn limit(&self, gateway: GatewayBuilder) -> GatewayBuilder {
        let gateway = match self.client_auth.value {
            Some(mode) => gateway.client_auth(mode),
            None => gateway,
        };
        let timeouts = Timeouts::default()
            .with_total(self.total_timeout.value)
            .with_request_body(self.request_body_timeout.value.min(self.total_timeout.value));
        let gateway =
            gateway.max_body(self.max_body.value).max_upload(self.max_upload.value as u64).timeouts(timeouts);
        let memory = MemoryBudget::new(self.memory.value).per_client(self.client_memory());
        let gateway = gateway.memory(memory);
        let every = self.stream_keep_alive.value;
        let origins = |setting: &Setting<Vec<_>>| AllowedOrigins::new(setting.value.iter().cloned());
        let gateway = gateway.allowed_origins(origins(&self.allowed_origins)).cors(origins(&self.cors));
        let gateway = match self.allowed_hosts.value[..] {
            [] => gateway,
            _ => gateway.allowed_hosts(self.hosts()),
        };
        let gateway = gateway.stream_keep_alive((!every.is_zero()).then_some(every));
        match self.max_in_flight.value {
            Some(requests) => gateway.max_in_flight(requests as usize),
            None => gateway,
        }
    }

    /// Gives a server these addresses, limits and times.
    #[cfg(feature = "server")]
    pub fn listener(&self, server: crate::server::ServerBuilder) -> crate::server::ServerBuilder {
        let authentication = self.authentication_timeout.value;
        let clocks = crate::server::ConnectionClocks { authentication, ..Default::default() };
        let server = server
            .listen(self.listen.value)
            .admin_listen(self.admin_listen.value)
            .clocks(clocks)
            .max_header_bytes(self.max_header_bytes.value)
            .max_headers(self.max_headers.value)
            .max_streams(self.max_streams.value)
            .drain_delay(self.drain_delay.value)
            .drain_timeout(self.drain_timeout.value);
        match self.max_connections.value {
            Some(connections) => server.max_connections(connections),
            None => server,
        }
    }

    /// What the requests of one client may hold: room for the largest body, whatever the share is.
    fn client_memory(&self) -> usize {
        let memory = self.memory.value;
        self.memory_per_client.value.unwrap_or_else(|| (memory / 4).max(self.max_body.value).min(memory))
    }

    /// The certificate and key of the listener; `None` where it is plain.
    ///
    /// # Errors
    ///
    /// One of certificate, key and authorities is named without what it needs.
    #[cfg(feature = "server")]
    pub fn tls(&self) -> Result<Option<crate::server::TlsFiles>, super::SetUpError> {
        use crate::server::TlsFiles;
        let files = (&self.tls_cert_file.value, &self.tls_key_file.value, &self.tls_client_ca_file.value);
        match files {
            (None, None, None) => Ok(None),
            (Some(certificate), Some(key), None) => Ok(Some(TlsFiles::new(certificate, key))),
            (Some(certificate), Some(key), Some(authorities)) => {
                Ok(Some(TlsFiles::new(certificate, key).client_ca(authorities)))
            }
            _ => Err(super::SetUpError::HalfTls),
        }
    }

    /// Every setting as text, with where it comes from.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        fn or_none<T>(value: &Option<T>, text: impl Fn(&T) -> String) -> String {
            value.as_ref().map_or_else(|| "none".to_owned(), text)
        }
        let file = |path: &Option<PathBuf>| or_none(path, |path| path.display().to_string());
        vec![
            row("server.listen", &self.listen, ToString::to_string),
            row("server.admin_listen", &self.admin_listen, |it| or_none(it, ToString::to_string)),
            row("server.tls.cert_file", &self.tls_cert_file, file),
            row("server.tls.key_file", &self.tls_key_file, file),
            row("server.tls.client_ca_file", &self.tls_client_ca_file, file),
            row("server.client_auth", &self.client_auth, |mode| {
                match mode {
                    Some(ClientAuthMode::Required) => "required",
                    Some(ClientAuthMode::Disabled) => "disabled",
                    None => "where there are client keys",
                }
                .to_owned()
            }),
            row("server.max_connections", &self.max_connections, |it| {
                it.map_or_else(|| "by the limit of file descriptors".to_owned(), |it| it.to_string())
            }),
            row("server.authentication_timeout", &self.authentication_timeout, seconds),
            row("server.max_header_bytes", &self.max_header_bytes, |bytes| size(*bytes)),
            row("server.max_headers", &self.max_headers, ToString::to_string),
            row("server.max_streams", &self.max_streams, ToString::to_string),
            row("server.allowed_hosts", &self.allowed_hosts, |hosts| listed(hosts)),
            row("server.allowed_origins", &self.allowed_origins, |origins| listed(origins)),
            row("server.cors", &self.cors, |origins| listed(origins)),
            row("server.max_body", &self.max_body, |bytes| size(*bytes)),
            row("server.max_upload", &self.max_upload, |bytes| size(*bytes)),
            row("server.max_in_flight", &self.max_in_flight, |it| {
                it.map_or_else(|| "no limit".to_owned(), |requests| requests.to_string())
            }),
            row("limits.memory", &self.memory, |bytes| size(*bytes)),
            row("limits.memory_per_client", &self.memory_per_client, |_| size(self.client_memory())),
            row("server.total_timeout", &self.total_timeout, seconds),
            row("server.request_body_timeout", &self.request_body_timeout, seconds),
            row("server.stream_keep_alive", &self.stream_keep_alive, seconds),
            row("server.drain_delay", &self.drain_delay, seconds),
            row("server.drain_timeout", &self.drain_timeout, seconds),
            row("logging.level", &self.log, Clone::clone),
            row("logging.format", &self.log_format, |format| {
                match format {
                    LogFormat::Text => "text",
                    LogFormat::Json => "json",
                }
                .to_owned()
            }),
        ]
    }

    /// Whether what differs takes a restart.
    pub(super) fn needs_restart(&self, running: &Self) -> bool {
        let limits = |plan: &Self| {
            (
                plan.max_connections.value,
                plan.authentication_timeout.value,
                plan.max_header_bytes.value,
                plan.max_headers.value,
                plan.max_streams.value,
            )
        };
        let fixed = |plan: &Self| {
            (
                limits(plan),
                plan.listen.value,
                plan.admin_listen.value,
                plan.tls_cert_file.value.clone(),
                plan.tls_key_file.value.clone(),
                plan.tls_client_ca_file.value.clone(),
                plan.drain_delay.value,
                plan.drain_timeout.value,
                plan.log.value.clone(),
                plan.log_format.value,
            )
        };
        fixed(self) != fixed(running)
    }

    pub(super) fn of(config: &Config) -> Self {
        let (server, limits, logging) = (&config.file.server, &config.file.limits, &config.file.logging);
        let at = |path: &str| config.place(path).map_or(Origin::BuiltIn, Origin::File);
        let built_in = Self::built_in();
        let address =
            |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<SocketAddr>().ok());
        let time = |time: Option<Time>, path: &str| time.map(|Time(time)| (time, at(path)));
        let size = |size: Option<Size>, path: &str| size.map(|Size(bytes)| (bytes, at(path)));
        let file = |path: &Option<String>, setting: &str| {
            path.as_ref().map(|path| (Some(PathBuf::from(path)), at(setting)))
        };
        fn patterns<T: FromStr>(texts: &Option<Texts>, at: Origin) -> Option<(Vec<T>, Origin)> {
            let texts = texts.as_ref()?.as_slice();
            Some((texts.iter().filter_map(|text| text.parse().ok()).collect(), at))
        }
        let tls = &server.tls;
        Self {
            allowed_hosts: built_in
                .allowed_hosts
                .overridden(patterns(&server.allowed_hosts, at("server.allowed_hosts"))),
            allowed_origins: built_in
                .allowed_origins
                .overridden(patterns(&server.allowed_origins, at("server.allowed_origins"))),
            cors: built_in.cors.overridden(patterns(&server.cors, at("server.cors"))),
            tls_cert_file: built_in.tls_cert_file.overridden(file(&tls.cert_file, "server.tls.cert_file")),
            tls_key_file: built_in.tls_key_file.overridden(file(&tls.key_file, "server.tls.key_file")),
            tls_client_ca_file: built_in
                .tls_client_ca_file
                .overridden(file(&tls.client_ca_file, "server.tls.client_ca_file")),
            listen: built_in.listen.overridden(address(&server.listen).map(|it| (it, at("server.listen")))),
            admin_listen: built_in
                .admin_listen
                .overridden(address(&server.admin_listen).map(|it| (Some(it), at("server.admin_listen")))),
            client_auth: built_in
                .client_auth
                .overridden(server.client_auth.map(|it| (Some(it), at("server.client_auth")))),
            max_connections: built_in.max_connections.overridden(
                server.max_connections.map(|it| (Some(it as usize), at("server.max_connections"))),
            ),
            authentication_timeout: built_in
                .authentication_timeout
                .overridden(time(server.authentication_timeout, "server.authentication_timeout")),
            max_header_bytes: built_in
                .max_header_bytes
                .overridden(size(server.max_header_bytes, "server.max_header_bytes")),
            max_headers: built_in
                .max_headers
                .overridden(server.max_headers.map(|it| (it as usize, at("server.max_headers")))),
            max_streams: built_in
                .max_streams
                .overridden(server.max_streams.map(|it| (it, at("server.max_streams")))),
            max_body: built_in.max_body.overridden(size(server.max_body, "server.max_body")),
            max_upload: built_in.max_upload.overridden(size(server.max_upload, "server.max_upload")),
            max_in_flight: built_in
                .max_in_flight
                .overridden(server.max_in_flight.map(|it| (Some(it), at("server.max_in_flight")))),
            memory: built_in.memory.overridden(size(limits.memory, "limits.memory")),
            memory_per_client: built_in.memory_per_client.overridden(
                size(limits.memory_per_client, "limits.memory_per_client")
                    .map(|(bytes, origin)| (Some(bytes), origin)),
            ),
            total_timeout: built_in
                .total_timeout
                .overridden(time(server.total_timeout, "server.total_timeout")),
            request_body_timeout: built_in
                .request_body_timeout
                .overridden(time(server.request_body_timeout, "server.request_body_timeout")),
            stream_keep_alive: built_in
                .stream_keep_alive
                .overridden(time(server.stream_keep_alive, "server.stream_keep_alive")),
            drain_delay: built_in.drain_delay.overridden(time(server.drain_delay, "server.drain_delay")),
            drain_timeout: built_in
                .drain_timeout
                .overridden(time(server.drain_timeout, "server.drain_timeout")),
            log: built_in.log.overridden(logging.level.clone().map(|it| (it, at("logging.level")))),
            log_format: built_in.log_format.overridden(logging.format.map(|it| (it, at("logging.format")))),
        }
    }
}

/// A list as people write it.
fn listed(all: &[impl Display]) -> String {
    let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

/// A size as people write it.
fn size(bytes: usize) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units.into_iter().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(|| format!("{bytes} bytes"), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}
