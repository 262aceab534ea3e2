//! [`Gateway`]: the whole stack as one service.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::{Request, Response};
use tower::util::BoxCloneSyncService;
use tower_service::Service;
use towergate_core::{Body, BoxError, memory::MemoryBudget};
use towergate_layers::{client_auth::ClientKeys, timeout::Timeouts};
use towergate_openai::protocol::OpenAiProtocol;

use crate::{
    BuildError, ClientAuthMode, OpenAiProvider, Provider, Registry, Routing,
    client_auth::Exposed,
    guard::GuardSettings,
    health::{self, HealthReport, ProviderReport, ReloadReport, Watched},
    registry::Entry,
    router::Router,
    stack,
    tunnel::CloseTunnels,
};

/// What all requests under way may hold in memory, unless said otherwise: 1 GiB.
const MEMORY: usize = 1 << 30;

/// The whole stack, erased once.
pub(crate) type GatewayService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// An inference gateway as one service, for any request body, with every failure an answer.
///
/// Serves `/v1/...` and the bare paths of the endpoints it knows. Cheap to clone: a clone for each
/// connection or request is what hyper and axum make of it.
#[derive(Clone)]
pub struct Gateway {
    /// This clone's own, of the generation that it was taken from.
    inner: GatewayService,
    generation: u64,
    shared: Arc<Shared>,
}

/// What all clones share.
struct Shared {
    current: ArcSwap<Current>,
    /// Spares looking at `current` for each request.
    generation: AtomicU64,
    /// One after the other: what is in force decides what may come after it.
    replacing: Mutex<()>,
    tunnels: Arc<CloseTunnels>,
    exposed: Exposed,
    /// What became of the configuration file when it was last read.
    reload: ArcSwapOption<ReloadReport>,
}

/// The stack that requests are given to.
struct Current {
    service: GatewayService,
    registry: Registry,
    watched: Vec<Watched>,
    asks_for_keys: bool,
    guard: GuardSettings,
    client_keys: Option<ClientKeys>,
    memory: MemoryBudget,
    generation: u64,
}

/// Settings of a [`Gateway`], each with its default.
#[derive(Debug, Clone)]
#[must_use]
pub struct GatewayBuilder {
    pub(crate) routing: Option<Routing>,
    pub(crate) protocol: OpenAiProtocol,
    pub(crate) client_keys: Option<ClientKeys>,
    pub(crate) client_auth: Option<ClientAuthMode>,
    pub(crate) guard: GuardSettings,
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) max_body: usize,
    pub(crate) max_upload: u64,
    pub(crate) memory: MemoryBudget,
    pub(crate) timeouts: Timeouts,
    pub(crate) stream_keep_alive: Option<Duration>,
}

/// The future of [`Gateway`].
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>);

// === impl Gateway ===

