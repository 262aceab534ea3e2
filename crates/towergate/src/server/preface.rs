//! Which version of HTTP a connection speaks: both are served on one port, TLS or not.
//!
//! hyper-util's `auto` knows too. It hands the first bytes to hyper by themselves, whose buffer for the request
//! then has twice the size for as long as the connection lives. Here they come along with what follows them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// What a client of HTTP/2 says first, whatever it asks for (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What was read of a connection and is yet to be read by hyper.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: [u8; PREFACE.len()],
    len: usize,
}

/// Reads until it is clear whether the client speaks HTTP/2, and says what was read. Bytes that are not HTTP at all do not
/// count as HTTP/2.
pub(super) async fn speaks_http2(io: &mut (impl AsyncRead + Unpin)) -> io::Result<(bool, Unread)> {
    let mut unread = Unread::default();
    loop {
        let read = io.read(&mut unread.bytes[unread.len..]).await?;
        unread.len += read;
        if read == 0 || !PREFACE.starts_with(&unread.bytes[..unread.len]) {
            return Ok((false, unread));
        }
        if unread.len == PREFACE.len() {
            return Ok((true, unread));
        }
    }
}

// === impl Unread ===

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

    async fn read(pieces: &[&[u8]]) -> (bool, Vec<u8>) {
        let mut io = Builder::new();
        for piece in pieces {
            io.read(piece);
        }
        let mut io = io.build();
        let (is_http2, mut unread) = speaks_http2(&mut io).await.unwrap();
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
        (is_http2, all)
    }

    #[tokio::test]
    async fn any_split_tells_the_version_and_loses_nothing() {
        let http2 = [PREFACE.as_slice(), b"rest"].concat();
        let post = b"POST / HTTP/1.1\r\nhost: a\r\n\r\n".as_slice();
        let nearly = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r.".as_slice();
        for (text, expected) in [
            (&*http2, true),
            (post, false),
            (nearly, false),
            (b"PRI".as_slice(), false),
            (b"\x16\x03\x01", false),
        ] {
            for at in 1..text.len() {
                let got = read(&[&text[..at], &text[at..]]).await;
                assert_eq!(got, (expected, text.to_vec()), "split at {at}");
            }
            let each: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(read(&each).await, (expected, text.to_vec()));
        }
        assert_eq!(read(&[]).await, (false, Vec::new()));
    }
}
