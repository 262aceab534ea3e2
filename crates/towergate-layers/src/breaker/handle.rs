//! [`BreakerHandle`]: what one provider's breaker has seen, and what it says of that.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::time::Instant;
use towergate_core::{Error, ErrorKind, Sent, label::Label};

use super::{
    BreakerConfig, BreakerState,
    machine::{Admission, Change, Machine},
};

/// The breaker of one provider. Clones are the same one.
#[derive(Debug, Clone)]
pub struct BreakerHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    provider: Label,
    config: BreakerConfig,
    machine: Mutex<Machine>,
    last_failure: Mutex<Option<(SystemTime, String)>>,
}

// === impl BreakerHandle ===

impl BreakerHandle {
    /// A closed breaker. The provider's name is for metrics, log and errors.
    #[must_use]
    pub fn new(provider: Label, config: BreakerConfig) -> Self {
        let machine = Mutex::new(Machine::new(&config, Instant::now()));
        Self(Arc::new(Inner { provider, config, machine, last_failure: Mutex::new(None) }))
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.lock().state()
    }

    /// When its state last changed, if ever.
    #[must_use]
    pub fn changed_at(&self) -> Option<Instant> {
        self.lock().changed_at()
    }

    /// The last failure that counted, and when it was. Says a status or what broke; nothing that was asked or answered.
    #[must_use]
    pub fn last_failure(&self) -> Option<(SystemTime, String)> {
        self.0.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When an attempt would be let pass; `None`: now.
    #[must_use]
    pub fn available_at(&self) -> Option<Instant> {
        self.lock().available_at(&self.0.config, Instant::now())
    }

    pub(super) fn admit(&self, insist: bool) -> Result<Admission, Instant> {
        let (admission, change) = self.lock().admit(&self.0.config, Instant::now(), insist);
        self.tell(change);
        admission
    }

    pub(super) fn succeed(&self, admission: Admission) {
        let change = self.lock().succeed(admission, Instant::now());
        self.tell(change);
    }

    pub(super) fn fail(&self, admission: Admission) {
        let change = self.lock().fail(&self.0.config, admission, Instant::now(), fastrand::f64());
        self.tell(change);
    }

    pub(super) fn note(&self, failure: String) {
        let noted = Some((SystemTime::now(), failure));
        *self.0.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = noted;
    }

    pub(super) fn release(&self, admission: Admission) {
        self.lock().release(admission);
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: Option<Change>) {
        let Some(Change { to, open_for, failures, attempts }) = change else { return };
        let provider = self.0.provider.as_str();
        let (name, level) = match to {
            BreakerState::Closed => ("closed", 0.0),
            BreakerState::HalfOpen => ("half_open", 1.0),
            BreakerState::Open => ("open", 2.0),
        };
        match open_for {
            Some(time) => {
                let open_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(
                    provider,
                    open_ms,
                    failures,
                    attempts,
                    "the breaker opens: the provider is set aside"
                );
            }
            None if to == BreakerState::Closed => {
                tracing::info!(provider, "the breaker closes: the provider is well again");
            }
            None => tracing::info!(provider, "the breaker is half open: the provider is tried again"),
        }
        let label = || self.0.provider.to_shared();
        metrics::describe_gauge!("towergate_breaker_state", "0 closed, 1 half open, 2 open");
        metrics::gauge!("towergate_breaker_state", "provider" => label()).set(level);
        metrics::describe_counter!("towergate_breaker_changes_total", "Changes of a breaker's state");
        metrics::counter!("towergate_breaker_changes_total", "provider" => label(), "to" => name)
            .increment(1);
    }

    pub(super) fn refusal(&self, until: Instant) -> Error {
        let provider = &self.0.provider;
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "the provider {provider} is set aside after failures, and nobody else serves this request"
            ),
        )
        .with_provider(provider.clone())
        .with_setting("breaker")
        .with_sent(Sent::Nothing)
        .with_retry_after(until.saturating_duration_since(Instant::now()))
    }
}
