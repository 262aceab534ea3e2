//! How a server is set up.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use http::{Request, Response};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tower_service::Service;
use towergate_core::Body;

use super::{ConnectionClocks, Tls, accept::BoundServer};
use crate::Gateway;

/// The least that [`ServerBuilder::max_header_bytes`] can be: what hyper reads at a time.
pub const MIN_HEADER_BYTES: usize = 8 * 1024;

/// The standalone server; see [`ServerBuilder`].
#[derive(Debug)]
pub struct Server;

/// Settings of a [`Server`], each with its default.
#[derive(Debug, Clone)]
#[must_use]
pub struct ServerBuilder {
    pub(super) listen: SocketAddr,
    pub(super) admin_listen: Option<SocketAddr>,
    pub(super) tls: Option<Tls>,
    pub(super) clocks: ConnectionClocks,
    pub(super) max_connections: Option<usize>,
    pub(super) max_header_bytes: usize,
    pub(super) max_headers: usize,
    pub(super) max_streams: u32,
    pub(super) drain_delay: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) public_metrics: bool,
    pub(super) metrics: Option<PrometheusHandle>,
    pub(super) health: Option<Gateway>,
}

// === impl Server ===

impl Server {
    /// A server with the default settings.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: None,
            tls: None,
            clocks: ConnectionClocks::default(),
            max_connections: None,
            max_header_bytes: 64 * 1024,
            max_headers: 256,
            max_streams: 256,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
            public_metrics: true,
            metrics: None,
            health: None,
        }
    }
}

// === impl ServerBuilder ===

impl ServerBuilder {
    /// Where to listen; port 0 takes a free one. Default `127.0.0.1:8080`.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Where the operators' surface (`/healthz`, `/readyz`, `/health`, `/metrics`) has a listener of its own.
    /// Default: none.
    pub fn admin_listen(mut self, address: Option<SocketAddr>) -> Self {
        self.admin_listen = address;
        self
    }

    /// Speaks TLS on the listener; the operators' own listener stays plain. The files are followed while it
    /// [serves](BoundServer::serve). Default: plain.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The clocks of each connection.
    pub fn clocks(mut self, clocks: ConnectionClocks) -> Self {
        self.clocks = clocks;
        self
    }

    /// Connections at a time. Past it a newcomer takes the place of the oldest connection on which no request was ever
    /// let in, else of the one that has been idle for the longest; while requests are under way on all of them, it
    /// waits in the system's backlog. Never more than the process's limit of file descriptors leaves, less 64 for
    /// everything else. Default: half of that, so that each has one left for its provider, and at most 10,000; see
    /// [`raise_descriptor_limit`](super::raise_descriptor_limit).
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Bytes a request head may have; more is a 431. Default 64 KiB. On HTTP/1.1 this is also what a
    /// connection buffers of an answer that its client does not read. At least [`MIN_HEADER_BYTES`].
    pub fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.max_header_bytes = bytes.max(MIN_HEADER_BYTES);
        self
    }

    /// Fields a request head may have (HTTP/1.1); more is a 431. Over HTTP/2 each counts 32 bytes to
    /// [`max_header_bytes`](Self::max_header_bytes) beside its own. Default 256.
    pub fn max_headers(mut self, fields: usize) -> Self {
        self.max_headers = fields.max(1);
        self
    }

    /// Requests at a time on one HTTP/2 connection. Default 256.
    pub fn max_streams(mut self, streams: u32) -> Self {
        self.max_streams = streams.max(1);
        self
    }

    /// How long new connections are still accepted after the shutdown began and `/readyz` said no:
    /// the time a load balancer needs to notice. Default 0.
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.drain_delay = delay;
        self
    }

    /// How long what is under way may go on after that. Default 30 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Whether `/metrics` and `/health` are served beside the API; they never are while the gateway of
    /// [`health`](Self::health) [asks for keys](Gateway::asks_for_keys). Default true; turn it off where strangers
    /// reach the listener, and use [`admin_listen`](Self::admin_listen).
    pub fn public_metrics(mut self, public: bool) -> Self {
        self.public_metrics = public;
        self
    }

    /// What `/metrics` renders; see [`telemetry::install_metrics`](super::telemetry::install_metrics).
    /// Default: nothing, and `/metrics` is a 404.
    pub fn metrics(mut self, handle: PrometheusHandle) -> Self {
        self.metrics = Some(handle);
        self
    }

    /// Whose [health](Gateway::health) `/health` shows, as JSON, and whose rules for [hosts](crate::GatewayBuilder::allowed_hosts)
    /// and pages hold for the operators' paths, too. Default: nobody's, and `/health` is a path of the API.
    pub fn health(mut self, gateway: Gateway) -> Self {
        self.health = Some(gateway);
        self
    }

    /// Binds the listeners.
    ///
    /// Where the service is a [`Gateway`] that needs no [client keys](crate::GatewayBuilder::client_keys), and others
    /// than this machine can reach the listener, a warning is logged, and again at each [`Gateway::replace`]. A
    /// service around the gateway may authenticate clients itself, and clients with a certificate
    /// ([`TlsFiles::client_ca`](super::TlsFiles::client_ca)) are known: there is no warning then.
    ///
    /// # Errors
    ///
    /// An address that can't be bound; the message names it.
    pub async fn bind<S>(self, service: S) -> io::Result<BoundServer<S>>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        let listener = listen(self.listen, "--listen").await?;
        let admin = match self.admin_listen {
            Some(address) => Some(listen(address, "--admin-listen").await?),
            None => None,
        };
        BoundServer::new(self, service, listener, admin)
    }
}

async fn listen(address: SocketAddr, setting: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error} [setting: {setting}]"))
    })
}
