//! [`Provider`]: an upstream that can be routed to.

mod openai;
mod service;

use std::{fmt, pin::Pin, sync::Arc, time::SystemTime};

use http::{Request, Response};
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use towergate_core::{Body, BoxError, label::Label, memory::MemoryBudget};
use towergate_layers::{
    breaker::{BreakerConfig, BreakerHandle, BreakerState},
    key_ring::KeyRing,
    retry::RetryLayer,
    timeout::Timeouts,
};
use towergate_openai::{
    client::{Client, Health},
    protocol::OpenAiProtocol,
};

#[cfg(feature = "config")]
pub(crate) use self::openai::IN_CLEAR;
pub use self::{
    openai::{OpenAiProvider, OpenAiProviderBuilder},
    service::ServiceProvider,
};
use crate::{health::KeyReport, stack};

/// The service of a provider, erased once.
pub type ProviderService = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// What [`Provider::health_check`] gives.
pub type HealthCheck = Pin<Box<dyn Future<Output = Health> + Send>>;

/// An upstream, ready to be routed to.
///
/// [`OpenAiProvider`] is one; [`ServiceProvider`] makes one of any `tower::Service`. A provider of
/// one's own needs a name and a service:
///
/// ```
/// use towergate::{Body, Provider, ProviderService, core::label::Label};
///
/// #[derive(Debug)]
/// struct Canned(Label);
///
/// impl Provider for Canned {
///     fn name(&self) -> &Label {
///         &self.0
///     }
///
///     fn service(&self) -> ProviderService {
///         ProviderService::new(tower::service_fn(async |_| Ok(http::Response::new(Body::from("{}")))))
///     }
/// }
/// # towergate::Gateway::builder().provider(Canned(Label::new("canned"))).build().unwrap();
/// ```
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// Its name in metrics, logs and the header `x-towergate-provider`.
    fn name(&self) -> &Label;

    /// Its service, with everything around it that is its own: retries, clocks, credential. It gets the
    /// request as the client sent it, less what a gateway keeps back, and is asked for once, when the
    /// gateway is built.
    fn service(&self) -> ProviderService;

    /// Asks whether it answers. By default for its models, which costs no tokens, as any request is
    /// sent; an [`OpenAiProvider`] does so past its breaker and without retries.
    fn health_check(&self) -> HealthCheck {
        let client = Client::new(self.service());
        Box::pin(async move { client.health_check().await })
    }

    /// Whether it takes requests for `model`, as it names it, at present; the router passes over it where
    /// not. By default always.
    fn availability(&self, _model: Option<&str>) -> Availability {
        Availability::Ready
    }

    /// How it is, as far as it knows itself, for operators. By default nothing is known.
    fn status(&self) -> ProviderStatus {
        ProviderStatus::default()
    }

    /// Refuses what is new. What is under way may end. By default nothing.
    fn close(&self) {}
}

/// Whether a provider takes requests at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It does.
    Ready,
    /// It is set aside until then: it fails.
    Until(Instant),
    /// Its keys are refused, or limited for this model, until then. It is asked all the same where it is the last.
    Limited(Instant),
}

/// How a provider is, as far as it knows itself.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ProviderStatus {
    /// The state of its breaker.
    pub breaker: Option<BreakerState>,
    /// Since when the breaker is in that state; none where it never changed.
    pub since: Option<SystemTime>,
    /// What last went wrong in traffic, and when. Shows no key and nothing that was asked or answered.
    pub last_error: Option<(SystemTime, String)>,
    /// Keys that are set aside.
    pub keys_set_aside: Vec<KeyReport>,
}

/// What the stack around any leaf is made of.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: RetryLayer,
    pub(crate) breaker: BreakerConfig,
    pub(crate) protocol: OpenAiProtocol,
    pub(crate) memory: MemoryBudget,
}

// === impl Availability ===

impl Availability {
    fn of(breaker: &BreakerHandle, keys: &KeyRing, model: Option<&str>) -> Self {
        let failing = breaker.available_at().map(Self::Until);
        failing.or_else(|| keys.limited_until(model).map(Self::Limited)).unwrap_or(Self::Ready)
    }
}

// === impl ProviderStatus ===

impl ProviderStatus {
    fn of(breaker: &BreakerHandle, keys: &KeyRing) -> Self {
        let set_aside = |(name, models): (Label, Vec<Arc<str>>)| {
            let models = models.iter().map(|model| model.to_string()).collect();
            KeyReport::new(name.as_str(), models)
        };
        Self {
            breaker: Some(breaker.state()),
            since: breaker.changed_at().map(|at| SystemTime::now() - at.elapsed()),
            last_error: breaker.last_failure(),
            keys_set_aside: keys.set_aside_now().into_iter().map(set_aside).collect(),
        }
    }
}

// === impl Parts ===

impl Default for Parts {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            retry: stack::default_retry(),
            breaker: BreakerConfig::default(),
            protocol: OpenAiProtocol::default(),
            memory: MemoryBudget::new(512 * 1024 * 1024),
        }
    }
}
