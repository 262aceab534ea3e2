//! From flags, environment and file to a gateway and a server. The rule: flag, then `TOWERGATE_*`, then the
//! file, then `OPENAI_*`, then what is built in.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgMatches, parser::ValueSource};
use towergate::{
    ClientAuthMode, GatewayBuilder, OpenAiProvider, OpenAiProviderBuilder,
    config::{Config, Origin, ServerPlan, types},
    server::{Server, ServerBuilder, telemetry},
};

use crate::{
    cli::{ClientAuth, LogFormat, ServerArgs, UpstreamArgs},
    client_keys::GivenKeys,
};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// The provider that flags and environment describe.
pub(crate) async fn provider(args: &UpstreamArgs) -> Result<OpenAiProviderBuilder, Error> {
    let mut provider = OpenAiProvider::from_env().await?;
    if let Some(url) = &args.base_url {
        provider = provider.base_url(url);
    }
    if args.pass_through_auth {
        provider = provider.pass_through_auth();
    }
    if args.upstream_http2 {
        provider = provider.leaf(|leaf| leaf.http2(towergate::openai::service::Http2::default()));
    }
    if let Some(idle) = args.tunnel_idle {
        provider = provider.tunnel_idle(idle);
    }
    Ok(provider)
}

/// Whether a key, or another place to send requests to, was given at all.
pub(crate) fn is_configured(args: &UpstreamArgs) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    says_anything(args) || ["OPENAI_API_KEY", "OPENAI_API_KEY_FILE", "OPENAI_BASE_URL"].into_iter().any(set)
}

/// Whether flags or `TOWERGATE_*` describe the one provider.
pub(crate) fn says_anything(args: &UpstreamArgs) -> bool {
    args.base_url.is_some() || args.pass_through_auth || args.upstream_http2 || args.tunnel_idle.is_some()
}

