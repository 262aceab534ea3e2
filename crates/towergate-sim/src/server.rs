//! [`SimServer`]: the simulated OpenAI on a socket.

use std::{
    any::Any,
    io,
    net::{Ipv4Addr, SocketAddr},
    panic::{AssertUnwindSafe, resume_unwind},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::FutureExt as _;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tower_service::Service as _;

use crate::{
    Sim,
    fault::Broken,
    io::{Connection, FaultIo},
    log::Event,
};

/// A [`Sim`] that serves HTTP/1.1 and HTTP/2 (with prior knowledge) on one port, without TLS.
///
/// Dropping it kills it: the port and all connections close.
#[derive(Debug)]
pub struct SimServer {
    sim: Sim,
    addr: SocketAddr,
    stop: watch::Sender<Stop>,
    accepting: Option<JoinHandle<()>>,
    panics: Panics,
}

/// How a server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Running,
    /// Nothing new is accepted; what is under way ends.
    Draining,
    /// Everything ends now.
    Killed,
}

/// What panicked in a task.
#[derive(Debug, Clone, Default)]
struct Panics(Arc<Mutex<Vec<Box<dyn Any + Send>>>>);

/// Why a connection ends without an answer. hyper takes the HTTP/2 reason from the cause.
#[derive(Debug)]
struct BreakOff(h2::Error);

// === impl SimServer ===

impl SimServer {
    /// Serves on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// No port could be had.
    pub async fn start(sim: Sim) -> io::Result<Self> {
        Self::start_at(sim, (Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Serves on an address: the one of a server before, say, that was killed.
    ///
    /// # Errors
    ///
    /// The address can't be had.
    pub async fn start_at(sim: Sim, addr: SocketAddr) -> io::Result<Self> {
        Self::start_on(sim, TcpListener::bind(addr).await?)
    }

    /// Serves on a listener.
    ///
    /// # Errors
    ///
    /// The listener has no address.
    pub fn start_on(sim: Sim, listener: TcpListener) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let stop = watch::Sender::new(Stop::Running);
        let panics = Panics::default();
        let accepting = tokio::spawn(accept(listener, sim.clone(), stop.subscribe(), panics.clone()));
        Ok(Self { sim, addr, stop, accepting: Some(accepting), panics })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL for a client: `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// What it serves.
    #[must_use]
    pub fn sim(&self) -> &Sim {
        &self.sim
    }

    /// Closes the port and all connections now, whatever is under way.
    ///
    /// # Panics
    ///
    /// With the panic of a task that panicked while serving.
    pub async fn shutdown(self) {
        self.stop(Stop::Killed).await;
    }

    /// Closes the port and idle connections, and lets what is under way end: as a server that is
    /// restarted in good order.
    ///
    /// # Panics
    ///
    /// As [`shutdown`](Self::shutdown).
    pub async fn drain(self) {
        self.stop(Stop::Draining).await;
    }

    async fn stop(mut self, how: Stop) {
        self.stop.send_replace(how);
        if let Some(accepting) = self.accepting.take() {
            let ended = accepting.await;
            if let Some(panic) = ended.err().filter(tokio::task::JoinError::is_panic) {
                resume_unwind(panic.into_panic());
            }
        }
        if let Some(panic) = self.panics.take() {
            resume_unwind(panic);
        }
    }
}

impl Drop for SimServer {
    fn drop(&mut self) {
        self.stop.send_replace(Stop::Killed);
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }
}

async fn accept(listener: TcpListener, sim: Sim, mut stop: watch::Receiver<Stop>, panics: Panics) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop != Stop::Running) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                let serving = serve(socket, sim.clone(), stop.clone(), panics.clone());
                let panics = panics.clone();
                connections.spawn(async move { panics.catch(serving).await });
            }
            Err(error) => tracing::warn!(%error, "the simulated server can't accept a connection"),
        }
    }
    drop(listener);
    if *stop.borrow() == Stop::Killed {
        connections.shutdown().await;
    }
    while connections.join_next().await.is_some() {}
}

async fn serve(socket: TcpStream, sim: Sim, mut stop: watch::Receiver<Stop>, panics: Panics) {
    let _ = socket.set_nodelay(true);
    let opened = Opened::new(&sim);
    let connection = Connection::new(opened.number);
    let io = TokioIo::new(FaultIo::new(socket, connection.clone()));
    let switched = connection.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        let answering = sim.clone().call(request);
        async move {
            let Ok(response) = answering.await;
            match response.extensions().get::<Broken>() {
                None => Ok(response),
                Some(Broken::Refuse) => Err(BreakOff(h2::Reason::REFUSED_STREAM.into())),
                Some(Broken::Close | Broken::Reset) => Err(BreakOff(h2::Reason::INTERNAL_ERROR.into())),
            }
        }
    });
    let builder = auto::Builder::new(panics);
    let mut serving = pin!(builder.serve_connection_with_upgrades(io, service));
    // How a connection ends is the clients' matter, or the script's.
    let drained = tokio::select! {
        _ = serving.as_mut() => false,
        _ = stop.wait_for(|stop| *stop != Stop::Running) => true,
    };
    if drained {
        serving.as_mut().graceful_shutdown();
        let _ = serving.await;
    }
    if let Some(next) = switched.take_next() {
        next.await;
    }
}

/// A connection in the log, for as long as it is open.
struct Opened {
    sim: Sim,
    number: u64,
}

impl Opened {
    fn new(sim: &Sim) -> Self {
        let mut number = 0;
        sim.log().send_modify(|log| {
            number = log.counts().opened + 1;
            log.add(Event::Opened(number));
        });
        Self { sim: sim.clone(), number }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.sim.log().send_modify(|log| log.add(Event::Closed(self.number)));
    }
}

// === impl Panics ===

impl Panics {
    async fn catch(&self, task: impl Future) {
        if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(panic);
        }
    }

    fn take(&self) -> Option<Box<dyn Any + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// Spawns the tasks of HTTP/2 streams.
impl<F> hyper::rt::Executor<F> for Panics
where
    F: Future + Send + 'static,
{
    fn execute(&self, task: F) {
        let panics = self.clone();
        tokio::spawn(async move { panics.catch(task).await });
    }
}

// === impl BreakOff ===

impl std::fmt::Display for BreakOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is broken off, as the fault says")
    }
}

impl std::error::Error for BreakOff {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
