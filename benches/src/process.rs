//! The processes that are measured: started, asked what they use, and ended.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::Error;

/// Linux counts processor time for user space in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// How long a process may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// A server that was started here. It is killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    /// Kept, so that what the server prints later does not fail.
    _stdout: BufReader<ChildStdout>,
}

/// What a process and its descendants have used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system time.
    pub processor: Duration,
    /// Resident bytes.
    pub resident: u64,
}

// === impl Server ===

impl Server {
    /// Starts a server that prints its URL when it listens.
    ///
    /// # Errors
    ///
    /// It does not start, or ends before it has printed a URL.
    pub fn start(mut command: Command) -> Result<Self, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let stdout = child.stdout.take().ok_or("a child without standard output")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let address = loop {
            line.clear();
            if stdout.read_line(&mut line)? == 0 {
                let status = child.wait()?;
                return Err(format!("{program} ended before it listened: {status}").into());
            }
            if let Some((_, address)) = line.split_once("http://") {
                break address.trim().parse()?;
            }
        };
        Ok(Self { child, address, _stdout: stdout })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its base URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    ///
    /// It does not end within a minute.
    pub fn end(mut self) -> Result<(), Error> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let step = Duration::from_millis(20);
        for _ in 0..END_TIMEOUT.div_duration_f64(step) as u32 {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(step);
        }
        Err(format!("process {} does not end on SIGTERM", self.child.id()).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Usage ===

impl Usage {
    /// The time since an earlier look; the memory is that of now.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { processor: self.processor.saturating_sub(earlier.processor), ..self }
    }
}

/// The command of the bare proxy: this program, in another role.
///
/// # Errors
///
/// This program does not know where it is.
pub fn bare(upstream: SocketAddr) -> Result<Vec<String>, Error> {
    let program = std::env::current_exe()?.to_string_lossy().into_owned();
    Ok(vec![program, "bare".into(), "--upstream".into(), upstream.to_string()])
}

/// The command of the gateway.
#[must_use]
pub fn gateway(binary: &Path, log: &str) -> Vec<String> {
    let binary = binary.to_string_lossy().into_owned();
    [&binary, "serve", "--listen", "127.0.0.1:0", "--log", log].map(str::to_owned).into()
}

/// Puts a command together, with what the gateway is configured by in its environment: the upstream, and
/// the key that clients present. Nothing that the caller's environment says of a gateway gets there.
#[must_use]
pub fn command(words: &[String], upstream: &str, key: &str) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let upper = name.to_ascii_uppercase();
        if upper.starts_with("TOWERGATE_") || upper.starts_with("OPENAI_") || upper.ends_with("_PROXY") {
            command.env_remove(&*name);
        }
    }
    command.env("OPENAI_BASE_URL", upstream).env("OPENAI_API_KEY", "sk-upstream");
    command.env("TOWERGATE_CLIENT_KEYS", key);
    command
}

/// The gateway's binary: the given one, else the one beside this program. `cargo run` builds that first.
///
/// # Errors
///
/// There is none, or it cannot be built.
pub fn gateway_binary(given: Option<PathBuf>) -> Result<PathBuf, Error> {
    if let Some(given) = given {
        return Ok(given);
    }
    if cfg!(debug_assertions) {
        return Err("a debug build says nothing of costs: use `cargo run --release`".into());
    }
    if let Some(cargo) = std::env::var_os("CARGO") {
        let status = Command::new(cargo).args(["build", "--release", "-p", "towergate-proxy"]).status()?;
        if !status.success() {
            return Err(format!("the gateway cannot be built: {status}").into());
        }
    }
    let binary = std::env::current_exe()?.with_file_name("towergate");
    if !binary.exists() {
        return Err(format!("there is no {}: build it, or name one with --gateway", binary.display()).into());
    }
    Ok(binary)
}

/// Allows this process, and those that it starts, as many files as the system does: a thousand streams
/// take more than the usual 1,024.
///
/// # Errors
///
/// The limit cannot be set.
pub fn raise_file_limit() -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// What a process and its descendants have used so far.
///
/// # Errors
///
/// The process does not exist.
pub fn usage(process: u32) -> Result<Usage, Error> {
    let mut usage = Usage::default();
    let root = stat(process).ok_or_else(|| format!("there is no process {process}"))?;
    let mut children: HashMap<u32, Vec<(u32, Stat)>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(stat) = stat(id) {
            children.entry(stat.parent).or_default().push((id, stat));
        }
    }
    let mut family = vec![(process, root)];
    while let Some((id, stat)) = family.pop() {
        usage.processor += Duration::from_secs_f64(stat.ticks as f64 / TICKS_PER_SECOND);
        usage.resident += stat.pages * rustix::param::page_size() as u64;
        family.extend(children.remove(&id).unwrap_or_default());
    }
    Ok(usage)
}

/// What is read of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy)]
struct Stat {
    parent: u32,
    ticks: u64,
    pages: u64,
}

fn stat(process: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may have spaces and parentheses; what follows it has none.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    // The third field of the page, the state, is the first here.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        ticks: number(14)? + number(15)?,
        pages: number(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_memory() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.resident > 100_000, "{usage:?}");
    }
}
