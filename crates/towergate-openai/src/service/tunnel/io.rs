//! hyper's upgraded connections as ends of a tunnel.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::{
    rt::{Read as _, ReadBuf, Write as _},
    upgrade::{OnUpgrade, Upgraded},
};
use towergate_core::tunnel::Duplex;

/// A connection that hyper, as a client or as a server, has switched to another protocol.
#[derive(Debug)]
pub struct UpgradedIo(Upgraded);

// === impl UpgradedIo ===

impl UpgradedIo {
    /// The connection, once it was switched.
    ///
    /// # Errors
    ///
    /// It never is: the peer has gone, or whoever serves the connection does not do upgrades.
    pub async fn when_switched(upgrade: OnUpgrade) -> io::Result<Self> {
        upgrade.await.map(Self).map_err(io::Error::other)
    }
}

impl Duplex for UpgradedIo {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.0).poll_read(cx, buffer.unfilled()))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
