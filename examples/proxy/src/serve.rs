//! `towergate serve`.

use std::process::ExitCode;

use towergate::{Gateway, server::signal};

use crate::{
    cli::{ServeArgs, ServerArgs},
    logging,
    settings::{self, Error},
};

const NOT_CONFIGURED: &str = "\
there is no provider to serve: set OPENAI_API_KEY (or OPENAI_API_KEY_FILE), or name a server that
needs no key with --base-url, for example http://localhost:11434/v1.
To try towergate without any of these: towergate demo";

pub(crate) async fn run(args: ServeArgs) -> Result<ExitCode, Error> {
    logging::init(&args.server.log, args.server.log_format)?;
    if !settings::is_configured(&args.upstream) {
        return Err(NOT_CONFIGURED.into());
    }
    let provider = settings::provider(&args.upstream).await?;
    start(&args.server, provider, |_| ()).await
}

/// Builds and serves until a signal comes; `ready` is told the address.
pub(crate) async fn start(
    args: &ServerArgs,
    provider: towergate::OpenAiProviderBuilder,
    ready: impl FnOnce(std::net::SocketAddr),
) -> Result<ExitCode, Error> {
    // Before the gateway: its metrics must find the recorder.
    let (gateway, guarded) = settings::gateway(args, provider.build()?)?;
    let server = settings::server(args, guarded)?;
    let gateway: Gateway = gateway.build()?;
    if !guarded && !settings::is_loopback(args.listen) {
        tracing::warn!(
            listen = %args.listen,
            "anybody who reaches this address can spend the provider's key: set TOWERGATE_CLIENT_KEYS"
        );
    }
    let server = server.bind(gateway).await?;
    // Before anybody can know that it runs: a signal that comes early must not be missed, nor a second
    // one that comes while the first is being acted on.
    let (mut first, mut signals) = (signal::Signals::listen()?, signal::Signals::listen()?);
    println!("towergate is listening on http://{}", server.local_addr());
    if let Some(admin) = server.admin_addr() {
        println!("operators: http://{admin}/healthz /readyz /metrics");
    }
    ready(server.local_addr());

    let serving = server.serve(async move { first.next().await });
    tokio::pin!(serving);
    let second = async {
        signals.next().await;
        signals.next().await;
    };
    tokio::select! {
        report = &mut serving => {
            tracing::info!("{report}");
            Ok(ExitCode::SUCCESS)
        }
        () = second => {
            tracing::warn!("a second signal: ending at once");
            Ok(ExitCode::from(130))
        }
    }
}
