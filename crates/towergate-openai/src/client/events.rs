//! Server-sent events, as the client needs them: data, and whether the event is named `error`.
//!
//! Follows the event stream format of the HTML standard: lines end with LF, CR or CRLF, several
//! `data` lines are one event, comments and unknown fields are nothing. Body frames may split it
//! anywhere. Unlike the standard it keeps an event that lacks its blank line at the end of the
//! stream: whether that event is whole is for its JSON to say.

use bytes::{Buf as _, Bytes};

/// Splits bytes into events. Push a frame, take events until there is none, push the next.
#[derive(Debug)]
pub(super) struct Events {
    input: Bytes,
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    is_error: bool,
    after_cr: bool,
    at_start: bool,
    limit: usize,
}

/// One event that has data.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// The data, without the line end that closes it.
    pub(super) data: Vec<u8>,
    /// Whether its name is `error`.
    pub(super) is_error: bool,
}

/// One event is larger than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventTooLarge;

// === impl Events ===

impl Events {
    /// `limit` bounds one event, and one line, in bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            input: Bytes::new(),
            line: Vec::new(),
            data: None,
            is_error: false,
            after_cr: false,
            at_start: true,
            limit,
        }
    }

    /// The next frame; what was left of the one before must have been taken.
    pub(super) fn push(&mut self, frame: Bytes) {
        debug_assert!(self.input.is_empty(), "events are taken before more is pushed");
        self.input = frame;
    }

    /// The next event in what was pushed.
    pub(super) fn next(&mut self) -> Result<Option<Event>, EventTooLarge> {
        while !self.input.is_empty() {
            if std::mem::take(&mut self.after_cr) && self.input[0] == b'\n' {
                self.input.advance(1);
                continue;
            }
            let end = memchr::memchr2(b'\n', b'\r', &self.input);
            let piece = self.input.split_to(end.unwrap_or(self.input.len()));
            let held = self.line.len() + self.data.as_ref().map_or(0, Vec::len);
            if held + piece.len() > self.limit {
                return Err(EventTooLarge);
            }
            if end.is_none() {
                self.line.extend_from_slice(&piece);
                break;
            }
            self.after_cr = self.input[0] == b'\r';
            self.input.advance(1);
            let event = if self.line.is_empty() {
                self.read_line(&piece)
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&piece);
                self.read_line(&line)
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// The event that the stream ended in, if it has data.
    pub(super) fn finish(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            let _ = self.read_line(&line);
        }
        self.dispatch()
    }

    fn read_line(&mut self, line: &[u8]) -> Option<Event> {
        let line = match std::mem::take(&mut self.at_start) {
            true => line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line),
            false => line,
        };
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => match &mut self.data {
                None => self.data = Some(value.to_vec()),
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            b"event" => self.is_error = value == b"error",
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        let is_error = std::mem::take(&mut self.is_error);
        let data = self.data.take()?;
        Some(Event { data, is_error })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(frames: &[&[u8]], limit: usize) -> Result<Vec<String>, EventTooLarge> {
        let mut events = Events::new(limit);
        let mut all = Vec::new();
        for frame in frames {
            events.push(Bytes::copy_from_slice(frame));
            while let Some(event) = events.next()? {
                all.push(String::from_utf8(event.data).unwrap());
            }
        }
        all.extend(events.finish().map(|event| String::from_utf8(event.data).unwrap()));
        Ok(all)
    }

    const STREAM: &str = "\u{feff}data: a\n\n: note\r\n\r\ndata:b\rdata: ü\r\revent: x\n\nid: 1\ndata\n\n\
        data:  c\r\ndata: d\r\n\r\nretry: 5\n\ndata: [DONE]\n\n";

    #[test]
    fn lines_become_events() {
        assert_eq!(read(&[STREAM.as_bytes()], 64).unwrap(), ["a", "b\nü", "", " c\nd", "[DONE]"]);
    }

    #[test]
    fn an_error_is_known_by_its_name() {
        let mut events = Events::new(64);
        events.push(Bytes::from("event: error\ndata: {}\n\ndata: 1\n\n"));
        assert!(events.next().unwrap().unwrap().is_error);
        assert!(!events.next().unwrap().unwrap().is_error);
        assert_eq!(events.next(), Ok(None));
    }

    #[test]
    fn the_last_event_may_lack_its_end() {
        for tail in ["data: z", "data: z\n", "data: z\r"] {
            assert_eq!(read(&[tail.as_bytes()], 64).unwrap(), ["z"]);
        }
        assert!(read(&[b"event: x\n: note"], 64).unwrap().is_empty());
    }

    #[test]
    fn an_event_is_bounded_whatever_it_consists_of() {
        let endless = [&b"data: aaaaaaaaaaaaaaaaaaaa"[..]; 4];
        let lines = [&b"data: aaaaaaaaaaaaaaaaaaaa\n"[..]; 4];
        let comment = [&b": aaaaaaaaaaaaaaaaaaaaaaaa"[..]; 4];
        for frames in [endless, lines, comment] {
            assert_eq!(read(&frames, 64), Err(EventTooLarge));
        }
        let many = [&b"data: aaaaaaaaaaaaaaaaaaaa\n\n"[..]; 40];
        assert_eq!(read(&many, 64).unwrap().len(), 40);
    }

    proptest! {
        #[test]
        fn it_may_be_split_anywhere(cuts in prop::collection::vec(0..STREAM.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let frames: Vec<&[u8]> = cuts.windows(2).map(|cut| &STREAM.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read(&frames, 64).unwrap(), read(&[STREAM.as_bytes()], 64).unwrap());
        }
    }
}
