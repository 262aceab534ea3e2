//! [`ServiceProvider`]: any service as a provider.

use http::{Request, Response};
use tower_service::Service;
use towergate_core::{Body, BoxError, credentials::Credential, label::Label};
use towergate_layers::{
    auth::AuthLayer,
    breaker::BreakerHandle,
    key_ring::{KeyRing, RingKey},
};

use super::{Availability, Parts, Provider, ProviderService, ProviderStatus};
use crate::stack;

/// Any service of the leaf's kind, with the layers around it that an [`OpenAiProvider`] has too, at their
/// defaults. It gets the caller's request without the caller's credentials, under the path that the
/// client used.
///
/// [`OpenAiProvider`]: super::OpenAiProvider
#[derive(Debug, Clone)]
pub struct ServiceProvider {
    name: Label,
    service: ProviderService,
    breaker: BreakerHandle,
    keys: KeyRing,
}

// === impl ServiceProvider ===

impl ServiceProvider {
    /// Makes a provider of a service.
    pub fn new<S>(name: &str, leaf: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        let name = Label::new(name);
        let auth = AuthLayer::new(None::<Credential>);
        let parts = Parts::default();
        let breaker = BreakerHandle::new(name.clone(), parts.breaker.clone());
        // It has no key, and is passed over for a while all the same where it limits a model.
        let keys = KeyRing::new(name.clone(), [RingKey::new(Label::new("none"), None::<Credential>)]);
        let service = stack::provider(leaf, &name, auth, breaker.clone(), keys.clone(), parts);
        Self { service, name, breaker, keys }
    }
}

impl Provider for ServiceProvider {
    fn name(&self) -> &Label {
        &self.name
    }

    fn service(&self) -> ProviderService {
        self.service.clone()
    }

    fn availability(&self, model: Option<&str>) -> Availability {
        Availability::of(&self.breaker, &self.keys, model)
    }

    fn status(&self) -> ProviderStatus {
        ProviderStatus::of(&self.breaker, &self.keys)
    }
}
