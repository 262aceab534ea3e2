//! The standalone proxy: `towergate serve`, `towergate demo`, `towergate health`.
//!
//! Everything it does the library offers; what is here is the command line.

mod cli;
mod demo;
mod health;
mod logging;
mod serve;
mod settings;
mod units;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::hush_panics();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("towergate: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve(cli.serve)) {
            Command::Serve(args) => serve::run(args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Health(args) => health::run(args).await,
        }
    });
    // What was cut at the drain timeout must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("towergate: {error}");
            ExitCode::FAILURE
        }
    }
}
