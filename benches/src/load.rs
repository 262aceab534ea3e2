//! The load generator: a closed and an open loop, and what a target did meanwhile.
//!
//! In the *closed* loop each connection sends its next request when the response to the last one is
//! whole. In the *open* loop every request has a scheduled time that does not depend on earlier
//! responses, and its latency counts from that time: a target that stalls delays all requests that were
//! due meanwhile, and all of them show it. (A closed loop would have sent fewer: coordinated omission.)

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use crate::{
    Error,
    client::Connection,
    process::{self, Usage},
    request::Template,
};

/// After a failed request, a connection waits so long before it goes on.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// How requests are sent.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections.
    pub connections: usize,
    /// Requests a second, over all connections, in an open loop; in a closed one where it is not set. Each
    /// connection has its share of the schedule, so there must be enough of them for the latency that is
    /// expected.
    pub rate: Option<f64>,
    /// Over this time connections start one after the other; before the warm-up.
    pub ramp: Duration,
    /// Time in which nothing is measured.
    pub warm_up: Duration,
    /// Time that is measured.
    pub time: Duration,
}

/// What happened in the time that was measured.
#[derive(Debug, Clone)]
pub struct Measured {
    /// How long it was.
    pub time: Duration,
    /// Requests whose response was whole.
    pub requests: u64,
    /// Events of streams.
    pub events: u64,
    /// Latencies of those requests, in order. From the scheduled time in an open loop.
    pub latencies: Vec<Duration>,
    /// What the target's processes used; none where they are not known.
    pub usage: Option<Usage>,
    /// Requests that failed, since the start.
    pub failures: u64,
    /// How the first of them failed.
    pub first_failure: Option<String>,
}

#[derive(Debug, Default)]
struct Progress {
    requests: AtomicU64,
    events: AtomicU64,
    failures: AtomicU64,
    locked: Mutex<Locked>,
}

#[derive(Debug, Default)]
struct Locked {
    is_measuring: bool,
    latencies: Vec<Duration>,
    first_failure: Option<String>,
}

/// The times of one connection's requests.
#[derive(Debug)]
enum Schedule {
    Closed,
    Open { next: Instant, gap: Duration },
}

// === impl Measured ===

impl Measured {
    /// The latency that this part (0 to 1) of the requests did not exceed.
    #[must_use]
    pub fn latency(&self, part: f64) -> Option<Duration> {
        let last = self.latencies.len().checked_sub(1)?;
        self.latencies.get((last as f64 * part).round() as usize).copied()
    }

    /// Microseconds of processor time for one of `count`.
    #[must_use]
    pub fn micros_each(&self, count: u64) -> Option<f64> {
        let micros = self.usage?.processor.as_secs_f64() * 1e6;
        (count > 0).then(|| micros / count as f64)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        for (name, count) in [("requests", self.requests), ("events", self.events)] {
            if count == 0 {
                continue;
            }
            write!(f, "{name}: {count}, {:.0} a second", count as f64 / seconds)?;
            if let Some(micros) = self.micros_each(count) {
                write!(f, ", {micros:.1} us of processor time each")?;
            }
            writeln!(f)?;
        }
        for (name, part) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("most", 1.0)] {
            if let Some(latency) = self.latency(part) {
                writeln!(f, "latency {name}: {:.2} ms", latency.as_secs_f64() * 1e3)?;
            }
        }
        if let Some(usage) = self.usage {
            writeln!(f, "resident memory: {:.1} MiB", usage.resident as f64 / f64::from(1 << 20))?;
        }
        write!(f, "failures: {}", self.failures)?;
        if let Some(failure) = &self.first_failure {
            write!(f, ", the first: {failure}")?;
        }
        Ok(())
    }
}

// === impl Progress ===

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn succeeded(&self, latency: Duration) {
        self.requests.fetch_add(1, Relaxed);
        let mut locked = self.lock();
        if locked.is_measuring {
            locked.latencies.push(latency);
        }
    }

    fn failed(&self, error: &Error) {
        self.failures.fetch_add(1, Relaxed);
        self.lock().first_failure.get_or_insert_with(|| error.to_string());
    }
}

