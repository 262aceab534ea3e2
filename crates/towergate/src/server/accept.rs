//! Accepting connections, and letting them end.

use std::{
    any::Any,
    convert::Infallible,
    fmt, io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{JoinSet, unconstrained},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tower_service::Service;
use towergate_core::{Body, error::is_out_of_descriptors};

use super::{
    GuardedIo, ServerBuilder, Tls,
    descriptors::{self, Spare},
    drain::{Drain, DrainControl},
    io::later,
    places::{Place, Places},
    state::ConnectionState,
    surface::{Shown, Surface},
};
use crate::Gateway;

/// How long a connection must have been quiet to be closed in a shutdown.
const LINGER: Duration = Duration::from_millis(500);

/// How long accepting rests where the system does not let it.
const PAUSE: Duration = Duration::from_millis(100);

/// For how long a connection is too new to be closed for want of a descriptor: what it is to ask for is on its way.
const NEW: Duration = Duration::from_secs(1);

/// How often it is said in the log that it does not.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How often the metrics are tidied up.
const UPKEEP: Duration = Duration::from_secs(5);

/// A server whose listeners are bound.
#[derive(Debug)]
pub struct BoundServer<S> {
    settings: ServerBuilder,
    max_connections: usize,
    service: S,
    listener: TcpListener,
    admin: Option<TcpListener>,
    local_addr: SocketAddr,
    admin_addr: Option<SocketAddr>,
    /// While it stands, a gateway without client keys warns of it.
    _exposed: Option<Arc<SocketAddr>>,
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Requests under way when the shutdown began.
    pub under_way: usize,
    /// Of these, and of those that still came: cut by the drain timeout.
    pub cut: usize,
    /// How long it took, from the signal on.
    pub took: Duration,
}

/// Everything that the connections of one listener share.
struct Connections<S> {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    service: S,
    settings: ServerBuilder,
    drain: Drain,
    places: Arc<Places>,
}

/// What is known from one connection to the next.
#[derive(Debug, Default)]
struct Accepting {
    spare: Spare,
    paused: Option<Instant>,
    warned: Option<Instant>,
}

// === impl BoundServer ===

impl<S> BoundServer<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    pub(super) fn new(
        settings: ServerBuilder,
        service: S,
        listener: TcpListener,
        admin: Option<TcpListener>,
    ) -> io::Result<Self> {
        let local_addr = listener.local_addr()?;
        let admin_addr = admin.as_ref().map(TcpListener::local_addr).transpose()?;
        // Clients that show a certificate are not strangers, and who is let in by a service of somebody else's is not
        // known here.
        let is_open_to_strangers = !settings.tls.as_ref().is_some_and(Tls::asks_for_certificates);
        let gateway = (&service as &dyn Any).downcast_ref::<Gateway>().filter(|_| is_open_to_strangers);
        let _exposed = gateway.and_then(|gateway| gateway.listens_on(local_addr));
        let max_connections = descriptors::connections(settings.max_connections);
        Ok(Self { settings, max_connections, service, listener, admin, local_addr, admin_addr, _exposed })
    }

    /// Where it listens: the real port where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where the operators' own listener is.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// How many connections it has at a time; see [`ServerBuilder::max_connections`].
    pub fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// Serves until `shutdown` resolves, then drains: `/readyz` says no; for the drain delay
    /// connections are still accepted; then nobody listens any more, connections close that have been
    /// quiet for half a second, and every request whose head was read may end, streams too, until
    /// the drain timeout.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Report {
        let (control, drain) = DrainControl::new();
        let shown = Shown { metrics: self.settings.metrics.clone(), health: self.settings.health.clone() };
        let gateway = self.settings.health.clone();
        let public = if self.settings.public_metrics { shown.clone() } else { Shown::default() };
        let public = Surface::new(self.service, drain.clone(), public, gateway.clone());
        let admin = self.admin.zip(self.admin_addr).map(|(listener, address)| {
            let surface = Surface::admin(address, drain.clone(), shown, gateway);
            // The operators' listener answers until the very end: it is how they watch the drain.
            let (hold, never_drains) = DrainControl::new();
            let mut plain = ServerBuilder { tls: None, ..self.settings.clone() };
            // Nobody is let in there, and nobody is a stranger.
            plain.clocks.authentication = plain.clocks.idle;
            let connections = Connections::new(surface, plain, never_drains, descriptors::OPERATORS);
            tokio::spawn(async move {
                let _hold = hold;
                Arc::new(connections).accept(&listener, &mut JoinSet::new(), std::future::pending()).await;
            })
        });

        // Histograms keep every sample until they are read: where nobody scrapes, this bounds them.
        let upkeep = self.settings.metrics.clone().map(|metrics| {
            tokio::spawn(async move {
                loop {
                    sleep(UPKEEP).await;
                    metrics.run_upkeep();
                }
            })
        });

        let certificates = self.settings.tls.clone().map(|tls| tokio::spawn(tls.follow()));

        let mut tasks = JoinSet::new();
        let (settings, max_connections) = (self.settings.clone(), self.max_connections);
        let connections = Arc::new(Connections::new(public, settings, drain.clone(), max_connections));
        connections.accept(&self.listener, &mut tasks, shutdown).await;

        let began = Instant::now();
        let under_way = drain.requests_under_way();
        tracing::info!(under_way, "shutting down: no longer ready");
        control.drain();
        connections.accept(&self.listener, &mut tasks, sleep(self.settings.drain_delay)).await;
        drop(self.listener);
        control.close();

        let deadline = later(Instant::now(), self.settings.drain_timeout);
        let drained = async { while tasks.join_next().await.is_some() {} };
        let cut = match timeout_at(deadline, drained).await {
            Ok(()) => 0,
            Err(_) => drain.requests_under_way(),
        };
        tasks.shutdown().await;
        for task in admin.into_iter().chain(upkeep).chain(certificates) {
            task.abort();
        }
        Report { under_way, cut, took: began.elapsed() }
    }
}

