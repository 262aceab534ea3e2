//! [`World`]: a running gateway with its upstream.

use std::net::SocketAddr;

use tokio::{sync::oneshot, task::JoinHandle};
use towergate::{
    Gateway, GatewayBuilder, OpenAiProvider, OpenAiProviderBuilder,
    layers::retry::RetryLayer,
    server::{Report, Server, ServerBuilder},
};
use towergate_sim::{Sim, SimServer};

use super::Http;

/// The provider's key; the upstream refuses any other.
pub(crate) const PROVIDER_KEY: &str = "sk-provider-key";

/// A running gateway with its upstream. Dropping it ends both.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) upstream: SimServer,
    pub(crate) address: SocketAddr,
    pub(crate) gateway: Gateway,
    stop: Option<oneshot::Sender<()>>,
    report: JoinHandle<Report>,
}

/// What differs from the usual world.
pub(crate) struct WorldBuilder {
    sim: Sim,
    base_url: Option<String>,
    provider: Box<dyn FnOnce(OpenAiProviderBuilder) -> OpenAiProviderBuilder + Send>,
    gateway: Box<dyn FnOnce(GatewayBuilder) -> GatewayBuilder + Send>,
    server: Box<dyn FnOnce(ServerBuilder) -> ServerBuilder + Send>,
}

impl World {
    /// One provider without retries: a test that wants them says so.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    pub(crate) fn builder() -> WorldBuilder {
        WorldBuilder {
            sim: Sim::new().require_key(PROVIDER_KEY),
            base_url: None,
            provider: Box::new(|provider| provider.max_retries(0)),
            gateway: Box::new(|gateway| gateway),
            server: Box::new(|server| server),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client that speaks HTTP/1.1.
    pub(crate) fn http1(&self) -> Http {
        Http::new(self.url(), false)
    }

    /// A client that speaks HTTP/2 without TLS.
    pub(crate) fn http2(&self) -> Http {
        Http::new(self.url(), true)
    }

    /// Begins the shutdown; resolves when it is over.
    pub(crate) async fn shutdown(mut self) -> Report {
        self.begin_shutdown();
        self.report.await.unwrap()
    }

    /// Begins the shutdown, as SIGTERM does.
    pub(crate) fn begin_shutdown(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

impl WorldBuilder {
    /// Retries that wait milliseconds where they would wait seconds.
    pub(crate) fn quick_retries(self, retries: u32) -> Self {
        self.provider(move |provider| {
            let quick = std::time::Duration::from_millis(1);
            let layer = RetryLayer::new()
                .max_backoff(quick)
                .unfunded_when("x-stainless-retry-count".parse().unwrap());
            provider.retry(layer.max_retries(retries))
        })
    }

    pub(crate) fn sim(mut self, sim: Sim) -> Self {
        self.sim = sim;
        self
    }

    /// Another upstream than the simulated one.
    pub(crate) fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    pub(crate) fn provider(
        mut self,
        with: impl FnOnce(OpenAiProviderBuilder) -> OpenAiProviderBuilder + Send + 'static,
    ) -> Self {
        let before = self.provider;
        self.provider = Box::new(move |provider| with(before(provider)));
        self
    }

    pub(crate) fn gateway(
        mut self,
        with: impl FnOnce(GatewayBuilder) -> GatewayBuilder + Send + 'static,
    ) -> Self {
        let before = self.gateway;
        self.gateway = Box::new(move |gateway| with(before(gateway)));
        self
    }

    pub(crate) fn server(
        mut self,
        with: impl FnOnce(ServerBuilder) -> ServerBuilder + Send + 'static,
    ) -> Self {
        let before = self.server;
        self.server = Box::new(move |server| with(before(server)));
        self
    }

    pub(crate) async fn start(self) -> World {
        let upstream = SimServer::start(self.sim.clone()).await.unwrap();
        let url = self.base_url.unwrap_or_else(|| upstream.base_url());
        let provider = OpenAiProvider::builder().base_url(&url).api_key(PROVIDER_KEY).unwrap();
        let provider = (self.provider)(provider).build().unwrap();
        let gateway = (self.gateway)(Gateway::builder().provider(provider)).build().unwrap();
        let server = (self.server)(Server::builder().listen(([127, 0, 0, 1], 0).into()));
        let server = server.bind(gateway.clone()).await.unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let report = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        World { sim: self.sim, upstream, address, gateway, stop: Some(stop), report }
    }
}
