//! Puts the same work on the bare proxy, the gateway and any other gateway, in turns, and prints what each
//! costs relative to the bare proxy. No time makes it fail: times depend on what else the machine does.

mod rows;
mod table;

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use self::{
    rows::{ROWS, Row},
    table::Table,
};
use crate::{
    Error,
    load::{self, Load, Measured},
    process::{self, Server},
    request::{self, Template},
    upstream::Upstream,
};

/// Before the first round, each target is loaded for so long without being measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// What is compared, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The gateway's binary [default: built, where this runs through cargo; else the one beside this program]
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// Another gateway that runs already, with the upstream of --upstream behind it: its name, its base URL, and its
    /// process id, without which its processor time is not known. The processes below that one count with it.
    #[arg(long, value_name = "NAME=URL[=PID]")]
    other: Vec<Other>,
    /// Where the upstream listens; the other gateways must know it
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    upstream: SocketAddr,
    /// The key that clients present
    #[arg(long, default_value = "sk-client")]
    key: String,
    /// How often each target has its turn
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// How long each turn is measured, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
    /// Only rows whose name contains this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// A gateway that this program did not start.
#[derive(Debug, Clone)]
pub struct Other {
    name: String,
    base_url: String,
    process: Option<u32>,
}

/// What is measured in turns.
#[derive(Debug)]
struct Target {
    name: String,
    base_url: String,
    process: Option<u32>,
    /// Ended with the target.
    _server: Option<Server>,
}

// === impl Other ===

impl FromStr for Other {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '=');
        let (Some(name), Some(url)) = (parts.next(), parts.next()) else {
            return Err("give it as NAME=URL or NAME=URL=PID".into());
        };
        let process = parts.next().map(|id| id.parse().map_err(|_| format!("{id} is not a process id")));
        Ok(Self { name: name.to_owned(), base_url: url.to_owned(), process: process.transpose()? })
    }
}

// === impl Target ===

impl Target {
    fn started(name: &str, words: &[String], upstream: &Upstream, options: &Options) -> Result<Self, Error> {
        let mut command = process::command(words, &upstream.base_url(), &options.key);
        // Log lines are written, and go nowhere.
        command.stderr(std::process::Stdio::null());
        let server = Server::start(command)?;
        Ok(Self {
            name: name.to_owned(),
            base_url: server.base_url(),
            process: Some(server.id()),
            _server: Some(server),
        })
    }

    async fn measure(&self, row: &Row, options: &Options, time: Duration) -> Result<Measured, Error> {
        let body = request::chat_completion(row.request, row.is_stream());
        let template = Template::new(&self.base_url, &options.key, body)?;
        load::measure(&template, &Load { time, ..row.load }, self.process).await
    }
}

impl From<Other> for Target {
    fn from(other: Other) -> Self {
        Self { name: other.name, base_url: other.base_url, process: other.process, _server: None }
    }
}

/// Compares, and prints tables in Markdown.
///
/// # Errors
///
/// A process does not start, or requests failed: then the figures mean nothing.
pub async fn run(options: &Options) -> Result<(), Error> {
    process::raise_file_limit()?;
    let gateway = process::gateway_binary(options.gateway.clone())?;
    let rows: Vec<&Row> = ROWS.iter().filter(|row| row.name.contains(&options.only)).collect();
    let first = rows.first().ok_or_else(|| format!("no row has {:?} in its name", options.only))?;
    let upstream = Upstream::start(options.upstream, first.behaviour)?;
    eprintln!("upstream: {}", upstream.base_url());
    let time = Duration::from_secs_f64(options.seconds);
    let mut table = Table::default();
    for row in rows {
        upstream.set_behaviour(row.behaviour);
        // New for each row: memory is not that of the row before.
        let mut targets = vec![
            Target::started("bare", &process::bare(upstream.address())?, &upstream, options)?,
            Target::started("towergate", &process::gateway(&gateway, "info"), &upstream, options)?,
            Target::started("towergate, log off", &process::gateway(&gateway, "off"), &upstream, options)?,
        ];
        targets.extend(options.other.iter().cloned().map(Target::from));
        for target in &targets {
            target.measure(row, options, WARM_UP).await?;
        }
        for round in 1..=options.rounds {
            eprintln!("{}: round {round} of {}", row.name, options.rounds);
            for target in &targets {
                table.add(row, &target.name, target.measure(row, options, time).await?);
            }
        }
    }
    println!("{table}");
    table.failures()
}
