//! The standalone proxy: `towergate serve`, `towergate demo`, `towergate health`.
//!
//! Everything it does the library offers; what is here is the command line.

mod cli;
mod client_keys;
mod config;
mod demo;
mod fields;
mod health;
mod lines;
mod logging;
mod out;
mod running;
mod serve;
mod settings;
mod text;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use towergate::server::raise_descriptor_limit;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return cli::refused(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let matches = matches.subcommand().map_or(&matches, |(_, below)| below);
    logging::hush_panics();
    // Where it cannot be raised, what there is bounds the connections.
    let _ = raise_descriptor_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("towergate: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve(cli.serve)) {
            Command::Serve(args) => serve::run(args, matches).await,
            Command::Demo(args) => demo::run(args, matches).await,
            Command::Health(args) => health::run(args).await,
            Command::Check(args) => config::check(args).await,
            Command::Schema => config::print_schema(),
            Command::ImportLitellm(args) => config::import_litellm(args).await,
            Command::Explain(args) => config::explain(args, matches).await,
        }
    });
    // What was cut at the drain timeout must not keep the process.
    runtime.shutdown_background();
    lines::flush();
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("towergate: {error}");
            ExitCode::FAILURE
        }
    }
}
