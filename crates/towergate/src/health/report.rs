//! What operators are told.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use towergate_layers::breaker::BreakerState;

use super::Vitals;
use crate::Provider;

/// How a gateway is: what `GET /health` shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// How it is altogether.
    pub status: OverallState,
    /// Each provider, in the order of the registry.
    pub providers: Vec<ProviderReport>,
    /// What became of the configuration file when it was last read; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ReloadReport>,
}

/// How a gateway is altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OverallState {
    /// Every provider is.
    Healthy,
    /// Some are not.
    Degraded,
    /// None is.
    Unhealthy,
}

/// How one provider is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ProviderReport {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: ProviderState,
    /// Since when, as far as is known: no change, no time.
    #[serde(serialize_with = "date")]
    pub since: Option<SystemTime>,
    /// How long the last health check took, in milliseconds.
    #[serde(rename = "latency_ms", serialize_with = "milliseconds")]
    pub latency: Option<Duration>,
    /// When it was last checked.
    #[serde(serialize_with = "date")]
    pub checked_at: Option<SystemTime>,
    /// How many models the last check saw.
    pub models_seen: Option<usize>,
    /// What last went wrong, in a check or in traffic. Shows no key and nothing that was asked or answered.
    pub last_error: Option<String>,
    /// When that was.
    #[serde(serialize_with = "date")]
    pub last_error_at: Option<SystemTime>,
    /// Keys that are set aside for every model, or for some.
    pub keys_set_aside: Vec<KeyReport>,
}

/// How one provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderState {
    /// It takes requests.
    Healthy,
    /// Its breaker tries it again.
    Probing,
    /// Its breaker is open: it failed.
    SetAside,
    /// Its health checks fail.
    Down,
}

/// A key that is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyReport {
    /// Its name; never the key.
    pub name: String,
    /// The models that it is limited for; empty: it was refused, for all of them.
    pub models: Vec<String>,
}

/// What became of a configuration file when it was last read.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ReloadReport {
    /// Whether it is in force; else the one before it is.
    pub applied: bool,
    /// What was wrong.
    pub error: Option<String>,
    /// When it was read.
    #[serde(serialize_with = "date")]
    pub at: Option<SystemTime>,
}

// === impl HealthReport ===

impl HealthReport {
    pub(crate) fn new(providers: Vec<ProviderReport>, configuration: Option<ReloadReport>) -> Self {
        let healthy = providers.iter().filter(|one| one.state == ProviderState::Healthy).count();
        let status = match healthy {
            all if all == providers.len() => OverallState::Healthy,
            0 => OverallState::Unhealthy,
            _ => OverallState::Degraded,
        };
        Self { status, providers, configuration }
    }
}

// === impl ProviderReport ===

impl ProviderReport {
    pub(crate) fn of(name: &str, provider: &dyn Provider, vitals: &Vitals) -> Self {
        let (status, seen) = (provider.status(), vitals.seen());
        let (state, since) = match status.breaker {
            _ if vitals.is_down() => (ProviderState::Down, seen.changed_at),
            Some(BreakerState::Open) => (ProviderState::SetAside, status.since),
            Some(BreakerState::HalfOpen) => (ProviderState::Probing, status.since),
            Some(BreakerState::Closed) | None => (ProviderState::Healthy, status.since.max(seen.changed_at)),
        };
        let last_error = status.last_error.into_iter().chain(seen.last_failure).max_by_key(|(at, _)| *at);
        let (last_error_at, last_error) = last_error.unzip();
        Self {
            name: name.to_owned(),
            state,
            since,
            latency: seen.last.as_ref().map(|check| check.latency),
            checked_at: seen.last.as_ref().map(|check| check.at),
            models_seen: seen.last.and_then(|check| check.models_seen),
            last_error,
            last_error_at,
            keys_set_aside: status.keys_set_aside,
        }
    }
}

// === impl ReloadReport ===

#[cfg(feature = "config")]
impl ReloadReport {
    /// It was read just now.
    pub(crate) fn now(error: Option<String>) -> Self {
        Self { applied: error.is_none(), error, at: Some(SystemTime::now()) }
    }
}

// === impl KeyReport ===

impl KeyReport {
    /// A key that is set aside for these models, or for all where none is named.
    pub fn new(name: impl Into<String>, models: Vec<String>) -> Self {
        Self { name: name.into(), models }
    }
}

// === impl ProviderState ===

impl ProviderState {
    /// As it is written in the report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Probing => "probing",
            Self::SetAside => "set_aside",
            Self::Down => "down",
        }
    }
}

/// As HTTP writes dates (RFC 9110, section 5.6.7).
fn date<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(&httpdate::HttpDate::from(*at)),
        None => serializer.serialize_none(),
    }
}

fn milliseconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
}
