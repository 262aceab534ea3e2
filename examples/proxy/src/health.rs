//! `towergate health`.

use std::process::ExitCode;

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
        println!("{}", serde_json::to_string(&health)?);
    } else {
        print!("{}: {health}", provider.name());
        println!();
    }
    Ok(if health.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
