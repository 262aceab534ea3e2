//! [`Vitals`]: what the checks of one provider have shown.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::HealthChecks;

/// What the checks of one provider have shown. Kept over a reload, as long as the provider is.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    /// Spares the lock to everybody who only asks whether it is up.
    down: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) last: Option<Check>,
    /// The last one that failed.
    pub(crate) last_failure: Option<(SystemTime, String)>,
    /// When it went down, or came up again.
    pub(crate) changed_at: Option<SystemTime>,
    /// While it is down: when it is asked again.
    until: Option<Instant>,
    failed: u32,
    answered: u32,
}

/// One check.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) at: SystemTime,
    pub(crate) latency: Duration,
    pub(crate) models_seen: Option<usize>,
    /// What was wrong; an answer of the 4xx is wrong, but shows that the provider is up.
    pub(crate) error: Option<String>,
    pub(crate) answered: bool,
}

/// What a check changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Down,
    Up,
}

// === impl Vitals ===

impl Vitals {
    /// While it is down: when it is asked again.
    pub(crate) fn down_until(&self) -> Option<Instant> {
        if self.down.load(Relaxed) { self.lock().until } else { None }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Relaxed)
    }

    pub(crate) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Takes a check in; `next` is when the next one comes.
    pub(super) fn record(&self, checks: &HealthChecks, check: Check, next: Instant) -> Option<Change> {
        let mut seen = self.lock();
        if let Some(error) = &check.error {
            seen.last_failure = Some((check.at, error.clone()));
        }
        if check.answered {
            seen.answered = seen.answered.saturating_add(1);
            seen.failed = 0;
        } else {
            seen.failed = seen.failed.saturating_add(1);
            seen.answered = 0;
        }
        let down = self.down.load(Relaxed);
        let change = match down {
            false if seen.failed >= checks.unhealthy_after.max(1) => Some(Change::Down),
            true if seen.answered >= checks.healthy_after.max(1) => Some(Change::Up),
            _ => None,
        };
        if change.is_some() {
            seen.changed_at = Some(check.at);
            self.down.store(!down, Relaxed);
        }
        seen.until = Some(next);
        seen.last = Some(check);
        change
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(vitals: &Vitals, answered: bool) -> Option<Change> {
        let error = (!answered).then(|| "refused".to_owned());
        let (at, latency) = (SystemTime::UNIX_EPOCH, Duration::ZERO);
        let check = Check { at, latency, models_seen: None, error, answered };
        vitals.record(&HealthChecks::default(), check, Instant::now())
    }

    #[test]
    fn it_goes_down_and_comes_up_after_so_many_in_a_row() {
        let vitals = Vitals::default();
        let story = [false, false, true, false, false, false, true, false, true, true, true];
        let changes: Vec<_> = story.iter().map(|answered| record(&vitals, *answered)).collect();
        assert_eq!((changes[5], changes[9]), (Some(Change::Down), Some(Change::Up)));
        assert_eq!(changes.iter().flatten().count(), 2, "{changes:?}");
        assert!(!vitals.is_down() && vitals.down_until().is_none());
    }
}
