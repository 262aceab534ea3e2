//! How many retries all requests together may cause.
//!
//! tower's `TpsBudget` is not used: it rounds the cost of a retry to whole requests (a ratio of 0.3
//! is 0.33, everything from 0.51 to 1 is 1), takes a lock on every request, walks through every slot
//! that passed while it was idle, and panics on a window that it does not like.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

/// How many retries are allowed, over all requests that share a layer.
///
/// Within any window there are at most `ratio` retries for each request, plus `min_per_second` for
/// each second of the window. So a full outage adds little to the load that upstream already has,
/// while a quiet gateway may still retry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetConfig {
    /// Retries for each request of the window; 0.2 by default. Below zero or not a number is zero.
    pub ratio: f64,
    /// Retries that are allowed whatever the traffic, for each second of the window; 10 by default.
    /// They may come all at once.
    pub min_per_second: u32,
    /// How long a request or a retry counts; 10 s by default, and no less than a second.
    pub window: Duration,
}

/// Two sliding windows, of requests and of retries, without a lock.
#[derive(Debug)]
pub(super) struct Budget {
    requests: Window,
    retries: Window,
    ratio: f64,
    reserve: f64,
    start: Instant,
    slot: Duration,
}

const SLOTS: usize = 10;

/// Each slot holds the number of its time slice in the upper half, and a count in the lower one:
/// one that is too old counts as empty, and nobody has to clear it.
#[derive(Debug, Default)]
struct Window([AtomicU64; SLOTS]);

// === impl BudgetConfig ===

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10, window: Duration::from_secs(10) }
    }
}

// === impl Budget ===

impl Budget {
    pub(super) fn new(config: BudgetConfig) -> Self {
        let window = config.window.max(Duration::from_secs(1));
        Self {
            requests: Window::default(),
            retries: Window::default(),
            // `max` drops a NaN.
            ratio: config.ratio.max(0.0),
            reserve: f64::from(config.min_per_second) * window.as_secs_f64(),
            start: Instant::now(),
            slot: window / SLOTS as u32,
        }
    }

    /// A request came in.
    pub(super) fn deposit(&self) {
        self.requests.count(self.now(), None);
    }

    /// Takes one retry, where one is left.
    pub(super) fn withdraw(&self) -> bool {
        let now = self.now();
        let allowed = self.requests.sum(now) as f64 * self.ratio + self.reserve;
        self.retries.count(now, Some(allowed as u64))
    }

    /// The number of the present time slice. It wraps after decades.
    fn now(&self) -> u32 {
        (self.start.elapsed().as_nanos() / self.slot.as_nanos()) as u32
    }
}

// === impl Window ===

impl Window {
    fn sum(&self, now: u32) -> u64 {
        self.0.iter().map(|slot| count_of(slot.load(Relaxed), now)).sum()
    }

    /// Adds one to the present slot, unless the window already holds `limit`.
    fn count(&self, now: u32, limit: Option<u64>) -> bool {
        let present = now as usize % SLOTS;
        let others = || {
            let slots = self.0.iter().enumerate().filter(|(place, _)| *place != present);
            slots.map(|(_, slot)| count_of(slot.load(Relaxed), now)).sum::<u64>()
        };
        let add = |value| {
            let count = count_of(value, now);
            let allowed = limit.is_none_or(|limit| others() + count < limit);
            allowed.then(|| u64::from(now) << 32 | (count + 1).min(u64::from(u32::MAX)))
        };
        // The exchange fails where another thread came first: then it is asked again.
        self.0.get(present).is_some_and(|slot| slot.fetch_update(Relaxed, Relaxed, add).is_ok())
    }
}

fn count_of(slot: u64, now: u32) -> u64 {
    let age = now.wrapping_sub((slot >> 32) as u32);
    if (age as usize) < SLOTS { slot & u64::from(u32::MAX) } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::advance;

    use super::*;

    fn budget(ratio: f64, min_per_second: u32) -> Budget {
        Budget::new(BudgetConfig { ratio, min_per_second, ..BudgetConfig::default() })
    }

    fn drain(budget: &Budget) -> usize {
        (0..100_000).take_while(|_| budget.withdraw()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_budget_has_its_reserve() {
        assert_eq!(drain(&budget(0.2, 10)), 100);
        assert_eq!(drain(&budget(0.2, 0)), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_ratio_is_exact() {
        for (ratio, expected) in [(0.2, 200), (0.3, 300), (0.6, 600), (1.5, 1500), (-1.0, 0), (f64::NAN, 0)] {
            let budget = budget(ratio, 0);
            for _ in 0..1000 {
                budget.deposit();
            }
            assert_eq!(drain(&budget), expected, "{ratio}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retries_come_back_when_the_window_has_passed() {
        let budget = budget(0.0, 1);
        assert_eq!(drain(&budget), 10);
        advance(Duration::from_secs(9)).await;
        assert_eq!(drain(&budget), 0);
        advance(Duration::from_secs(1)).await;
        assert_eq!(drain(&budget), 10);
        // Long idle, and a slot that is met again in a later round.
        advance(Duration::from_secs(86_400)).await;
        assert_eq!(drain(&budget), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_fund_only_their_window() {
        let budget = budget(1.0, 0);
        budget.deposit();
        advance(Duration::from_secs(10)).await;
        assert!(!budget.withdraw());
        budget.deposit();
        assert!(budget.withdraw() && !budget.withdraw());
    }

    #[tokio::test(start_paused = true)]
    async fn no_window_holds_more_than_is_allowed() {
        let budget = budget(0.2, 10);
        let mut taken = Vec::new();
        for _ in 0..60 {
            for _ in 0..50 {
                budget.deposit();
            }
            taken.push(drain(&budget));
            advance(Duration::from_secs(1)).await;
        }
        for window in taken.windows(10) {
            assert!(window.iter().sum::<usize>() <= 200, "{window:?}");
        }
        assert!(taken.iter().sum::<usize>() >= 60 * 10);
    }

    #[test]
    fn threads_do_not_overdraw() {
        let budget = Arc::new(budget(0.0, 100));
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| drain(&budget))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // Real time flows here; none of it is enough for the window to pass.
        assert_eq!(taken, 1000);
    }
}
