//! `towergate health`.

use std::process::ExitCode;

use futures_util::future::join_all;
use towergate::{
    OpenAiProvider, Provider as _,
    config::{Config, Variables, types::LogFormat},
    openai::client::Health,
};

use crate::{
    cli::HealthArgs,
    logging,
    settings::{self, Error},
};

pub(crate) async fn run(args: HealthArgs) -> Result<ExitCode, Error> {
    logging::init("warn", LogFormat::Text)?;
    let providers = match &args.config {
        None => vec![settings::provider(&args.upstream).await?.max_retries(0).build()?],
        Some(path) => of_file(path).await?,
    };
    let checks =
        providers.iter().map(|provider| async { (provider.name().as_str(), provider.health_check().await) });
    let checked = join_all(checks).await;
    if args.json {
        let reports: Vec<_> = checked.iter().map(|(name, health)| report(name, health)).collect();
        match (&args.config, &reports[..]) {
            (None, [only]) => println!("{only}"),
            _ => println!("{}", serde_json::Value::from(reports)),
        }
    } else {
        let width = checked.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, health) in &checked {
            println!("{:<width$} {health}", format!("{name}:"), width = width + 1);
        }
    }
    let all_well = checked.iter().all(|(_, health)| health.healthy);
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn of_file(path: &std::path::Path) -> Result<Vec<OpenAiProvider>, Error> {
    let variables = Variables::of_process();
    let config = Config::load(path, &variables).await?;
    let mut providers = Vec::new();
    for plan in config.providers() {
        let mut plan = plan.clone();
        // One look each: how it is now.
        plan.max_retries.value = 0;
        providers.push(plan.build(&variables).await?);
    }
    Ok(providers)
}

fn report(name: &str, health: &Health) -> serde_json::Value {
    serde_json::json!({
        "provider": name,
        "healthy": health.healthy,
        "latency_ms": u64::try_from(health.latency.as_millis()).unwrap_or(u64::MAX),
        "models_seen": health.models_seen,
        "error": health.error.as_ref().map(ToString::to_string),
    })
}