impl Gateway {
    /// A gateway with the default settings; it needs a [provider](GatewayBuilder::provider).
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder {
            routing: None,
            protocol: OpenAiProtocol::default(),
            client_keys: None,
            client_auth: None,
            guard: GuardSettings::default(),
            max_in_flight: None,
            max_body: 64 * 1024 * 1024,
            max_upload: 1024 * 1024 * 1024,
            memory: MemoryBudget::new(MEMORY).per_client(MEMORY / 4),
            timeouts: Timeouts::default(),
            stream_keep_alive: Some(Duration::from_secs(15)),
        }
    }

    /// A gateway in front of the OpenAI that the environment describes; see [`OpenAiProvider::from_env`].
    ///
    /// # Errors
    ///
    /// Every bad value, named with its variable.
    pub async fn from_env() -> Result<Self, BuildError> {
        Self::builder().provider(OpenAiProvider::from_env().await?.build()?).build()
    }

    /// Refuses what is new with a 503, and closes WebSockets (code 1001). What else is under way may
    /// end.
    pub fn close(&self) {
        self.registry().iter().for_each(|(_, provider)| provider.close());
        self.shared.tunnels.close();
    }

    /// The providers.
    #[must_use]
    pub fn registry(&self) -> Registry {
        self.shared.current.load().registry.clone()
    }

    /// How the providers are, as far as is known now; asks nobody.
    #[must_use]
    pub fn health(&self) -> HealthReport {
        let current = self.shared.current.load();
        let each = current.registry.entries().iter();
        let providers = each
            .map(|Entry { name, provider, vitals }| ProviderReport::of(name, &**provider, vitals))
            .collect();
        HealthReport::new(providers, self.shared.reload.load().as_deref().cloned())
    }

    /// Whether clients must present a key, as the settings in force are; see [`GatewayBuilder::client_keys`].
    #[must_use]
    pub fn asks_for_keys(&self) -> bool {
        self.shared.current.load().asks_for_keys
    }

    /// What is set of hosts and web pages, and whether clients must present a key.
    pub(crate) fn guard(&self) -> (GuardSettings, bool) {
        let current = self.shared.current.load();
        (current.guard.clone(), current.asks_for_keys)
    }

    /// Asks the providers that have [health checks](crate::Candidate::health_checks) for their models, each at its
    /// interval, and follows [`replace`](Self::replace). Never ends: spawn it, once for all clones.
    pub async fn watch_health(&self) {
        health::watch(|| self.shared.current.load().watched.clone()).await;
    }

    /// Notes what became of the configuration file, for operators.
    #[cfg(feature = "config")]
    pub(crate) fn note_reload(&self, report: ReloadReport) {
        self.shared.reload.store(Some(Arc::new(report)));
    }

    /// Puts other settings in force, for this gateway and all its clones, mounted or not. What is under way
    /// ends with the old ones. A provider that is in the old and the new settings keeps its connections and its
    /// state.
    ///
    /// Settings without client keys do not take the place of settings with some, unless they
    /// [say](GatewayBuilder::client_auth) that client authentication is disabled: a list of keys that could not be
    /// read, or was forgotten, must not let everybody in.
    ///
    /// # Errors
    ///
    /// As [`GatewayBuilder::build`], and [`BuildError::WouldOpen`]; the old settings stay in force.
    pub fn replace(&self, mut settings: GatewayBuilder) -> Result<(), BuildError> {
        let _alone = self.shared.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.shared.current.load();
        // What requests under way hold stays counted, over all clients and for each.
        let memory = std::mem::replace(&mut settings.memory, old.memory.clone());
        if let (Some(keys), Some(old)) = (&mut settings.client_keys, &old.client_keys) {
            *keys = keys.in_place_of(old);
        }
        let next = settings.stack(&self.shared.tunnels)?;
        let would_open = old.asks_for_keys && !next.asks_for_keys;
        if would_open && settings.client_auth != Some(ClientAuthMode::Disabled) {
            return Err(BuildError::WouldOpen);
        }
        old.memory.take_limits_of(&memory);
        let (generation, asks_for_keys) = (old.generation + 1, next.asks_for_keys);
        self.shared.current.store(Arc::new(Current { generation, ..next }));
        self.shared.generation.store(generation, Release);
        if !asks_for_keys {
            self.shared.exposed.warn();
        }
        Ok(())
    }

    /// Warns now and at each [`replace`](Self::replace) where clients need no key, until what is returned is dropped:
    /// strangers can reach this listener, unless it is of the loopback interface.
    #[cfg(feature = "server")]
    pub(crate) fn listens_on(&self, address: std::net::SocketAddr) -> Option<Arc<std::net::SocketAddr>> {
        let listener = self.shared.exposed.add(address)?;
        if !self.asks_for_keys() {
            crate::client_auth::warn_of(address);
        }
        Some(listener)
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("registry", &self.shared.current.load().registry)
            .finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for Gateway
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.shared.generation.load(Acquire) != self.generation {
            let current = self.shared.current.load();
            (self.inner, self.generation) = (current.service.clone(), current.generation);
        }
        Service::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture(self.inner.call(request.map(Body::new)))
    }
}

// === impl GatewayBuilder ===

