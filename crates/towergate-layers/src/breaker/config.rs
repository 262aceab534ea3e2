//! [`BreakerConfig`]: when a breaker opens, and for how long.

use std::time::Duration;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// Failures one after the other that open it; 5 by default. 0: these do not.
    pub consecutive_failures: u32,
    /// The share of failed attempts in the window that opens it; 0.5 by default. Above 1: it does not.
    pub failure_ratio: f64,
    /// Attempts that the window must hold before the share counts; 20 by default.
    pub min_requests: u32,
    /// How long an attempt counts; 10 s by default, and no less than a second.
    pub window: Duration,
    /// How long it is open the first time; 5 s by default. Each time that it opens again it is twice as
    /// long.
    pub open_for: Duration,
    /// The longest that it is open; 30 s by default.
    pub max_open_for: Duration,
    /// Attempts that may be under way at a time to find out whether it is well again; 1 by default.
    pub probes: u32,
}

impl BreakerConfig {
    /// Never opens.
    #[must_use]
    pub fn never() -> Self {
        Self { consecutive_failures: 0, failure_ratio: f64::INFINITY, ..Self::default() }
    }

    /// How long it is open after it has opened `before` times in a row. Up to a fifth of it is left out
    /// at `random` (0 to 1), so that many gateways do not come back at once.
    pub(super) fn open_time(&self, before: u32, random: f64) -> Duration {
        let doubled = self.open_for.saturating_mul(2_u32.saturating_pow(before.min(16)));
        doubled.min(self.max_open_for.max(self.open_for)).mul_f64(1.0 - 0.2 * random.clamp(0.0, 1.0))
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_ratio: 0.5,
            min_requests: 20,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(5),
            max_open_for: Duration::from_secs(30),
            probes: 1,
        }
    }
}
