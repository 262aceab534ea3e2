//! Instructions a request and an event, counted by callgrind: the figure to work by, since it hardly
//! depends on what else the machine does.
//!
//! Each program runs twice under valgrind, with one worker thread, and serves few and many requests of
//! one keep-alive connection. The figure is the difference of the instructions over the difference of the
//! requests, so that the start, the first connection and the end do not count. An event of a stream goes
//! out when the one before has come through the proxy, as an upstream that thinks about each token sends
//! them; or ten together, as an upstream that is faster than the proxy does. Without that lockstep, how many events
//! one read finds would depend on the machine, and the figure with it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use crate::{
    Error,
    client::Connection,
    process::{self, Server},
    request::{self, Template},
    upstream::{Behaviour, Content, Pace, Upstream},
};

const KEY: &str = "sk-client";

/// Events with text in a stream.
const EVENTS: usize = 100;

/// Bytes of a request's body.
const REQUEST: usize = 1024;

/// What is counted.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The gateway's binary [default: built, where this runs through cargo; else the one beside this program]
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// Where the profiles of the longer runs are left, for callgrind_annotate
    #[arg(long, value_name = "DIRECTORY")]
    profiles: Option<PathBuf>,
    /// How often everything is counted; more than once shows how stable the figures are
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: usize,
}

/// One kind of work.
#[derive(Debug)]
struct Work {
    name: &'static str,
    content: Content,
    /// Events that are granted together.
    group: usize,
    few: usize,
    many: usize,
}

/// One program.
#[derive(Debug)]
struct Program {
    name: &'static str,
    words: Vec<String>,
}

const WORKS: [Work; 3] = [
    Work { name: "JSON, a request", content: Content::Json { size: 1024 }, group: 0, few: 100, many: 1100 },
    Work {
        name: "stream, an event",
        content: Content::Events { count: EVENTS, pace: Pace::Granted },
        group: 1,
        few: 5,
        many: 45,
    },
    Work {
        name: "stream, an event of ten together",
        content: Content::Events { count: EVENTS, pace: Pace::Granted },
        group: 10,
        few: 5,
        many: 45,
    },
];

/// Counts, and prints a table in Markdown.
///
/// # Errors
///
/// valgrind is missing, a program does not start, or a request fails.
pub async fn run(options: &Options) -> Result<(), Error> {
    let gateway = process::gateway_binary(options.gateway.clone())?;
    let upstream = Upstream::start(([127, 0, 0, 1], 0).into(), WORKS[0].behaviour())?;
    let programs = [
        Program { name: "bare", words: process::bare(upstream.address())? },
        Program { name: "towergate, log off", words: process::gateway(&gateway, "off") },
        Program { name: "towergate", words: process::gateway(&gateway, "info") },
    ];
    let directory = match &options.profiles {
        Some(directory) => directory.clone(),
        None => std::env::temp_dir().join(format!("towergate-bench-{}", std::process::id())),
    };
    fs::create_dir_all(&directory)?;
    for _ in 0..options.times {
        println!("| instructions | {} |", programs.each_ref().map(|program| program.name).join(" | "));
        println!("|---|{}", "---|".repeat(programs.len()));
        for work in &WORKS {
            let mut bare = None;
            print!("| {} |", work.name);
            for program in &programs {
                let each = count(work, program, &upstream, &directory).await?;
                match bare {
                    None => print!(" {each:.0} |"),
                    Some(bare) => print!(" {each:.0} ({:.2}) |", each / bare),
                }
                bare.get_or_insert(each);
            }
            println!();
        }
        println!();
    }
    if options.profiles.is_none() {
        fs::remove_dir_all(&directory)?;
    }
    Ok(())
}

// === impl Work ===

impl Work {
    fn behaviour(&self) -> Behaviour {
        Behaviour { delay: Duration::ZERO, content: self.content }
    }

    /// What a request has that many of.
    fn units(&self) -> usize {
        self.content.events().max(1)
    }
}

/// Instructions of one unit of the work.
async fn count(work: &Work, program: &Program, upstream: &Upstream, directory: &Path) -> Result<f64, Error> {
    let name: String = format!("{} {}", program.name, work.name).replace([' ', ','], "-");
    let profile = |requests: usize| directory.join(format!("{name}.{requests}.callgrind"));
    let few = total(work, work.few, program, upstream, &profile(work.few)).await?;
    let many = total(work, work.many, program, upstream, &profile(work.many)).await?;
    let units = (work.many - work.few) * work.units();
    Ok((many as f64 - few as f64) / units as f64)
}

/// Instructions of a whole run.
async fn total(
    work: &Work,
    requests: usize,
    program: &Program,
    upstream: &Upstream,
    profile: &Path,
) -> Result<u64, Error> {
    upstream.set_behaviour(work.behaviour());
    let file = format!("--callgrind-out-file={}", profile.display());
    let valgrind = ["valgrind", "--tool=callgrind", "--quiet", "--vgdb=no", &file].map(str::to_owned);
    let words = [&valgrind, program.words.as_slice()].concat();
    let mut command = process::command(&words, &upstream.base_url(), KEY);
    command.env("TOKIO_WORKER_THREADS", "1").stderr(Stdio::null());
    let server = Server::start(command)?;
    let body = request::chat_completion(REQUEST, work.content.events() > 0);
    let template = Template::new(&server.base_url(), KEY, body)?;
    let mut connection = Connection::open(&template).await?;
    for _ in 0..requests {
        let (mut granted, mut came) = (work.group, 0);
        upstream.grant(granted);
        connection
            .exchange(&template, |events| {
                came += events;
                if came >= granted {
                    granted += work.group;
                    upstream.grant(work.group);
                }
            })
            .await?;
        upstream.revoke();
    }
    drop(connection);
    server.end()?;
    let text = fs::read_to_string(profile)?;
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    Ok(total.ok_or_else(|| format!("{} has no total", profile.display()))?.trim().parse()?)
}
