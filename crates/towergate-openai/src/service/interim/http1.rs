//! The heads of HTTP/1.1 responses, found in the bytes of a connection.

use super::{MAX_INTERIM, TooMany};

/// How an interim response begins (RFC 9112, section 4); `?` is any byte.
const INTERIM: &[u8; 12] = b"HTTP/1.? 1??";

/// Where in a response the connection is. A response can only begin after something was written: requests are not
/// pipelined.
#[derive(Debug, Default)]
pub(super) struct Http1 {
    place: Place,
    interim: u16,
}

#[derive(Debug, Default, Clone, Copy)]
enum Place {
    /// A response may begin, of whose first line so many bytes have come, all of them as [`INTERIM`] has them.
    Start { matched: u8, status: [u8; 2] },
    /// In the head of an interim response, which an empty line ends.
    Interim { line_is_empty: bool },
    /// A final response has begun: no other one comes until something is written.
    #[default]
    Final,
    /// Another protocol is spoken.
    Switched,
}

// === impl Http1 ===

impl Http1 {
    /// A request is on its way, or more of its body is: a final response may be yet to begin.
    pub(super) fn wrote(&mut self) {
        if let Place::Final = self.place {
            *self = Self { place: Place::START, interim: 0 };
        }
    }

    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), TooMany> {
        for byte in bytes {
            self.place = match self.place {
                Place::Final | Place::Switched => return Ok(()),
                Place::Start { matched, status } => self.start(matched, status, *byte)?,
                Place::Interim { line_is_empty } => match byte {
                    b'\n' if line_is_empty => Place::START,
                    b'\n' => Place::Interim { line_is_empty: true },
                    // Ends a line together with what follows it.
                    b'\r' => Place::Interim { line_is_empty },
                    _ => Place::Interim { line_is_empty: false },
                },
            };
        }
        Ok(())
    }

    fn start(&mut self, matched: u8, mut status: [u8; 2], byte: u8) -> Result<Place, TooMany> {
        // Empty lines before a response are skipped, by hyper too.
        if matched == 0 && matches!(byte, b'\r' | b'\n') {
            return Ok(Place::START);
        }
        let at = usize::from(matched);
        if !matches!(INTERIM.get(at), Some(expected) if *expected == b'?' || *expected == byte) {
            return Ok(Place::Final);
        }
        if let Some(digit) = at.checked_sub(INTERIM.len() - status.len()) {
            status[digit] = byte;
        }
        if at + 1 < INTERIM.len() {
            return Ok(Place::Start { matched: matched + 1, status });
        }
        if status == *b"01" {
            return Ok(Place::Switched);
        }
        self.interim += 1;
        if self.interim > MAX_INTERIM { Err(TooMany) } else { Ok(Place::Interim { line_is_empty: false }) }
    }
}

// === impl Place ===

impl Place {
    const START: Self = Self::Start { matched: 0, status: [0; 2] };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\nx: HTTP/1.1 100\r\n\r\n";
    const FINAL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

    /// Reads in pieces of `size` bytes what answers one request.
    fn read(heads: &mut Http1, text: &str, size: usize) -> Result<(), TooMany> {
        heads.wrote();
        text.as_bytes().chunks(size).try_for_each(|piece| heads.read(piece))
    }

    fn hints(times: u16) -> String {
        HINTS.repeat(times.into())
    }

    #[test]
    fn any_split_finds_as_many() {
        for size in [1, 2, 3, 11, 12, 13, 50, 1 << 20] {
            assert!(read(&mut Http1::default(), &(hints(MAX_INTERIM) + FINAL), size).is_ok(), "{size}");
            assert!(read(&mut Http1::default(), &hints(MAX_INTERIM + 1), size).is_err(), "{size}");
        }
    }

    #[test]
    fn line_ends_alone_and_empty_lines_between_hide_none() {
        for text in ["HTTP/1.1 100 Continue\n\n", "\r\n\nHTTP/1.0 102 \r\n\r\n", "HTTP/1.1 199\n\r\n"] {
            let many = text.repeat(usize::from(MAX_INTERIM) + 1);
            assert!(read(&mut Http1::default(), &many, 7).is_err(), "{text:?}");
        }
    }

    #[test]
    fn each_request_has_its_own_count() {
        let mut heads = Http1::default();
        for _ in 0..3 {
            assert!(read(&mut heads, &(hints(MAX_INTERIM) + FINAL), 4096).is_ok());
        }
    }

    #[test]
    fn what_is_written_on_the_way_does_not_begin_the_count_anew() {
        let mut heads = Http1::default();
        let result = (0..=MAX_INTERIM).try_for_each(|_| read(&mut heads, HINTS, 10));
        assert!(result.is_err());
    }

    #[test]
    fn bodies_and_tunnels_are_not_looked_into() {
        let mut heads = Http1::default();
        assert!(read(&mut heads, &(FINAL.to_owned() + &hints(MAX_INTERIM + 1)), 4096).is_ok());
        let mut heads = Http1::default();
        let switched = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
        assert!(read(&mut heads, &(switched.to_owned() + &hints(MAX_INTERIM + 1)), 4096).is_ok());
        assert!(read(&mut heads, &hints(MAX_INTERIM + 1), 4096).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_panics(pieces: Vec<Vec<u8>>) {
            let mut heads = Http1::default();
            for piece in pieces {
                heads.wrote();
                let _ = heads.read(&piece);
            }
        }
    }
}