// === impl Schedule ===

impl Schedule {
    fn new(load: &Load, start: Instant, connection: usize) -> Self {
        let Some(rate) = load.rate else { return Self::Closed };
        let next = start + Duration::from_secs_f64(connection as f64 / rate);
        Self::Open { next, gap: Duration::from_secs_f64(load.connections as f64 / rate) }
    }

    /// Waits until the next request is due, and gives the time from which its latency counts.
    async fn due(&mut self) -> Instant {
        match self {
            Self::Closed => Instant::now(),
            Self::Open { next, gap } => {
                let due = *next;
                *next += *gap;
                tokio::time::sleep_until(due).await;
                due
            }
        }
    }
}

/// Loads a target, and measures what its processes use; `process` is the first of them.
///
/// # Errors
///
/// The processes cannot be read. A request that fails is counted instead.
pub async fn measure(template: &Template, load: &Load, process: Option<u32>) -> Result<Measured, Error> {
    let progress = Arc::new(Progress::default());
    let template = Arc::new(template.clone());
    let mut connections = JoinSet::new();
    let start = Instant::now();
    for connection in 0..load.connections {
        let schedule = Schedule::new(load, start + load.ramp, connection);
        let after = load.ramp.mul_f64(connection as f64 / load.connections as f64);
        let (template, progress) = (Arc::clone(&template), Arc::clone(&progress));
        connections.spawn(async move {
            tokio::time::sleep_until(start + after).await;
            send(&template, &progress, schedule).await;
        });
    }
    tokio::time::sleep_until(start + load.ramp + load.warm_up).await;

    progress.lock().is_measuring = true;
    let (begun, usage) = (Instant::now(), usage_of(process)?);
    let (requests, events) = (progress.requests.load(Relaxed), progress.events.load(Relaxed));
    tokio::time::sleep(load.time).await;
    let (time, after) = (begun.elapsed(), usage_of(process)?);
    let requests = progress.requests.load(Relaxed) - requests;
    let events = progress.events.load(Relaxed) - events;
    connections.shutdown().await;

    let mut locked = std::mem::take(&mut *progress.lock());
    locked.latencies.sort_unstable();
    Ok(Measured {
        time,
        requests,
        events,
        latencies: locked.latencies,
        usage: usage.zip(after).map(|(before, after)| after.since(before)),
        failures: progress.failures.load(Relaxed),
        first_failure: locked.first_failure,
    })
}

fn usage_of(process: Option<u32>) -> Result<Option<Usage>, Error> {
    process.map(process::usage).transpose()
}

/// One connection's requests, until it is dropped.
async fn send(template: &Template, progress: &Progress, mut schedule: Schedule) {
    let mut connection = None;
    loop {
        let due = schedule.due().await;
        match exchange(&mut connection, template, progress).await {
            Ok(()) => progress.succeeded(due.elapsed()),
            Err(error) => {
                progress.failed(&error);
                connection = None;
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn exchange(
    connection: &mut Option<Connection>,
    template: &Template,
    progress: &Progress,
) -> Result<(), Error> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(template).await?),
    };
    connection
        .exchange(template, |events| {
            progress.events.fetch_add(events as u64, Relaxed);
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_open_loop_counts_from_the_scheduled_time() {
        let ms = Duration::from_millis;
        let load = Load { connections: 2, rate: Some(100.0), ramp: ms(0), warm_up: ms(0), time: ms(0) };
        let start = Instant::now();
        let mut schedule = Schedule::new(&load, start, 1);
        assert_eq!(schedule.due().await, start + ms(10));
        assert_eq!(schedule.due().await, start + ms(30));
        // The target stalls: what was due meanwhile is late, and not left out.
        tokio::time::advance(ms(100)).await;
        assert_eq!(schedule.due().await, start + ms(50));
        assert_eq!(schedule.due().await, start + ms(70));
        assert_eq!(start.elapsed(), ms(130));
    }
}
