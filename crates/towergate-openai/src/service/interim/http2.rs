//! The heads of HTTP/2 responses, found in the bytes of a connection.

use std::collections::HashMap;

use super::{MAX_INTERIM, TooMany};

/// The length of a frame's header (RFC 9113, section 4.1).
const HEADER: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
/// On DATA and HEADERS.
const END_STREAM: u8 = 0x1;

/// For so many streams at a time it is known how many heads they have. A stream that is given up here between its head
/// and its data leaves its count behind; past this number all begin anew.
const MAX_STREAMS: usize = 4_096;

/// Where in a frame the connection is, and how many heads came on the streams that have no data yet. Only the last of
/// them can be a final one, so their number is that of the interim responses, but for one.
#[derive(Debug, Default)]
pub(super) struct Http2 {
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    filled: usize,
    /// Bytes of the frame's payload that are yet to come.
    payload: usize,
    heads: HashMap<u32, u16>,
}

// === impl Http2 ===

impl Http2 {
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<(), TooMany> {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = self.payload.min(bytes.len());
                bytes = &bytes[skipped..];
                self.payload -= skipped;
                continue;
            }
            let taken = (HEADER - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.filled += taken;
            if self.filled == HEADER {
                self.filled = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(), TooMany> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.payload = u32::from_be_bytes([0, a, b, c]) as usize;
        // The first bit is reserved.
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        match kind {
            HEADERS if flags & END_STREAM == 0 => {
                if self.heads.len() == MAX_STREAMS && !self.heads.contains_key(&stream) {
                    self.heads.clear();
                }
                let heads = self.heads.entry(stream).or_default();
                *heads += 1;
                if *heads > MAX_INTERIM + 1 {
                    return Err(TooMany);
                }
            }
            DATA | HEADERS | RST_STREAM => drop(self.heads.remove(&stream)),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
        let mut frame = (payload as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.resize(frame.len() + payload, 0);
        frame
    }

    fn heads(times: u16, stream: u32) -> Vec<u8> {
        frame(HEADERS, 0x4, stream, 5).repeat(times.into())
    }

    fn read(http2: &mut Http2, bytes: &[u8], size: usize) -> Result<(), TooMany> {
        bytes.chunks(size).try_for_each(|piece| http2.read(piece))
    }

    #[test]
    fn any_split_finds_as_many() {
        for size in [1, 2, 8, 9, 10, 14, 1 << 20] {
            let settings = frame(0x4, 0, 0, 18);
            let well = [settings.clone(), heads(MAX_INTERIM + 1, 1), frame(DATA, END_STREAM, 1, 2)].concat();
            let mut http2 = Http2::default();
            assert!(read(&mut http2, &well, size).is_ok(), "{size}");
            assert!(http2.heads.is_empty());
            let many = [settings, heads(MAX_INTERIM + 2, 1)].concat();
            assert!(read(&mut Http2::default(), &many, size).is_err(), "{size}");
        }
    }

    #[test]
    fn each_stream_has_its_own_count() {
        let mut http2 = Http2::default();
        for stream in 0..10 {
            assert!(read(&mut http2, &heads(MAX_INTERIM + 1, 2 * stream + 1), 4096).is_ok());
        }
        // What goes on in another one between them hides none.
        let both = [heads(1, 3), frame(DATA, 0, 1, 1)].concat();
        assert!(read(&mut http2, &both, 4096).is_err());
    }

    #[test]
    fn streams_that_were_given_up_are_forgotten() {
        let mut http2 = Http2::default();
        for stream in 0..3 * MAX_STREAMS as u32 {
            assert!(read(&mut http2, &heads(1, 2 * stream + 1), 4096).is_ok());
        }
        assert!(http2.heads.len() <= MAX_STREAMS);
    }

    proptest! {
        #[test]
        fn nothing_panics(pieces: Vec<Vec<u8>>) {
            let mut http2 = Http2::default();
            for piece in pieces {
                let _ = http2.read(&piece);
            }
        }
    }
}
