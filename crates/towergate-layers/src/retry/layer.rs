//! [`RetryLayer`]: the settings.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use http::{Extensions, HeaderMap, HeaderName};
use tower_layer::Layer;
use towergate_core::{
    context::{MaxAttempts, carry_over},
    label::Label,
    memory::MemoryBudget,
};

use super::{
    BudgetConfig, DefaultPolicy, Retry, RetryPolicy, backoff::Backoff, budget::Budget, counters::Counters,
};

/// Repeats what failed in a way that may pass.
///
/// Clones share one retry budget, and so do all services that one value makes.
#[derive(Debug, Clone)]
pub struct RetryLayer {
    settings: Settings,
    budget: Arc<Budget>,
    counters: Arc<Counters>,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    max_retries: u32,
    pub(super) backoff: Backoff,
    pub(super) max_retry_after: Duration,
    pub(super) replay_cap: usize,
    pub(super) replay_memory: Option<MemoryBudget>,
    pub(super) retry_maybe_billed: bool,
    unfunded_when: Option<HeaderName>,
    pub(super) policy: Arc<dyn RetryPolicy>,
    /// Each copies one extension of the embedder's own.
    carried: Vec<fn(&Extensions, &mut Extensions)>,
}

/// What all requests through one layered service share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) budget: Arc<Budget>,
    pub(super) counters: Arc<Counters>,
}

// === impl RetryLayer ===

impl RetryLayer {
    /// Three retries, after 1 s, 2 s and 4 s with jitter, within a budget of 20 % of the requests.
    #[must_use]
    pub fn new() -> Self {
        let settings = Settings {
            max_retries: 3,
            backoff: Backoff { max: Duration::from_secs(30), jitter: true },
            max_retry_after: Duration::from_secs(30),
            replay_cap: 1024 * 1024,
            replay_memory: None,
            retry_maybe_billed: true,
            unfunded_when: None,
            policy: Arc::new(DefaultPolicy),
            carried: Vec::new(),
        };
        Self {
            settings,
            budget: Arc::new(Budget::new(BudgetConfig::default())),
            counters: Arc::new(Counters::new(Label::new("default"))),
        }
    }

    /// Retries after the first attempt; 3 by default, and 0 means none. A [`MaxAttempts`] in the
    /// request's extensions can lower it for that request.
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.settings.max_retries = retries;
        self
    }

    /// The longest backoff; 30 s by default. A wait that the upstream asks for is bounded by
    /// [`max_retry_after`](Self::max_retry_after) instead.
    #[must_use]
    pub fn max_backoff(mut self, max: Duration) -> Self {
        self.settings.backoff.max = max;
        self
    }

    /// Whether a backoff is shortened at random by up to a quarter; on by default. Turned off, the
    /// waits are exactly 1 s, 2 s, 4 s and so on. A wait that the upstream asks for has no jitter.
    #[must_use]
    pub fn jitter(mut self, jitter: bool) -> Self {
        self.settings.backoff.jitter = jitter;
        self
    }

    /// The longest wait that an upstream may ask for; 30 s by default. Where it asks for more, the
    /// answer goes back at once.
    #[must_use]
    pub fn max_retry_after(mut self, max: Duration) -> Self {
        self.settings.max_retry_after = max;
        self
    }

    /// How many bytes of a streamed request body are kept so that it can be sent again; 1 MiB by
    /// default. A longer one is sent once. A body that was collected, a `Full<Bytes>` or a
    /// [`Body`](towergate_core::Body) made of bytes, is there anyway.
    #[must_use]
    pub fn replay_cap(mut self, bytes: usize) -> Self {
        self.settings.replay_cap = bytes;
        self
    }

    /// A bound on what the kept bodies of all requests take together; none by default. Where it is
    /// used up, a streamed body is sent once. Below an [intake](crate::intake) layer that one's budget holds instead.
    #[must_use]
    pub fn replay_memory(mut self, memory: MemoryBudget) -> Self {
        self.settings.replay_memory = Some(memory);
        self
    }

    /// Whether an attempt is repeated that the upstream may have billed; on by default.
    #[must_use]
    pub fn retry_maybe_billed(mut self, retry: bool) -> Self {
        self.settings.retry_maybe_billed = retry;
        self
    }

    /// Requests in which this header is a number above zero do not add to the retry budget: they
    /// are somebody's retries already.
    #[must_use]
    pub fn unfunded_when(mut self, header: HeaderName) -> Self {
        self.settings.unfunded_when = Some(header);
        self
    }

    /// The retry budget. This makes a new one; clones made earlier keep theirs.
    #[must_use]
    pub fn budget(mut self, config: BudgetConfig) -> Self {
        self.budget = Arc::new(Budget::new(config));
        self
    }

    /// What is worth another attempt; [`DefaultPolicy`] by default.
    #[must_use]
    pub fn policy(mut self, policy: impl RetryPolicy) -> Self {
        self.settings.policy = Arc::new(policy);
        self
    }

    /// Carries over this extension of the request, too, so that every attempt has it. Without that an extension of your
    /// own, such as what a middleware above found out of the caller, is there on the first attempt only.
    #[must_use]
    pub fn carry<T: Clone + Send + Sync + 'static>(mut self) -> Self {
        self.settings.carried.push(|from, to| {
            if let Some(value) = from.get::<T>() {
                to.insert(value.clone());
            }
        });
        self
    }

    /// The provider's name in metrics and log lines; `default` by default.
    #[must_use]
    pub fn provider(mut self, provider: Label) -> Self {
        self.counters = Arc::new(Counters::new(provider));
        self
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(
            inner,
            Arc::new(Shared {
                settings: self.settings.clone(),
                budget: Arc::clone(&self.budget),
                counters: Arc::clone(&self.counters),
            }),
        )
    }
}

// === impl Shared ===

impl Shared {
    /// How many attempts a request may take.
    pub(super) fn max_attempts(&self, extensions: &Extensions) -> u32 {
        let ours = self.settings.max_retries.saturating_add(1);
        extensions.get::<MaxAttempts>().map_or(ours, |MaxAttempts(theirs)| ours.min(theirs.get()))
    }

    /// The extensions of the next attempt.
    pub(super) fn carry_over(&self, from: &Extensions) -> Extensions {
        let mut to = carry_over(from);
        self.settings.carried.iter().for_each(|copy| copy(from, &mut to));
        to
    }

    /// Whether a request adds to the budget.
    pub(super) fn is_funding(&self, headers: &HeaderMap) -> bool {
        let Some(name) = &self.settings.unfunded_when else { return true };
        let number =
            headers.get(name).and_then(|value| value.to_str().ok()?.trim().parse::<NonZeroU32>().ok());
        number.is_none()
    }
}
