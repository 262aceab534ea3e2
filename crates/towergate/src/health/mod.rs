//! How the providers are: asked for their models at intervals, and told to operators.
//!
//! A provider is *down* after some checks one after the other that nobody answered, or answered with a 5xx; the
//! router then passes over it while others stand, as over one whose breaker is open. It is up again after some
//! answers one after the other. An answer of the 4xx is one: a server without a list of models, or a key that may
//! not read it, can serve all the same. A check is `GET /models`, past breaker and retries, so that it sees the
//! provider as it is; it runs no model and costs no tokens.
//!
//! [`Gateway::watch_health`](crate::Gateway::watch_health) does the asking, [`Gateway::health`](crate::Gateway::health)
//! gives the [`HealthReport`] that `GET /health` shows.
//!
//! | metric | labels | |
//! |---|---|---|
//! | `towergate_provider_up` | `provider` | 1, or 0 while its checks fail |
//! | `towergate_health_checks_total` | `provider`, `result` | `answered`, `failed` |

mod monitor;
mod report;
mod vitals;

use std::time::Duration;

pub use self::report::{HealthReport, KeyReport, OverallState, ProviderReport, ProviderState, ReloadReport};
pub(crate) use self::{
    monitor::{Watched, watch},
    vitals::Vitals,
};

/// How a provider is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthChecks {
    /// The time between two checks, each a little shortened at random so that several gateways do not ask all at
    /// once; 30 s by default. The first one comes after it.
    pub interval: Duration,
    /// How long a check may take; 5 s by default, and never longer than the interval.
    pub timeout: Duration,
    /// Failed checks one after the other that make it down; 3 by default.
    pub unhealthy_after: u32,
    /// Answered checks one after the other that make it up again; 2 by default.
    pub healthy_after: u32,
}

impl Default for HealthChecks {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            unhealthy_after: 3,
            healthy_after: 2,
        }
    }
}