// === impl Connections ===

impl<S> Connections<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    fn new(service: S, settings: ServerBuilder, drain: Drain, max_connections: usize) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // The header clock of the guarded IO stands in for hyper's, which would also close
            // idle connections.
            .header_read_timeout(None)
            .max_headers(settings.max_headers)
            .max_buf_size(settings.max_header_bytes);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_concurrent_streams(settings.max_streams)
            .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX));
        Self { http1, http2, service, settings, drain, places: Places::new(max_connections) }
    }

    /// Accepts until `until` resolves. The places bound the connections over all calls.
    async fn accept(
        self: &Arc<Self>,
        listener: &TcpListener,
        tasks: &mut JoinSet<()>,
        until: impl Future<Output = ()>,
    ) {
        tokio::pin!(until);
        let mut accepting = Accepting::default();
        // Accepted, and without a place so far.
        let mut newcomer = None;
        loop {
            tokio::select! {
                () = &mut until => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                stream = accepting.next(listener, &self.places), if newcomer.is_none() => newcomer = Some(stream),
                () = self.places.free(), if newcomer.is_some() => {
                    if let Some(stream) = newcomer.take() {
                        tasks.spawn(Arc::clone(self).connection(stream, self.places.take()));
                    }
                }
            }
        }
        // What the system has accepted already would be reset with the listener.
        while let Some(stream) =
            newcomer.take().or_else(|| unconstrained(accepting.next(listener, &self.places)).now_or_never())
            && unconstrained(self.places.free()).now_or_never().is_some()
        {
            tasks.spawn(Arc::clone(self).connection(stream, self.places.take()));
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, place: Place) {
        // A small event must not wait for the acknowledgement of the last one.
        let _ = stream.set_nodelay(true);
        let state = place.state();
        let serving = async {
            match &self.settings.tls {
                None => self.guarded(stream, state).await,
                // Boxed, so that a connection without it does not keep room for it.
                Some(tls) => Box::pin(self.secured(tls, stream, state)).await,
            }
        };
        tokio::select! {
            biased;
            () = state.makes_way() => {}
            () = serving => {}
        }
    }

    async fn secured(&self, tls: &Tls, stream: TcpStream, state: &Arc<ConnectionState>) {
        let stream = tokio::select! {
            stream = tls.handshake(stream, self.settings.clocks.handshake) => stream,
            () = closing(&self.drain) => None,
        };
        if let Some(stream) = stream {
            self.guarded(stream, state).await;
        }
    }

    async fn guarded<T>(&self, stream: T, state: &Arc<ConnectionState>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut io, guard) = GuardedIo::with_state(stream, self.settings.clocks, Arc::clone(state));
        let service = guard.with_drain(self.drain.clone()).wrap(self.service.clone());
        let speaks_http2 = tokio::select! {
            speaks_http2 = io.speaks_http2() => speaks_http2,
            () = closable(&self.drain, state) => return,
        };
        let closable = closable(&self.drain, state);
        let io = TokioIo::new(io);
        let result = match speaks_http2 {
            Ok(false) => {
                let connection = self.http1.serve_connection(io, service).with_upgrades();
                until_closable(connection, closable, http1::UpgradeableConnection::graceful_shutdown).await
            }
            // Boxed, so that one of HTTP/1.1 does not keep room for it.
            Ok(true) => {
                let connection = self.http2.serve_connection(io, service);
                Box::pin(until_closable(connection, closable, http2::Connection::graceful_shutdown)).await
            }
            Err(error) => return tracing::debug!(%error, "a connection ended before its first request"),
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection ended early");
        }
        // A tunnel has taken the connection with it: it keeps its place until it ends.
        state.gone().await;
    }
}

