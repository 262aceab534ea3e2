//! A socket that a scripted fault can reset, or close once what was written is out.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What a fault can do to the connection that its request came on. An extension of the request.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Shared>);

struct Shared {
    id: u64,
    reset: AtomicBool,
    close: AtomicBool,
    task: AtomicWaker,
    next: Mutex<Option<Next>>,
}

/// What runs on a connection after HTTP.
type Next = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The server's side of a connection.
pub(crate) struct FaultIo {
    socket: TcpStream,
    connection: Connection,
    /// The last answer is out, and the connection is to be closed: reads see its end.
    over: bool,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn new(id: u64) -> Self {
        let shared = Shared {
            id,
            reset: AtomicBool::new(false),
            close: AtomicBool::new(false),
            task: AtomicWaker::new(),
            next: Mutex::default(),
        };
        Self(Arc::new(shared))
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    /// Has something run on the connection after HTTP: another protocol.
    pub(crate) fn switch_to(&self, next: impl Future<Output = ()> + Send + 'static) {
        *self.next() = Some(Box::pin(next));
    }

    /// For the server, once HTTP is over.
    pub(crate) fn take_next(&self) -> Option<Next> {
        self.next().take()
    }

    fn next(&self) -> MutexGuard<'_, Option<Next>> {
        self.0.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resets the TCP connection; what was not flushed is lost.
    pub(crate) fn reset(&self) {
        self.0.reset.store(true, Relaxed);
        self.0.task.wake();
    }

    /// Closes the connection once what was written is out.
    pub(crate) fn close_when_flushed(&self) {
        self.0.close.store(true, Relaxed);
        self.0.task.wake();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.0.id).finish_non_exhaustive()
    }
}

// === impl FaultIo ===

impl FaultIo {
    pub(crate) fn new(socket: TcpStream, connection: Connection) -> Self {
        Self { socket, connection, over: false }
    }

    /// An error once the connection is to be reset: hyper drops the socket then.
    fn check(&self) -> io::Result<()> {
        if self.connection.0.reset.load(Relaxed) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Drop for FaultIo {
    /// Closing a socket that does not linger sends the RST.
    fn drop(&mut self) {
        if self.connection.0.reset.load(Relaxed) {
            let _ = self.socket.set_zero_linger();
        }
    }
}

impl AsyncRead for FaultIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.connection.0.task.register(cx.waker());
        self.check()?;
        if self.over {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for FaultIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        if self.connection.0.close.load(Relaxed) && !self.over {
            self.over = true;
            self.connection.0.task.wake();
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
