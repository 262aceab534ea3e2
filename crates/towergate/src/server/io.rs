//! [`GuardedIo`]: a connection whose silence, and whose peer's refusal to read, is bounded in time.
//!
//! hyper stops polling a response body while the client does not read, so no clock inside a body
//! ever fires for such a client; and until a version is known there is no timer at all. The socket
//! is the one place that sees both, so the clocks sit here:
//!
//! - **first byte**: from the accept to the first byte;
//! - **header**: from the first byte of a request to its whole head (HTTP/1.1);
//! - **idle**: between requests, while none is under way;
//! - **authentication**: from the accept until a request is [let in](towergate_core::context::Downstream::set_admitted),
//!   while none is under way; neither bytes nor refused requests put it off;
//! - **write progress**: while bytes are ready for the client and it takes none.
//!
//! A WebSocket is a request under way for as long as the connection lives: only write progress runs.
//!
//! A connection that ran out of one of the first four is closed. One whose client does not read is marked
//! as stalled in [`Downstream`](towergate_core::context::Downstream), which every request on it
//! carries, and is broken off: the outcome of its requests is `client_stalled`.
//!
//! On HTTP/2 the client may also withhold the window of one stream, while the socket stays free.
//! Such an answer is let go of alone, with the same outcome, and so is its upstream; hyper resets
//! the stream when it next asks for data. The connection goes on for as long as another request is
//! under way on it, and is closed then.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    connection::ConnectionGuard,
    preface::{Unread, speaks_http2},
    state::ConnectionState,
};
use crate::time::CENTURY;

pub(super) const NOTHING_TAKEN: &str =
    "the client took nothing of the answer within the write progress clock";

/// How long a connection may be silent, and how long its client may not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionClocks {
    /// From the accept to the end of the TLS handshake, where the listener has [`Tls`](super::Tls); the others
    /// begin after it. Default 10 s.
    pub handshake: Duration,
    /// From the accept to the first byte. Default 30 s.
    pub first_byte: Duration,
    /// From the first byte of a request to its whole head (HTTP/1.1). Default 30 s.
    pub header: Duration,
    /// Between requests. Default 620 s: longer than the idle time of the load balancers in front,
    /// so that it is they who close, and no request meets a connection that is just being closed.
    pub idle: Duration,
    /// From the accept until a request is let in: while it is not, the connection is closed after this unless a
    /// request is under way, whatever else comes on it. A request is let in by
    /// [`ClientAuth`](towergate_layers::client_auth::ClientAuth), where keys are asked for and where not; a service
    /// without that layer says so itself, with
    /// [`Downstream::set_admitted`](towergate_core::context::Downstream::set_admitted). Default 10 s.
    pub authentication: Duration,
    /// How long a client may take nothing of what is ready for it. Default 60 s.
    pub write_progress: Duration,
}

/// A connection under [`ConnectionClocks`].
#[derive(Debug)]
pub struct GuardedIo<T> {
    inner: T,
    unread: Unread,
    /// One timer for all the clocks. It is not moved at each read or write: when it fires, what is
    /// due then is worked out afresh. Boxed once a connection: hyper wants its IO `Unpin`.
    timer: Pin<Box<Sleep>>,
    write_blocked_since: Option<Instant>,
    clocks: ConnectionClocks,
    state: Arc<ConnectionState>,
}

// === impl ConnectionClocks ===

impl Default for ConnectionClocks {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            header: Duration::from_secs(30),
            idle: Duration::from_secs(620),
            authentication: Duration::from_secs(10),
            write_progress: Duration::from_secs(60),
        }
    }
}

// === impl GuardedIo ===

impl<T> GuardedIo<T> {
    /// Guards a connection that was just accepted. The service on it must be wrapped by the
    /// [`ConnectionGuard`], which tells the clocks when a request is under way.
    pub fn new(inner: T, clocks: ConnectionClocks) -> (Self, ConnectionGuard) {
        Self::with_state(inner, clocks, Arc::new(ConnectionState::new(Instant::now())))
    }

    /// Guards a connection of which something is known already. Its clocks begin now.
    pub(super) fn with_state(
        inner: T,
        clocks: ConnectionClocks,
        state: Arc<ConnectionState>,
    ) -> (Self, ConnectionGuard) {
        let now = Instant::now();
        state.opens(now);
        let timer = Box::pin(sleep_until(later(now, state.shortest(&clocks))));
        let guard = ConnectionGuard::new(Arc::clone(&state));
        (Self { inner, unread: Unread::default(), timer, write_blocked_since: None, clocks, state }, guard)
    }

    /// Finds out whether the client speaks HTTP/2, under the clocks. What is read for that is read again.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool>
    where
        T: AsyncRead + Unpin,
    {
        let (is_http2, unread) = speaks_http2(self).await?;
        self.unread = unread;
        Ok(is_http2)
    }

    /// Fails where a clock ran out; otherwise sees to being woken when the next one may.
    fn poll_clocks(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            // A clock that starts later than now is due later than this.
            let mut next = later(now, self.state.shortest(&self.clocks));
            if let Some(since) = self.write_blocked_since {
                let due = later(since, self.clocks.write_progress);
                if due <= now {
                    self.state.set_stalled();
                    return Err(timed_out(NOTHING_TAKEN));
                }
                next = next.min(due);
            }
            match self.state.check_streams(now, self.clocks.write_progress) {
                Some(due) => next = due.map_or(next, |due| next.min(due)),
                None => return Err(timed_out(NOTHING_TAKEN)),
            }
            if let Some((due, what)) = self.state.silence(&self.clocks) {
                if due <= now {
                    return Err(timed_out(what));
                }
                next = next.min(due);
            }
            self.timer.as_mut().reset(next);
        }
        Ok(())
    }

    /// Takes note of whether the client took anything.
    fn wrote<R>(&mut self, result: &Poll<R>, cx: &mut Context<'_>) -> io::Result<()> {
        if result.is_ready() {
            self.write_blocked_since = None;
            return Ok(());
        }
        self.write_blocked_since.get_or_insert_with(Instant::now);
        self.poll_clocks(cx)
    }
}

/// An instant and a while: one for ever, of a clock that is not to go off, is a century.
pub(super) fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or_else(|| at + CENTURY)
}

pub(super) fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<T> Drop for GuardedIo<T> {
    fn drop(&mut self) {
        self.state.io_dropped();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for GuardedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let was_unread = self.unread.move_to(buf);
        if was_unread && buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        match result {
            Poll::Pending => {
                self.poll_clocks(cx)?;
                if was_unread {
                    return Poll::Ready(Ok(()));
                }
            }
            Poll::Ready(_) if buf.filled().len() > before => self.state.bytes_arrived(),
            Poll::Ready(_) => {}
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for GuardedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(&result, cx)?;
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(&result, cx)?;
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        if result.is_pending() {
            self.wrote(&result, cx)?;
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(cx);
        // TLS says goodbye, which a client that does not read never takes.
        if result.is_pending() {
            self.wrote(&result, cx)?;
        }
        result
    }
}
