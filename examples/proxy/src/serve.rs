//! `towergate serve`.

use std::{io, process::ExitCode};

use clap::ArgMatches;
use towergate::{
    Gateway,
    config::{Config, Live, ServerPlan, Variables},
    server::signal,
};

use crate::{
    cli::ServeArgs,
    client_keys::GivenKeys,
    logging, out,
    settings::{self, Error},
};

const NOT_CONFIGURED: &str = "\
there is no provider to serve: set OPENAI_API_KEY (or OPENAI_API_KEY_FILE), or name a server that
needs no key with --base-url, for example http://localhost:11434/v1.
To try towergate without any of these: towergate demo";

pub(crate) async fn run(args: ServeArgs, matches: &ArgMatches) -> Result<ExitCode, Error> {
    let Some(path) = &args.config else {
        let plan = settings::plan(&args.server, matches, None);
        logging::init(&plan.log.value, plan.log_format.value)?;
        if !settings::is_configured(&args.upstream) {
            return Err(NOT_CONFIGURED.into());
        }
        let provider = settings::provider(&args.upstream).await?.build()?;
        let keys = GivenKeys::read(&args.server.client_auth).await?;
        let gateway = settings::limited(&keys, &plan, Gateway::builder().provider(provider))?;
        // Whoever asks for a reload must not end it, as the signal would by itself.
        let mut hangups = signal::Hangups::listen()?;
        tokio::spawn(async move {
            loop {
                hangups.next().await;
                tracing::info!("SIGHUP: there is no configuration file to be read again");
            }
        });
        return start(&plan, gateway.build()?, |_| Ok(())).await;
    };
    if settings::says_anything(&args.upstream) {
        return Err(format!(
            "--base-url, --pass-through-auth, --upstream-http2 and --tunnel-idle (or their TOWERGATE_* variables) are about one \
             provider; with --config {} they stand in the file",
            path.display()
        )
        .into());
    }
    let variables = Variables::of_process();
    // Before anything is said: it says how.
    let mut config = Config::load(path, &variables).await?;
    let plan = settings::plan(&args.server, matches, Some(&config));
    logging::init(&plan.log.value, plan.log_format.value)?;
    let mut hangups = signal::Hangups::listen()?;
    let (server, matches) = (args.server.clone(), matches.clone());
    let keys = GivenKeys::read(&args.server.client_auth).await?;
    if let Some(file) = keys.file() {
        config.follow_also(file).await;
    }
    let running = plan.clone();
    let live = Live::of(config, variables, move |config, gateway| {
        // The listener is what it was at the start.
        let ServerPlan { listen, tls_cert_file, .. } = running.clone();
        let plan = ServerPlan { listen, tls_cert_file, ..settings::plan(&server, &matches, Some(config)) };
        settings::limited(&keys, &plan, gateway).map_err(|error| error.to_string())
    })
    .await?;
    let gateway = live.gateway();
    let watched = gateway.clone();
    let watching = tokio::spawn(async move { watched.watch_health().await });
    let following = tokio::spawn(live.follow(async move || hangups.next().await));
    let code = start(&plan, gateway, |_| Ok(())).await;
    following.abort();
    watching.abort();
    code
}

/// Serves until a signal comes; `ready` is told the URL.
pub(crate) async fn start(
    plan: &ServerPlan,
    gateway: Gateway,
    ready: impl FnOnce(&str) -> io::Result<()>,
) -> Result<ExitCode, Error> {
    let mut server = settings::server(plan)?;
    // Opened after the recorder stands: it counts.
    let tls = match plan.tls()? {
        Some(files) => {
            let opened = files.open().await;
            Some(opened.map_err(|error| format!("{error} [setting: --tls-cert, --tls-key, server.tls]"))?)
        }
        None => None,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    if let Some(tls) = tls {
        server = server.tls(tls.clone());
        let mut hangups = signal::Hangups::listen()?;
        tokio::spawn(async move {
            loop {
                hangups.next().await;
                // It is in the log; the old certificate stays.
                let _ = tls.reload().await;
            }
        });
    }
    let server = server.health(gateway.clone()).bind(gateway).await?;
    // Before anybody can know that it runs: a signal that comes early must not be missed, nor a second
    // one that comes while the first is being acted on.
    let (mut first, mut signals) = (signal::Signals::listen()?, signal::Signals::listen()?);
    let url = format!("{scheme}://{}", server.local_addr());
    out::print(format_args!("towergate is listening on {url}\n"))?;
    if let Some(admin) = server.admin_addr() {
        out::print(format_args!("operators: http://{admin}/healthz /readyz /health /metrics\n"))?;
    }
    ready(&url)?;

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
