//! From flags and environment to a gateway and a server. The rule: flag, then `TOWERGATE_*`, then
//! `OPENAI_*`, then what is built in.

use std::net::SocketAddr;

use towergate::{
    Gateway, GatewayBuilder, OpenAiProvider, OpenAiProviderBuilder,
    layers::{client_auth::ClientKeys, timeout::Timeouts},
    parse_client_keys,
    server::{Server, ServerBuilder, telemetry},
};

use crate::cli::{ServerArgs, UpstreamArgs};

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
    Ok(provider)
}

/// Whether a key, or another place to send requests to, was given at all.
pub(crate) fn is_configured(args: &UpstreamArgs) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    args.base_url.is_some()
        || args.pass_through_auth
        || ["OPENAI_API_KEY", "OPENAI_API_KEY_FILE", "OPENAI_BASE_URL"].into_iter().any(set)
}

/// The gateway in front of that provider.
pub(crate) fn gateway(args: &ServerArgs, provider: OpenAiProvider) -> Result<(GatewayBuilder, bool), Error> {
    let mut gateway = Gateway::builder()
        .provider(provider)
        .max_body(args.max_body)
        .max_upload(args.max_upload as u64)
        .timeouts(Timeouts::default().with_total(args.total_timeout));
    if let Some(requests) = args.max_in_flight {
        gateway = gateway.max_in_flight(requests);
    }
    let keys = client_keys(args)?;
    let guarded = keys.is_some();
    if let Some(keys) = keys {
        gateway = gateway.client_keys(keys);
    }
    Ok((gateway, guarded))
}

/// The server. Where strangers may reach the listener, only `/healthz` and `/readyz` are public.
pub(crate) fn server(args: &ServerArgs, guarded: bool) -> Result<ServerBuilder, Error> {
    Ok(Server::builder()
        .listen(args.listen)
        .admin_listen(args.admin_listen)
        .drain_delay(args.drain_delay)
        .drain_timeout(args.drain_timeout)
        .public_metrics(!guarded && is_loopback(args.listen))
        .metrics(telemetry::install_metrics()?))
}

pub(crate) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Keys that clients must present: from the environment, or from a file.
fn client_keys(args: &ServerArgs) -> Result<Option<ClientKeys>, Error> {
    let variable = std::env::var("TOWERGATE_CLIENT_KEYS").ok().filter(|keys| !keys.trim().is_empty());
    let (text, origin) = match (&args.client_keys_file, variable) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err("TOWERGATE_CLIENT_KEYS and --client-keys-file are both set: unset one".into());
        }
        (None, Some(keys)) => (keys, "TOWERGATE_CLIENT_KEYS".to_owned()),
        (Some(file), None) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| format!("cannot read the client keys in {}: {error}", file.display()))?;
            (text, file.display().to_string())
        }
    };
    let keys = parse_client_keys(&text).map_err(|error| format!("{origin}: {error}"))?;
    Ok(Some(keys))
}
