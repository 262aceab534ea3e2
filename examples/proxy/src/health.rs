//! `towergate health`.

use std::process::ExitCode;

use futures_util::future::join_all;
use serde_json::{Value, json};
use towergate::{
    OpenAiProvider, Provider as _,
    config::{Config, Variables, types::LogFormat},
    openai::client::Health,
};

use crate::{
    cli::HealthArgs,
    logging, out, running,
    settings::{self, Error},
};

/// The columns of the table: their heads, and the fields of a report that they show.
const COLUMNS: [(&str, &str); 6] = [
    ("PROVIDER", "name"),
    ("STATE", "state"),
    ("LATENCY MS", "latency_ms"),
    ("MODELS", "models_seen"),
    ("SINCE", "since"),
    ("LAST ERROR", "last_error"),
];

pub(crate) async fn run(args: HealthArgs) -> Result<ExitCode, Error> {
    logging::init("warn", LogFormat::Text)?;
    if let Some(url) = &args.gateway {
        let report = running::health(url).await?;
        if args.json {
            out::print(format_args!("{report}\n"))?;
        } else {
            out::print(table(report["providers"].as_array().map_or(&[][..], Vec::as_slice)))?;
            if let Some(error) = report["configuration"]["error"].as_str() {
                out::print(format_args!(
                    "\nthe configuration file was not taken over, the one before it is in force: {error}\n"
                ))?;
            }
        }
        return Ok(code(report["status"] == "healthy"));
    }
    let providers = match &args.config {
        None => vec![settings::provider(&args.upstream).await?.build()?],
        Some(path) => of_file(path).await?,
    };
    let checks = providers
        .iter()
        .map(|provider| async { report(provider.name().as_str(), &provider.health_check().await) });
    let reports = join_all(checks).await;
    let all_well = reports.iter().all(|report| report["healthy"] == true);
    match (args.json, &args.config, &reports[..]) {
        (true, None, [only]) => out::print(format_args!("{only}\n"))?,
        (true, ..) => out::print(format_args!("{}\n", Value::from(reports)))?,
        (false, ..) => out::print(table(&reports))?,
    }
    Ok(code(all_well))
}

fn code(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn of_file(path: &std::path::Path) -> Result<Vec<OpenAiProvider>, Error> {
    let variables = Variables::of_process();
    let config = Config::load(path, &variables).await?;
    let mut providers = Vec::new();
    for plan in config.providers() {
        providers.push(plan.build(&variables).await?);
    }
    Ok(providers)
}

/// What was seen of a provider that was asked just now.
fn report(name: &str, health: &Health) -> Value {
    json!({
        "name": name,
        "healthy": health.healthy,
        "state": if health.healthy { "healthy" } else { "down" },
        "latency_ms": u64::try_from(health.latency.as_millis()).unwrap_or(u64::MAX),
        "models_seen": health.healthy.then_some(health.models_seen),
        "last_error": health.reason().map(|reason| match health.causes() {
            // Whoever asks so is an operator.
            Some(causes) => format!("{reason} ({causes})"),
            None => reason,
        }),
    })
}

/// One line for each provider.
fn table(reports: &[Value]) -> String {
    let cell = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines = vec![COLUMNS.map(|(head, _)| head.to_owned())];
    lines.extend(reports.iter().map(|report| COLUMNS.map(|(_, field)| cell(&report[field]))));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let padded = |line: &[String; COLUMNS.len()]| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(padded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let reports = [
            json!({"name": "a", "state": "healthy", "latency_ms": 12, "models_seen": 3, "last_error": null}),
            json!({"name": "a-long-one", "state": "set_aside", "since": "now", "last_error": "it answered 503"}),
        ];
        let lines = table(&reports);
        let at = |line: usize, text: &str| lines.lines().nth(line).unwrap().find(text).unwrap();
        assert_eq!(at(0, "STATE"), at(1, "healthy"));
        assert_eq!(at(0, "STATE"), at(2, "set_aside"));
        assert_eq!(at(0, "LAST ERROR"), at(2, "it answered"));
    }
}
