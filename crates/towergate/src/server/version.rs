//! Which version of HTTP a connection speaks: both are served on one port, TLS or not.
//!
//! hyper-util's `auto` knows too. It hands the first bytes to hyper by themselves, whose buffer for the request
//! then has twice the size for as long as the connection lives. Here they come along with what follows them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// What a client of HTTP/2 says first, whatever it asks for (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A version of HTTP, as far as connections differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpVersion {
    /// Or something that is no HTTP at all.
    Http1,
    Http2,
}

/// What was read of a connection and is yet to be read by hyper.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: [u8; PREFACE.len()],
    len: usize,
}

impl HttpVersion {
    /// Reads until it is clear, and says what was read.
    pub(super) async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<(Self, Unread)> {
        let mut unread = Unread::default();
        loop {
            let read = io.read(&mut unread.bytes[unread.len..]).await?;
            unread.len += read;
            if read == 0 || !PREFACE.starts_with(&unread.bytes[..unread.len]) {
                return Ok((Self::Http1, unread));
            }
            if unread.len == PREFACE.len() {
                return Ok((Self::Http2, unread));
            }
        }
    }
}

impl Unread {
    /// Moves to `buf` what fits. Gives whether there was any.
    pub(super) fn move_to(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let moved = self.len.min(buf.remaining());
        if moved == 0 {
            return false;
        }
        buf.put_slice(&self.bytes[..moved]);
        self.bytes.copy_within(moved..self.len, 0);
        self.len -= moved;
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::io::Builder;

    use super::*;

    async fn version(pieces: &[&[u8]]) -> (HttpVersion, Vec<u8>) {
        let mut io = Builder::new();
        for piece in pieces {
            io.read(piece);
        }
        let mut io = io.build();
        let (version, mut unread) = HttpVersion::read(&mut io).await.unwrap();
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        // Whatever the room.
        let mut all = Vec::new();
        loop {
            let mut room = [0; 7];
            let mut buf = ReadBuf::new(&mut room);
            if !unread.move_to(&mut buf) {
                break;
            }
            all.extend_from_slice(buf.filled());
        }
        all.append(&mut rest);
        (version, all)
    }

    #[tokio::test]
    async fn any_split_tells_the_version_and_loses_nothing() {
        let http2 = [PREFACE.as_slice(), b"rest"].concat();
        let post = b"POST / HTTP/1.1\r\nhost: a\r\n\r\n".as_slice();
        let nearly = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r.".as_slice();
        for (text, expected) in [
            (&*http2, HttpVersion::Http2),
            (post, HttpVersion::Http1),
            (nearly, HttpVersion::Http1),
            (b"PRI".as_slice(), HttpVersion::Http1),
            (b"\x16\x03\x01", HttpVersion::Http1),
        ] {
            for at in 1..text.len() {
                let got = version(&[&text[..at], &text[at..]]).await;
                assert_eq!(got, (expected, text.to_vec()), "split at {at}");
            }
            let each: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(version(&each).await, (expected, text.to_vec()));
        }
        assert_eq!(version(&[]).await, (HttpVersion::Http1, Vec::new()));
    }
}
