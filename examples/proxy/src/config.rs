//! `towergate check`, `towergate schema`, `towergate import-litellm`, `towergate explain`.

use std::process::ExitCode;

use clap::ArgMatches;
use http::{HeaderMap, HeaderName, HeaderValue};
use towergate::config::{Config, Import, Variables, schema};

use crate::{
    cli::{CheckArgs, ExplainArgs, ImportArgs},
    client_keys::{self, GivenKeys},
    out,
    settings::{self, Error},
};

pub(crate) async fn check(args: CheckArgs) -> Result<ExitCode, Error> {
    let variables = Variables::of_process();
    match Config::load(&args.file, &variables).await {
        Ok(config) => {
            for warning in config.warnings(&variables).await {
                eprintln!("{}:{warning}", args.file.display());
            }
            let mode = args.client_auth.client_auth.map(Into::into).or(config.server().client_auth.value);
            GivenKeys::read(&args.client_auth).await?.now(mode)?;
            let providers = config.providers().len();
            let plural = if providers == 1 { "" } else { "s" };
            out::print(format_args!("{} is sound: {providers} provider{plural}\n", args.file.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            eprintln!("{errors}");
            Ok(ExitCode::FAILURE)
        }
    }
}

pub(crate) fn print_schema() -> Result<ExitCode, Error> {
    out::print(serde_json::to_string_pretty(&schema())? + "\n")?;
    Ok(ExitCode::SUCCESS)
}

/// The file goes to standard output, what is to be known of it to standard error.
pub(crate) async fn import_litellm(args: ImportArgs) -> Result<ExitCode, Error> {
    let import = match Import::load_litellm(&args.file).await {
        Ok(import) => import,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(ExitCode::FAILURE);
        }
    };
    out::print(import.yaml())?;
    for note in import.notes() {
        eprintln!("{}:{note}", args.file.display());
    }
    eprintln!("what differs or was not taken over: {} (listed in the file too)", import.notes().len());
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn explain(args: ExplainArgs, matches: &ArgMatches) -> Result<ExitCode, Error> {
    let mut headers = HeaderMap::new();
    for header in &args.header {
        let field = header.split_once(':').and_then(|(name, value)| {
            Some((name.trim().parse::<HeaderName>().ok()?, HeaderValue::from_str(value.trim()).ok()?))
        });
        let Some((name, value)) = field else {
            return Err(
                format!("{header:?} is no header: write --header 'x-towergate-provider: main'").into()
            );
        };
        headers.append(name, value);
    }
    let config = Config::load(&args.config, &Variables::of_process()).await?;
    match &args.model {
        Some(model) => out::print(config.explain(model, &headers))?,
        None => out::print(config.explain_providers())?,
    }
    out::print(config.explain_settings(&settings::plan(&args.server, matches, Some(&config))))?;
    if client_keys::are_given(&args.server.client_auth) {
        out::print("\nclient keys: those of flags and environment stand in place of those of the file\n")?;
    }
    Ok(ExitCode::SUCCESS)
}