/// The listener's settings: what flags and environment say, over what the file says.
pub(crate) fn plan(args: &ServerArgs, matches: &ArgMatches, config: Option<&Config>) -> ServerPlan {
    fn over<T>(
        matches: &ArgMatches,
        names: (&str, &'static str, &'static str),
        value: Option<T>,
    ) -> Option<(T, Origin)> {
        let (id, flag, variable) = names;
        let is_flag = matches.value_source(id) == Some(ValueSource::CommandLine);
        value.map(|value| (value, if is_flag { Origin::Flag(flag) } else { Origin::Variable(variable) }))
    }
    macro_rules! over {
        ($field:ident, $flag:literal, $variable:literal, $value:expr) => {
            over(matches, (stringify!($field), $flag, $variable), $value)
        };
    }
    let plan = config.map_or_else(ServerPlan::built_in, Config::server);
    let admin = args.admin_listen.map(Some);
    let file = |path: &Option<PathBuf>| path.clone().map(Some);
    let requests = args.max_in_flight.map(Some);
    let format = args.log_format.map(|format| match format {
        LogFormat::Text => types::LogFormat::Text,
        LogFormat::Json => types::LogFormat::Json,
    });
    ServerPlan {
        listen: plan.listen.overridden(over!(listen, "--listen", "TOWERGATE_LISTEN", args.listen)),
        admin_listen: plan.admin_listen.overridden(over!(
            admin_listen,
            "--admin-listen",
            "TOWERGATE_ADMIN_LISTEN",
            admin
        )),
        tls_cert_file: plan.tls_cert_file.overridden(over!(
            tls_cert,
            "--tls-cert",
            "TOWERGATE_TLS_CERT",
            file(&args.tls_cert)
        )),
        tls_key_file: plan.tls_key_file.overridden(over!(
            tls_key,
            "--tls-key",
            "TOWERGATE_TLS_KEY",
            file(&args.tls_key)
        )),
        tls_client_ca_file: plan.tls_client_ca_file.overridden(over!(
            tls_client_ca,
            "--tls-client-ca",
            "TOWERGATE_TLS_CLIENT_CA",
            file(&args.tls_client_ca)
        )),
        client_auth: plan.client_auth.overridden(over!(
            client_auth,
            "--client-auth",
            "TOWERGATE_CLIENT_AUTH",
            args.client_auth.client_auth.map(|mode| Some(mode.into()))
        )),
        max_connections: plan.max_connections.overridden(over!(
            max_connections,
            "--max-connections",
            "TOWERGATE_MAX_CONNECTIONS",
            args.max_connections.map(|connections| Some(connections as usize))
        )),
        authentication_timeout: plan.authentication_timeout.overridden(over!(
            authentication_timeout,
            "--authentication-timeout",
            "TOWERGATE_AUTHENTICATION_TIMEOUT",
            args.authentication_timeout
        )),
        max_header_bytes: plan.max_header_bytes.overridden(over!(
            max_header_bytes,
            "--max-header-bytes",
            "TOWERGATE_MAX_HEADER_BYTES",
            args.max_header_bytes
        )),
        max_headers: plan.max_headers.overridden(over!(
            max_headers,
            "--max-headers",
            "TOWERGATE_MAX_HEADERS",
            args.max_headers.map(|fields| fields as usize)
        )),
        max_streams: plan.max_streams.overridden(over!(
            max_streams,
            "--max-streams",
            "TOWERGATE_MAX_STREAMS",
            args.max_streams
        )),
        allowed_hosts: plan.allowed_hosts.overridden(over!(
            allowed_hosts,
            "--allowed-hosts",
            "TOWERGATE_ALLOWED_HOSTS",
            args.allowed_hosts.clone()
        )),
        allowed_origins: plan.allowed_origins.overridden(over!(
            allowed_origins,
            "--allowed-origins",
            "TOWERGATE_ALLOWED_ORIGINS",
            args.allowed_origins.clone()
        )),
        cors: plan.cors.overridden(over!(cors, "--cors", "TOWERGATE_CORS", args.cors.clone())),
        max_body: plan.max_body.overridden(over!(
            max_body,
            "--max-body",
            "TOWERGATE_MAX_BODY",
            args.max_body
        )),
        max_upload: plan.max_upload.overridden(over!(
            max_upload,
            "--max-upload",
            "TOWERGATE_MAX_UPLOAD",
            args.max_upload
        )),
        max_in_flight: plan.max_in_flight.overridden(over!(
            max_in_flight,
            "--max-in-flight",
            "TOWERGATE_MAX_IN_FLIGHT",
            requests
        )),
        memory: plan.memory.overridden(over!(memory, "--memory", "TOWERGATE_MEMORY", args.memory)),
        memory_per_client: plan.memory_per_client.overridden(over!(
            memory_per_client,
            "--memory-per-client",
            "TOWERGATE_MEMORY_PER_CLIENT",
            args.memory_per_client.map(Some)
        )),
        total_timeout: plan.total_timeout.overridden(over!(
            total_timeout,
            "--total-timeout",
            "TOWERGATE_TOTAL_TIMEOUT",
            args.total_timeout
        )),
        request_body_timeout: plan.request_body_timeout,
        stream_keep_alive: plan.stream_keep_alive.overridden(over!(
            stream_keep_alive,
            "--stream-keep-alive",
            "TOWERGATE_STREAM_KEEP_ALIVE",
            args.stream_keep_alive
        )),
        drain_delay: plan.drain_delay.overridden(over!(
            drain_delay,
            "--drain-delay",
            "TOWERGATE_DRAIN_DELAY",
            args.drain_delay
        )),
        drain_timeout: plan.drain_timeout.overridden(over!(
            drain_timeout,
            "--drain-timeout",
            "TOWERGATE_DRAIN_TIMEOUT",
            args.drain_timeout
        )),
        log: plan.log.overridden(over!(log, "--log", "TOWERGATE_LOG", args.log.clone())),
        log_format: plan.log_format.overridden(over!(
            log_format,
            "--log-format",
            "TOWERGATE_LOG_FORMAT",
            format
        )),
    }
}

/// A gateway with the listener's limits, and with the client keys of flags and environment, which stand in place
/// of those of a file. Without any, it keeps out the web pages that the listener does not know.
pub(crate) fn limited(
    keys: &GivenKeys,
    plan: &ServerPlan,
    gateway: GatewayBuilder,
) -> Result<GatewayBuilder, Error> {
    let gateway = plan.limit(gateway).allowed_hosts(plan.hosts());
    Ok(match keys.now(plan.client_auth.value)? {
        Some(keys) => gateway.client_keys(keys),
        None => gateway,
    })
}

/// The server. Where strangers may reach the listener, only `/healthz` and `/readyz` are public; so they are while
/// there are client keys, which the server sees to.
pub(crate) fn server(plan: &ServerPlan) -> Result<ServerBuilder, Error> {
    Ok(plan
        .listener(Server::builder())
        .public_metrics(is_loopback(plan.listen.value))
        .metrics(telemetry::install_metrics()?))
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl From<ClientAuth> for ClientAuthMode {
    fn from(mode: ClientAuth) -> Self {
        match mode {
            ClientAuth::Required => Self::Required,
            ClientAuth::Disabled => Self::Disabled,
        }
    }
}
