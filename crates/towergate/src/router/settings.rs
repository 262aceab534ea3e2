//! [`Routing`]: who may serve what.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Duration};

use towergate_core::context::AttemptClocks;

use crate::{
    Provider, Registry,
    health::{HealthChecks, Watched},
    registry::Entry,
};

/// Attempts that one request may take over all providers, unless said otherwise.
pub(crate) const MAX_ATTEMPTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

/// Which provider serves which model, and who takes over from whom.
///
/// ```
/// use towergate::{Candidate, Gateway, OpenAiProvider, Registry, Routing};
///
/// # fn main() -> Result<(), towergate::BuildError> {
/// let mut registry = Registry::new();
/// registry.register("main", OpenAiProvider::builder().name("main").build()?);
/// registry.register("spare", OpenAiProvider::builder().name("spare").base_url("http://localhost:8000/v1").build()?);
/// let routing = Routing::new(registry)
///     .candidate("main", Candidate::new().priority(1))
///     .candidate("spare", Candidate::new().priority(2).alias("gpt-4o", "llama-3.3-70b"));
/// let gateway = Gateway::builder().routing(routing).build()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Routing {
    pub(super) registry: Registry,
    pub(super) candidates: HashMap<String, Candidate>,
    pub(super) fallbacks: Fallbacks,
    pub(super) default_provider: Option<String>,
    pub(super) last_resort: bool,
    pub(super) max_attempts: NonZeroU32,
    pub(super) strategy: Strategy,
}

/// Who of several candidates of one priority is asked first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// In turns, so that each has its share by weight at any time to within one request.
    #[default]
    Weighted,
    /// Of two drawn by lot the one with fewer requests under way, in relation to its weight.
    LeastInFlight,
    /// Of two drawn by lot the one that is expected to answer sooner: by a peak-sensitive moving average of the time to
    /// the first content (of whole answers where they are not streamed), times the requests under way. A failure counts as
    /// 5 s at least, a 429 as the wait that it asks for, so that who fails fast attracts nothing.
    PeakEwma,
}

/// For each model the models to try in its place, by what went wrong.
#[derive(Debug, Clone, Default)]
pub(super) struct Fallbacks {
    pub(super) failure: HashMap<String, Vec<String>>,
    pub(super) context_length: HashMap<String, Vec<String>>,
    pub(super) content_policy: HashMap<String, Vec<String>>,
}

/// A provider as one of those that may serve a request.
#[derive(Debug, Clone)]
#[must_use]
pub struct Candidate {
    pub(super) priority: u32,
    pub(super) weight: f64,
    /// None: any model.
    pub(super) models: Vec<ServedModel>,
    pub(super) health_checks: Option<HealthChecks>,
}

/// A model that a provider serves.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct ServedModel {
    pub(super) name: String,
    pub(super) upstream: Option<String>,
    pub(super) clocks: AttemptClocks,
    pub(super) failover_after: Option<Duration>,
}

// === impl Routing ===