/// Lets a connection live until it ends, or ends in a shutdown.
async fn until_closable<C: Future>(
    connection: C,
    closable: impl Future<Output = ()>,
    graceful_shutdown: impl FnOnce(Pin<&mut C>),
) -> C::Output {
    let mut connection = pin!(connection);
    tokio::select! {
        output = connection.as_mut() => output,
        () = closable => {
            graceful_shutdown(connection.as_mut());
            connection.await
        }
    }
}

/// Resolves once a connection can be closed in a shutdown without a request being lost.
async fn closable(drain: &Drain, state: &ConnectionState) {
    drain.closing().await;
    while let Some(until) = state.lingers_until(Instant::now(), LINGER) {
        sleep_until(until).await;
    }
}

/// Resolves once a client that has not even greeted has had its chance in a shutdown.
async fn closing(drain: &Drain) {
    drain.closing().await;
    sleep(LINGER).await;
}

// === impl Accepting ===

impl Accepting {
    /// The next connection. Where no file descriptor is left another connection makes way for it, and it is tried again
    /// after a pause.
    async fn next(&mut self, listener: &TcpListener, places: &Places) -> TcpStream {
        loop {
            if let Some(until) = self.paused {
                sleep_until(until).await;
                self.paused = None;
            }
            match listener.accept().await {
                Ok((stream, _)) => {
                    self.spare.keep();
                    return stream;
                }
                Err(error) if of_the_connection(&error) => {}
                Err(error) => {
                    self.warn(&error);
                    places.evict(NEW);
                    if !(is_out_of_descriptors(&error) && self.spare.give()) {
                        self.paused = Some(Instant::now() + PAUSE);
                    }
                }
            }
        }
    }

    fn warn(&mut self, error: &io::Error) {
        if self.warned.is_some_and(|warned| warned.elapsed() < WARN_EVERY) {
            return;
        }
        self.warned = Some(Instant::now());
        tracing::warn!(
            %error,
            "cannot accept connections; others are closed for them where they can be. Raise the limit of file \
             descriptors (ulimit -n), or lower server.max_connections"
        );
    }
}

/// The client was gone before it was accepted: no reason to wait.
fn of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

// === impl Report ===

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f32();
        match self.cut {
            0 => write!(f, "drained in {seconds:.1} s: every request under way ended ({})", self.under_way),
            cut => {
                write!(f, "drained for {seconds:.1} s: {cut} requests were cut [setting: --drain-timeout]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thousands of slow streams are thousands of these.
    #[tokio::test]
    async fn a_plain_connection_keeps_no_room_for_tls_or_http2() {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_control, drain) = DrainControl::new();
        let nowhere = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        let surface = Surface::admin(nowhere, drain.clone(), Shown::default(), None);
        let connections = Connections::new(surface, crate::server::Server::builder(), drain, 1);
        let place = connections.places.take();
        let connection = Arc::new(connections).connection(stream, place);
        assert!(size_of_val(&connection) < 3 * 1024, "{}", size_of_val(&connection));
    }
}
