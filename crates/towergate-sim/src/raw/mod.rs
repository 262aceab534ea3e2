//! [`RawUpstream`]: a scripted TCP server, for what a real HTTP server can't be made to do: lying
//! lengths, bad chunk sizes, endless headers, two answers to one request, a 101 nobody asked for.

mod framing;
mod run;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinError, JoinHandle},
};

use crate::Gate;

/// What one connection does, step by step. After the last step the connection is closed: with a FIN,
/// but where bytes of the peer are unread the system makes it a reset.
///
/// The methods add a step each, in the order in which they are to happen.
#[derive(Debug, Clone, Default)]
pub struct RawScript {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Head,
    Request,
    Write(Bytes),
    WriteForever(Bytes),
    Trickle(Bytes, Duration),
    Wait(Gate),
    PeerClose,
    Reset,
}

/// Something that happened on a connection; connections are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RawEvent {
    /// A connection was accepted.
    Opened(u64),
    /// A request was read: all of its bytes, or its head where the script reads no more.
    Request {
        /// The connection.
        connection: u64,
        /// What was read.
        bytes: Bytes,
    },
    /// The peer closed the connection, or reset it, where the script reads, waits or writes.
    PeerClosed(u64),
    /// The script is over, and the connection with it.
    Ended(u64),
}

/// A TCP server on a free port of 127.0.0.1 that follows a script for each connection.
///
/// The first connection follows the first script, and so on; those after the last script follow the
/// last one again. Dropping it closes everything.
///
/// ```
/// use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
/// use towergate_sim::{RawScript, RawUpstream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let lies = RawScript::new().read_request().write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi");
/// let upstream = RawUpstream::start([lies]).await?;
///
/// let mut client = tokio::net::TcpStream::connect(upstream.addr()).await?;
/// client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer).await?;
/// assert!(answer.ends_with("\r\n\r\nhi"));
/// assert_eq!(upstream.requests().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RawUpstream {
    addr: SocketAddr,
    log: Arc<watch::Sender<Vec<RawEvent>>>,
    accepting: JoinHandle<()>,
}

// === impl RawScript ===

impl RawScript {
    /// A connection that is closed at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the head of a request, and leaves its body unread.
    #[must_use]
    pub fn read_head(self) -> Self {
        self.then(Step::Head)
    }

    /// Reads a whole request: its head, and its body by `Content-Length` or chunked.
    #[must_use]
    pub fn read_request(self) -> Self {
        self.then(Step::Request)
    }

    /// Writes these bytes as they are.
    #[must_use]
    pub fn write(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Write(bytes.into()))
    }

    /// Writes a whole answer: the status line, `content-type: application/json`, its length, and
    /// this body.
    #[must_use]
    pub fn write_json(self, body: &str) -> Self {
        let length = body.len();
        self.write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    /// Writes these bytes again and again, until the peer closes.
    #[must_use]
    pub fn write_forever(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::WriteForever(bytes.into()))
    }

    /// Writes these bytes one by one, each after a pause.
    #[must_use]
    pub fn trickle(self, bytes: impl Into<Bytes>, pause: Duration) -> Self {
        self.then(Step::Trickle(bytes.into(), pause))
    }

    /// Waits until the gate is open. What the peer sends meanwhile waits in the socket; what it
    /// closes is seen by the next step.
    #[must_use]
    pub fn wait(self, gate: &Gate) -> Self {
        self.then(Step::Wait(gate.clone()))
    }

    /// Waits until the peer closes; what it still sends is thrown away.
    #[must_use]
    pub fn wait_for_close(self) -> Self {
        self.then(Step::PeerClose)
    }

    /// Resets the connection (RST); nothing after it happens.
    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Step::Reset)
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

// === impl RawUpstream ===

impl RawUpstream {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// No port could be had.
    pub async fn start(scripts: impl IntoIterator<Item = RawScript>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let log = Arc::new(watch::Sender::new(Vec::new()));
        let scripts: Vec<RawScript> = scripts.into_iter().collect();
        let accepting = tokio::spawn(run::accept(listener, scripts, Arc::clone(&log)));
        Ok(Self { addr, log, accepting })
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

    /// What happened so far: the last 4096 events.
    #[must_use]
    pub fn events(&self) -> Vec<RawEvent> {
        self.log.borrow().clone()
    }

    /// The bytes of the requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Bytes> {
        let request = |event: &RawEvent| match event {
            RawEvent::Request { bytes, .. } => Some(bytes.clone()),
            _ => None,
        };
        self.log.borrow().iter().filter_map(request).collect()
    }

    /// Waits until the events are as the closure wants them. A test that may fail puts a timeout
    /// around.
    pub async fn wait_until(&self, mut wanted: impl FnMut(&[RawEvent]) -> bool) {
        // The sender lives in `self`: the wait can't fail.
        let _ = self.log.subscribe().wait_for(|events| wanted(events)).await;
    }

    /// Waits until this happened.
    pub async fn wait_for(&self, event: RawEvent) {
        self.wait_until(|events| events.contains(&event)).await;
    }

    /// Closes the port and all connections now.
    ///
    /// # Panics
    ///
    /// With the panic of the task that served.
    pub async fn shutdown(mut self) {
        self.accepting.abort();
        let ended = (&mut self.accepting).await;
        if let Some(panic) = ended.err().filter(JoinError::is_panic) {
            std::panic::resume_unwind(panic.into_panic());
        }
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