impl Routing {
    /// Every registered provider serves any model, with the same priority and weight.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            candidates: HashMap::new(),
            fallbacks: Fallbacks::default(),
            default_provider: None,
            last_resort: true,
            max_attempts: MAX_ATTEMPTS,
            strategy: Strategy::default(),
        }
    }

    /// One provider for everything.
    pub fn single(provider: impl Provider) -> Self {
        let mut registry = Registry::new();
        let name = provider.name().to_string();
        registry.register_shared(name, Arc::new(provider));
        // Its own retries bound it, whatever they are set to.
        Self::new(registry).max_attempts(NonZeroU32::MAX)
    }

    /// The providers.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Who is checked, and how.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        let checked = |entry: &Entry| {
            let checks = self.candidates.get(&entry.name)?.health_checks.clone()?;
            let Entry { name, provider, vitals } = entry.clone();
            Some(Watched { name, provider, vitals, checks })
        };
        self.registry.entries().iter().filter_map(checked).collect()
    }

    /// Forgets what checks have found of those that are not checked any more: nobody would ever correct it.
    pub(crate) fn without_old_findings(mut self) -> Self {
        let candidates = &self.candidates;
        let unchecked = |name: &str| candidates.get(name).is_none_or(|one| one.health_checks.is_none());
        self.registry.forget_vitals(unchecked);
        self
    }

    /// What a registered provider serves, and when it is chosen.
    pub fn candidate(mut self, provider: impl Into<String>, candidate: Candidate) -> Self {
        self.candidates.insert(provider.into(), candidate);
        self
    }

    /// The models to try, in this order, where no provider of `model` answers.
    pub fn fallback_models<M: Into<String>>(
        mut self,
        model: impl Into<String>,
        others: impl IntoIterator<Item = M>,
    ) -> Self {
        self.fallbacks.failure.insert(model.into(), others.into_iter().map(Into::into).collect());
        self
    }

    /// The models to try where a request is longer than the context of `model`. Default: none, and the
    /// refusal goes to the client.
    pub fn context_length_fallbacks<M: Into<String>>(
        mut self,
        model: impl Into<String>,
        others: impl IntoIterator<Item = M>,
    ) -> Self {
        self.fallbacks.context_length.insert(model.into(), others.into_iter().map(Into::into).collect());
        self
    }

    /// The models to try where `model` refuses a request for its content. Default: none, and the
    /// refusal goes to the client.
    pub fn content_policy_fallbacks<M: Into<String>>(
        mut self,
        model: impl Into<String>,
        others: impl IntoIterator<Item = M>,
    ) -> Self {
        self.fallbacks.content_policy.insert(model.into(), others.into_iter().map(Into::into).collect());
        self
    }

    /// Who serves what is bound to one provider (files, batches, stored responses) where neither the
    /// header `x-towergate-provider` nor the model says it. Default: the first of the lowest priority.
    pub fn default_provider(mut self, provider: impl Into<String>) -> Self {
        self.default_provider = Some(provider.into());
        self
    }

    /// Who of several candidates of one priority is asked first. Default: in turns, by weight.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Whether the provider that is set aside for the shortest time is tried where all are (default), or
    /// the request is answered with 503 and the time until then.
    pub fn last_resort(mut self, tried: bool) -> Self {
        self.last_resort = tried;
        self
    }

    /// Attempts that one request may take over all providers; 4 by default. A provider's own
    /// `max_retries` bounds what it gets of them.
    pub fn max_attempts(mut self, attempts: NonZeroU32) -> Self {
        self.max_attempts = attempts;
        self
    }
}

// === impl Candidate ===

impl Candidate {
    /// Any model, priority 1, weight 1.
    pub fn new() -> Self {
        Self { priority: 1, weight: 1.0, models: Vec::new(), health_checks: None }
    }

    /// Lower ones are chosen first; higher ones take over where none of the lower ones answers.
    /// Default 1.
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// Its share of the requests among those of the same priority. Default 1. With 0 it is chosen only
    /// where none with a weight is left.
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// Asks it for its models at intervals, and passes over it while it does not answer; by
    /// [`Gateway::watch_health`](crate::Gateway::watch_health). Default: it is known by its traffic alone.
    pub fn health_checks(mut self, checks: HealthChecks) -> Self {
        self.health_checks = Some(checks);
        self
    }

    /// Serves a model, under its own name. The first one named restricts it to what is named.
    pub fn model(self, name: impl Into<String>) -> Self {
        self.serves(ServedModel::new(name))
    }

    /// Serves a model that it knows by another name.
    pub fn alias(self, name: impl Into<String>, upstream: impl Into<String>) -> Self {
        self.serves(ServedModel::new(name).upstream(upstream))
    }

    /// Serves a model with settings of its own.
    pub fn serves(mut self, model: ServedModel) -> Self {
        self.models.push(model);
        self
    }
}

impl Default for Candidate {
    fn default() -> Self {
        Self::new()
    }
}

// === impl ServedModel ===

impl ServedModel {
    /// Under the name that clients use, with the provider's clocks.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), upstream: None, clocks: AttemptClocks::default(), failover_after: None }
    }

    /// The provider's name for it. Default: the same.
    pub fn upstream(mut self, name: impl Into<String>) -> Self {
        self.upstream = Some(name.into());
        self
    }

    /// Clocks of its own, in place of the provider's.
    pub fn clocks(mut self, clocks: AttemptClocks) -> Self {
        self.clocks = clocks;
        self
    }

    /// How long a stream may take to its head, and from there to its first event, while another provider
    /// stands ready. Default: as long as without one. Not for models that think silently.
    pub fn failover_after(mut self, after: Duration) -> Self {
        self.failover_after = Some(after);
        self
    }
}
