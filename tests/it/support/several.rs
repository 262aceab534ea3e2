//! [`Several`]: a running gateway with several simulated upstreams.

use std::num::NonZeroU32;

use tokio::sync::oneshot;
use towergate::{
    Candidate, Gateway, GatewayBuilder, OpenAiProvider, OpenAiProviderBuilder, Registry, Routing,
    server::Server,
};
use towergate_sim::{Sim, SimServer};

use super::Http;

/// A gateway in front of several providers, named `a`, `b`, `c`. Dropping it ends all of them.
pub(crate) struct Several {
    pub(crate) sims: Vec<Sim>,
    pub(crate) upstreams: Vec<SimServer>,
    pub(crate) http: Http,
    _stop: oneshot::Sender<()>,
}

/// What differs from the usual.
pub(crate) struct SeveralBuilder {
    count: usize,
    provider: Box<dyn Fn(OpenAiProviderBuilder) -> OpenAiProviderBuilder>,
    routing: Box<dyn FnOnce(Routing) -> Routing>,
    gateway: Box<dyn FnOnce(GatewayBuilder) -> GatewayBuilder>,
}

impl Several {
    /// So many providers that take any model, the first before the second and so on, with all their
    /// defaults.
    pub(crate) fn of(count: usize) -> SeveralBuilder {
        SeveralBuilder {
            count,
            provider: Box::new(|provider| provider),
            routing: Box::new(|routing| routing),
            gateway: Box::new(|gateway| gateway),
        }
    }

    /// How many requests each upstream has received.
    pub(crate) fn received(&self) -> Vec<u64> {
        self.sims.iter().map(|sim| sim.counts().received).collect()
    }
}

impl SeveralBuilder {
    pub(crate) fn provider(
        mut self,
        with: impl Fn(OpenAiProviderBuilder) -> OpenAiProviderBuilder + 'static,
    ) -> Self {
        self.provider = Box::new(with);
        self
    }

    pub(crate) fn routing(mut self, with: impl FnOnce(Routing) -> Routing + 'static) -> Self {
        self.routing = Box::new(with);
        self
    }

    pub(crate) fn gateway(mut self, with: impl FnOnce(GatewayBuilder) -> GatewayBuilder + 'static) -> Self {
        self.gateway = Box::new(with);
        self
    }

    pub(crate) async fn start(self) -> Several {
        let mut registry = Registry::new();
        let (mut sims, mut upstreams) = (Vec::new(), Vec::new());
        for name in ["a", "b", "c", "d"].into_iter().take(self.count) {
            let sim = Sim::new();
            let upstream = SimServer::start(sim.clone()).await.unwrap();
            let provider = OpenAiProvider::builder().name(name).base_url(&upstream.base_url());
            registry.register(name, (self.provider)(provider).build().unwrap());
            sims.push(sim);
            upstreams.push(upstream);
        }
        let mut routing = Routing::new(registry).max_attempts(NonZeroU32::new(4).unwrap());
        for (priority, name) in (1..).zip(["a", "b", "c", "d"]).take(self.count) {
            routing = routing.candidate(name, Candidate::new().priority(priority));
        }
        let gateway = Gateway::builder().routing((self.routing)(routing));
        let gateway = (self.gateway)(gateway).build().unwrap();
        let server = Server::builder().listen(([127, 0, 0, 1], 0).into()).bind(gateway).await.unwrap();
        let http = Http::new(format!("http://{}", server.local_addr()), false);
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        Several { sims, upstreams, http, _stop: stop }
    }
}
