//! File descriptors: each connection to a client takes one, each to a provider another.

use std::{fs::File, io};

/// The most connections that are accepted unless a setting says otherwise.
const DEFAULT_CONNECTIONS: usize = 10_000;

/// Descriptors that connections of clients and providers leave to everything else: the operators' listener and its
/// [connections](OPERATORS), the runtime, files that are read again, name lookups.
const RESERVE: usize = 64;

/// The most connections to the operators' own listener.
pub(super) const OPERATORS: usize = 16;

/// Raises the process's limit of file descriptors as far as it may without privileges: the soft limit to the hard one.
/// Gives the limit in force from then on, or `None` where there is no such limit. For a program's `main`: it holds for
/// the whole process.
///
/// Call it before a server is [bound](super::ServerBuilder::bind), which derives its
/// [connections](super::ServerBuilder::max_connections) from the limit.
///
/// # Errors
///
/// The system's; the limit is as it was.
pub fn raise_descriptor_limit() -> io::Result<Option<u64>> {
    #[cfg(unix)]
    let raised =
        rlimit::increase_nofile_limit(u64::MAX).map(|limit| Some(limit).filter(|limit| *limit != u64::MAX));
    #[cfg(not(unix))]
    let raised = Ok(None);
    raised
}

/// The limit in force.
fn limit() -> Option<usize> {
    #[cfg(unix)]
    let limit = rlimit::Resource::NOFILE.get_soft().ok().filter(|limit| *limit != u64::MAX);
    #[cfg(not(unix))]
    let limit: Option<u64> = None;
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// How many connections a listener may have.
pub(super) fn connections(asked: Option<usize>) -> usize {
    let limit = limit();
    let connections = connections_within(asked, limit);
    if let (Some(asked), Some(limit)) = (asked, limit)
        && asked > connections
    {
        tracing::warn!(
            asked,
            connections,
            limit,
            "the limit of file descriptors leaves fewer connections than server.max_connections: raise it (ulimit -n)"
        );
    }
    connections
}

/// What is asked for, as far as the reserve is left; else as many as leave a descriptor for a provider's connection to
/// each.
fn connections_within(asked: Option<usize>, limit: Option<usize>) -> usize {
    let rest = limit.unwrap_or(usize::MAX).saturating_sub(RESERVE);
    asked.map_or_else(|| DEFAULT_CONNECTIONS.min(rest / 2), |asked| asked.min(rest)).max(1)
}

/// A descriptor that is kept for the moment when there is no other one: a connection can still be accepted then, and
/// another one be closed for it.
#[derive(Debug, Default)]
pub(super) struct Spare(Option<File>);

// === impl Spare ===

impl Spare {
    /// Keeps one, if it can be had.
    pub(super) fn keep(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }

    /// Gives it away; whether there was one.
    pub(super) fn give(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_leaves_one_for_its_provider() {
        for (asked, limit, connections) in [
            (None, None, 10_000),
            (None, Some(1 << 20), 10_000),
            (None, Some(1024), 480),
            (None, Some(4096), 2016),
            (None, Some(50), 1),
            (Some(5000), Some(1024), 960),
            (Some(100), Some(1024), 100),
            (Some(100_000), None, 100_000),
            (Some(0), None, 1),
        ] {
            assert_eq!(connections_within(asked, limit), connections, "{asked:?} of {limit:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let raised = raise_descriptor_limit().unwrap().unwrap_or(u64::MAX);
        let (soft, hard) = rlimit::Resource::NOFILE.get().unwrap();
        assert_eq!(raised, soft);
        assert!(cfg!(target_os = "macos") || soft == hard, "{soft} of {hard}");
    }
}
