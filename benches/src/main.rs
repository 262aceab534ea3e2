//! The command line of the tools.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use towergate_benches::{
    Error, bare, compare, instructions,
    load::{self, Load},
    request::{self, Template},
    upstream::{Behaviour, Content, Pace, Upstream},
};

/// What the gateway costs, measured beside a bare hyper proxy.
#[derive(Debug, Parser)]
#[command(name = "towergate-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in turns, and print processor time and memory relative to the bare proxy
    Compare(compare::Options),
    /// Count instructions a request and an event, with valgrind
    Instructions(instructions::Options),
    /// Serve fixed responses
    Upstream(UpstreamArgs),
    /// Serve a reverse proxy that does nothing else
    Bare(BareArgs),
    /// Load a gateway, and print what it did
    Load(LoadArgs),
}

#[derive(Debug, Args)]
struct UpstreamArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// Milliseconds before the head of each response
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,
    /// Bytes of a JSON response
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// Respond with a stream of so many events instead
    #[arg(long, value_name = "N")]
    events: Option<usize>,
    /// Milliseconds between two events
    #[arg(long, value_name = "MS", default_value_t = 0)]
    gap: u64,
}

#[derive(Debug, Args)]
struct BareArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The server behind it
    #[arg(long, value_name = "ADDRESS")]
    upstream: SocketAddr,
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// The base URL of the gateway, such as http://127.0.0.1:8080/v1
    url: String,
    /// Its process, for processor time and memory
    #[arg(long)]
    pid: Option<u32>,
    /// The key that is presented
    #[arg(long, default_value = "sk-client")]
    key: String,
    /// Bytes of the request's body
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// Ask for a stream
    #[arg(long)]
    stream: bool,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 64)]
    connections: usize,
    /// Requests a second, in an open loop [default: a closed loop]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Seconds over which the connections start
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    ramp: f64,
    /// Seconds that are not measured
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warm_up: f64,
    /// Seconds that are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    seconds: f64,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    // The bare proxy has a worker thread for each core, as the gateway has. The load generator needs one.
    let mut runtime = match &command {
        Command::Bare(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(async {
        match command {
            Command::Compare(options) => compare::run(&options).await,
            Command::Instructions(options) => instructions::run(&options).await,
            Command::Upstream(args) => upstream(&args).await,
            Command::Bare(args) => bare::serve(args.listen, args.upstream).await,
            Command::Load(args) => load(&args).await,
        }
    })
}

async fn upstream(args: &UpstreamArgs) -> Result<(), Error> {
    let pace = if args.gap == 0 { Pace::AtOnce } else { Pace::Every(Duration::from_millis(args.gap)) };
    let content = match args.events {
        Some(count) => Content::Events { count, pace },
        None => Content::Json { size: args.size },
    };
    let behaviour = Behaviour { delay: Duration::from_millis(args.delay), content };
    let upstream = Upstream::start(args.listen, behaviour)?;
    println!("the upstream is listening on {}", upstream.base_url());
    std::future::pending().await
}

async fn load(args: &LoadArgs) -> Result<(), Error> {
    let body = request::chat_completion(args.size, args.stream);
    let template = Template::new(&args.url, &args.key, body)?;
    let load = Load {
        connections: args.connections,
        rate: args.rate,
        ramp: Duration::from_secs_f64(args.ramp),
        warm_up: Duration::from_secs_f64(args.warm_up),
        time: Duration::from_secs_f64(args.seconds),
    };
    let measured = load::measure(&template, &load, args.pid).await?;
    println!("{measured}");
    Ok(())
}
