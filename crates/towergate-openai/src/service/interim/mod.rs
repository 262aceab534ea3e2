//! [`BoundedInterim`]: a connection to an upstream on which interim (1xx) responses come to an end.
//!
//! An interim response (RFC 9110, section 15.2) announces a final one. hyper's client skips them without counting, so
//! that an upstream that sends nothing else keeps a request, a connection and a core busy until a clock goes off; for a
//! response that may take as long as the whole request that is ten minutes. This reads along what comes in, finds
//! the heads of the responses, and fails the connection where there are too many interim ones in a row. Of a
//! final response it looks at the first bytes only.

mod http1;
mod http2;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::{http1::Http1, http2::Http2};

/// How many interim responses may come before the final one. A server that reports its progress every second (102, or
/// 103 with other hints) stays below it for as long as the default total timeout lets it.
pub(super) const MAX_INTERIM: u16 = 1_000;

/// How such a connection fails. h2 keeps nothing of an IO error but its kind and its text, so the kind stands for it: no
/// socket fails with this one.
pub(super) const ENDLESS_INTERIM: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// Reads along what an upstream sends.
#[derive(Debug)]
pub(super) struct BoundedInterim<T> {
    inner: T,
    heads: Heads,
}

#[derive(Debug)]
enum Heads {
    Http1(Http1),
    /// Boxed, so that a connection of HTTP/1.1 does not keep room for it.
    Http2(Box<Http2>),
}

/// More interim responses came than are waited for.
#[derive(Debug)]
struct TooMany;

// === impl BoundedInterim ===

impl<T> BoundedInterim<T> {
    /// A connection that was just set up.
    pub(super) fn new(inner: T, is_http2: bool) -> Self {
        let heads = if is_http2 { Heads::Http2(Box::default()) } else { Heads::Http1(Http1::default()) };
        Self { inner, heads }
    }

    #[cfg(test)]
    pub(super) fn inner(&self) -> &T {
        &self.inner
    }
}

impl<T: Connection> Connection for BoundedInterim<T> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for BoundedInterim<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        let result = match &mut self.heads {
            Heads::Http1(heads) => heads.read(read),
            Heads::Http2(heads) => heads.read(read),
        };
        Poll::Ready(result.map_err(|TooMany| {
            io::Error::new(ENDLESS_INTERIM, format!("over {MAX_INTERIM} interim responses and no final one"))
        }))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for BoundedInterim<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.heads.wrote();
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.heads.wrote();
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

// === impl Heads ===

impl Heads {
    fn wrote(&mut self) {
        if let Self::Http1(heads) = self {
            heads.wrote();
        }
    }
}
