//! `towergate health`.

use std::process::ExitCode;

use towergate::Provider as _;

use crate::{
    cli::{HealthArgs, LogFormat},
    logging,
    settings::{self, Error},
};

pub(crate) async fn run(args: HealthArgs) -> Result<ExitCode, Error> {
    logging::init("warn", LogFormat::Text)?;
    let provider = settings::provider(&args.upstream).await?.max_retries(0).build()?;
    let health = provider.health_check().await;
    if args.json {
        let report = serde_json::json!({
            "provider": provider.name().as_str(),
            "healthy": health.healthy,
            "latency_ms": health.latency.as_millis() as u64,
            "models_seen": health.models_seen,
            "error": health.error.as_ref().map(ToString::to_string),
        });
        println!("{report}");
    } else {
        println!("{}: {health}", provider.name());
    }
    Ok(if health.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
