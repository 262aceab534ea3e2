//! [`Provider`]: an upstream that can be routed to.

mod openai;
mod service;

use std::{fmt, pin::Pin};

use http::{Request, Response};
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use towergate_core::{Body, BoxError, label::Label, memory::MemoryBudget};
use towergate_layers::{
    breaker::{BreakerConfig, BreakerHandle},
    key_ring::KeyRing,
    retry::RetryLayer,
    timeout::Timeouts,
};
use towergate_openai::{
    client::{Client, Health},
    protocol::OpenAiProtocol,
};

pub use self::{
    openai::{OpenAiProvider, OpenAiProviderBuilder},
    service::ServiceProvider,
};
use crate::stack;

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

    /// Asks whether it answers. By default for its models, which costs no tokens; retried as any
    /// request is.
    fn health_check(&self) -> HealthCheck {
        let client = Client::new(self.service());
        Box::pin(async move { client.health_check().await })
    }

    /// Whether it takes requests for `model`, as it names it, at present; the router passes over it where
    /// not. By default always.
    fn availability(&self, _model: Option<&str>) -> Availability {
        Availability::Ready
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