impl GatewayBuilder {
    /// The upstream, where there is one.
    pub fn provider(self, provider: impl Provider) -> Self {
        self.routing(Routing::single(provider))
    }

    /// The upstreams, and who of them serves what.
    pub fn routing(mut self, routing: Routing) -> Self {
        self.routing = Some(routing);
        self
    }

    /// What is known of the models: which of them are metric labels, and which think before they answer.
    pub fn protocol(mut self, protocol: OpenAiProtocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Lets in only who presents one of these keys. Default: everybody; who may come in is the
    /// business of the app that the gateway is mounted in.
    pub fn client_keys(mut self, keys: ClientKeys) -> Self {
        self.client_keys = Some(keys);
        self
    }

    /// Says in words whether clients must present a key, so that it does not hang on there being a list of keys alone.
    /// Default: they must where there are [keys](Self::client_keys).
    pub fn client_auth(mut self, mode: ClientAuthMode) -> Self {
        self.client_auth = Some(mode);
        self
    }

    /// Requests under way at a time; more are answered with 503 at once. Default: no limit.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = Some(requests);
        self
    }

    /// Bytes that a JSON body may have; more is a 413. Default 64 MiB.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Bytes that a streamed upload may have; more is a 413. Default 1 GiB.
    pub fn max_upload(mut self, bytes: u64) -> Self {
        self.max_upload = bytes;
        self
    }

    /// What the bodies of all requests under way may hold in memory together (collected bodies, uploads kept for another
    /// attempt, held answers), and the [share](MemoryBudget::per_client) of each client that has a key. A request for whose
    /// body nothing is left is answered with 503, and with 429 where it is its own client's share; uploads and answers are
    /// then not kept. Default 1 GiB, and a quarter of it for each client.
    ///
    /// A gateway keeps the budget that it was built with: [`replace`](Gateway::replace) takes over the limits of another one.
    pub fn memory(mut self, memory: MemoryBudget) -> Self {
        self.memory = memory;
        self
    }

    /// The clocks of a request: total, and the gap in the upload. Those of an attempt are the
    /// provider's.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// After how long a silence of the upstream the client of a stream gets the comment `: keep-alive`, so that proxies
    /// and clients that take a silent connection for dead leave it; `None`: never. Default 15 s. Only between two
    /// events, and only once the head is out.
    pub fn stream_keep_alive(mut self, every: Option<Duration>) -> Self {
        self.stream_keep_alive = every;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// No provider, a routing that contradicts itself, a clock that can't work, or client keys that contradict the
    /// [mode](Self::client_auth).
    pub fn build(self) -> Result<Gateway, BuildError> {
        let tunnels = Arc::new(CloseTunnels::new());
        let current = self.stack(&tunnels)?;
        let inner = current.service.clone();
        let shared = Shared {
            current: ArcSwap::from_pointee(current),
            generation: AtomicU64::new(0),
            replacing: Mutex::default(),
            tunnels,
            exposed: Exposed::default(),
            reload: ArcSwapOption::empty(),
        };
        Ok(Gateway { inner, generation: 0, shared: Arc::new(shared) })
    }

    fn stack(&self, tunnels: &Arc<CloseTunnels>) -> Result<Current, BuildError> {
        let routing = self.routing.clone().ok_or(BuildError::NoProvider)?.without_old_findings();
        let router = Router::new(&routing, self.protocol.clone(), self.memory.clone())?;
        self.timeouts.validate().map_err(BuildError::Timeouts)?;
        ClientAuthMode::check(self.client_auth, self.client_keys.is_some())?;
        Ok(Current {
            service: stack::gateway(router, self, tunnels),
            registry: routing.registry().clone(),
            watched: routing.watched(),
            asks_for_keys: self.client_keys.is_some(),
            guard: self.guard.clone(),
            client_keys: self.client_keys.clone(),
            memory: self.memory.clone(),
            generation: 0,
        })
    }
}

// === impl ResponseFuture ===

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

#[cfg(test)]
mod tests;
