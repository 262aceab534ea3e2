//! [`Upgrade`]: how the two ends of a tunnel find each other.
//!
//! A WebSocket begins as a request and goes on as bytes in both directions. The layers must not
//! know: what is theirs (a permit, an outcome, a span) lives until the end of the answer's body, and
//! so the whole tunnel runs inside of that body.
//!
//! 1. The edge of the stack, which knows the server, puts an [`Upgrade`] into the request's
//!    extensions: the client's connection as it will be once the answer has gone out, and word of
//!    the shutdown. A retry carries it over.
//! 2. The leaf, which knows the upstream, sends the upgrade on. Where the upstream switches
//!    protocols, it [takes](Upgrade::take) the client's side and answers 101 with a body that owns
//!    both. Polling that body moves the bytes; no frame ever comes out of it. It ends with `None`
//!    where the conversation was closed in good order, else with an error.
//! 3. The edge takes the body off the 101, sends the head alone, and polls the body to its end.
//!
//! Core has no runtime, so [`Duplex`] stands in for its connections.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

/// A connection, as one end of a tunnel reads and writes it.
///
/// `Pending` has the waker of the context woken, as in `Future::poll`.
pub trait Duplex: Send {
    /// Reads into `buffer` and says how much; 0 is the end.
    ///
    /// # Errors
    ///
    /// The connection broke.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes some of `data` and says how much.
    ///
    /// # Errors
    ///
    /// The connection broke.
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>>;

    /// Sees to it that what was written goes out.
    ///
    /// # Errors
    ///
    /// The connection broke.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Says that nothing more is written. Reading goes on.
    ///
    /// # Errors
    ///
    /// The connection broke.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// The client's connection, once the head of the answer has gone out.
pub type OnClient = Pin<Box<dyn Future<Output = io::Result<Box<dyn Duplex>>> + Send>>;

/// Resolves when the gateway shuts down, and tunnels are to be closed.
pub type OnClosing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A request asks for a tunnel, and its client's side can be had. A request extension.
#[derive(Clone)]
pub struct Upgrade(Arc<Mutex<Option<(OnClient, OnClosing)>>>);

// === impl Upgrade ===

impl Upgrade {
    /// For the edge: the client's side, and word of the shutdown.
    pub fn new(
        client: impl Future<Output = io::Result<Box<dyn Duplex>>> + Send + 'static,
        closing: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self(Arc::new(Mutex::new(Some((Box::pin(client), Box::pin(closing))))))
    }

    /// For the leaf, once the upstream has switched protocols. Nothing where it was taken before.
    #[must_use]
    pub fn take(&self) -> Option<(OnClient, OnClosing)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgrade")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_taken_once_by_whichever_attempt_got_through() {
        let upgrade = Upgrade::new(std::future::pending(), std::future::pending());
        let second_attempt = upgrade.clone();
        assert!(second_attempt.take().is_some());
        assert!(upgrade.take().is_none());
    }
}
