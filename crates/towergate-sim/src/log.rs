//! What the simulated OpenAI saw: requests, how each of them ended, and connections.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, Version};
use tokio::{sync::watch, time::Instant};
use towergate_core::body::{End, Guard, Observe};

use crate::io::Connection;

/// How many requests, and how many events, are remembered; the oldest are forgotten first.
const REMEMBERED: usize = 4096;
/// How many bytes of request bodies are remembered.
const REMEMBERED_BYTES: usize = 256 << 20;

/// One request, as it was received.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Received {
    /// Its number, counted from 1 in the order of arrival.
    pub number: u64,
    /// The connection it came on; `None` in process.
    pub connection: Option<u64>,
    /// The method.
    pub method: Method,
    /// The target, as it came.
    pub uri: Uri,
    /// The protocol version.
    pub version: Version,
    /// The header, in its order.
    pub headers: HeaderMap,
    /// The body, or its first 64 MiB (8 MiB where it is not JSON).
    pub body: Bytes,
    /// How many bytes of body were read.
    pub body_len: u64,
    /// Whether the body was read to its end.
    pub body_complete: bool,
    /// When its body had been read, on tokio's clock.
    pub at: Instant,
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The head of this request arrived.
    Arrived(u64),
    /// Its body was read, as far as it is read at all.
    Received(u64),
    /// Its upload broke off.
    UploadFailed(u64),
    /// The head of its answer was handed out.
    Answered(u64),
    /// The whole answer was handed out.
    Completed(u64),
    /// A fault broke the answer off.
    Broken(u64),
    /// The peer went away before the head of the answer.
    DroppedBeforeHead(u64),
    /// The peer went away in the body of the answer.
    DroppedInBody(u64),
    /// The peer closed the WebSocket that this request had opened.
    WebSocketClosed {
        /// The request.
        request: u64,
        /// The code in its close frame (RFC 6455, section 7.4); 1005 where there was none.
        code: u16,
    },
    /// A connection was accepted.
    Opened(u64),
    /// A connection is over.
    Closed(u64),
}

/// How often each thing happened. Nothing is ever forgotten here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Requests whose head arrived.
    pub arrived: u64,
    /// Requests whose body was read, as far as it is read at all.
    pub received: u64,
    /// Requests whose upload broke off.
    pub uploads_failed: u64,
    /// Answers whose head was handed out.
    pub answered: u64,
    /// Answers that were handed out whole.
    pub completed: u64,
    /// Answers that a fault broke off.
    pub broken: u64,
    /// Requests whose peer went away before the head of the answer.
    pub dropped_before_head: u64,
    /// Requests whose peer went away in the body of the answer.
    pub dropped_in_body: u64,
    /// WebSockets that the peer closed with a close frame.
    pub websockets_closed: u64,
    /// Connections accepted.
    pub opened: u64,
    /// Connections that are over.
    pub closed: u64,
}

/// What happened so far.
#[derive(Debug, Default)]
pub struct Log {
    counts: Counts,
    requests: VecDeque<Received>,
    remembered_bytes: usize,
    events: VecDeque<Event>,
}

/// The log as everybody who writes to it or waits for it has it.
pub(crate) type SharedLog = Arc<watch::Sender<Log>>;

/// Follows one request from its arrival to the end of its answer.
#[derive(Debug)]
pub(crate) struct Follow {
    log: SharedLog,
    number: u64,
    answered: bool,
    /// To be closed once the answer is out.
    close: Option<Connection>,
}

// === impl Counts ===

impl Counts {
    /// Requests under way: arrived, and neither answered whole, broken nor dropped.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let over = self.completed + self.broken + self.dropped_before_head + self.dropped_in_body;
        self.arrived.saturating_sub(over)
    }

    /// Connections that are open.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    /// Requests whose peer went away, before the head or in the body.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_before_head + self.dropped_in_body
    }
}

// === impl Log ===

impl Log {
    /// How often each thing happened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The last 4096 requests whose bodies were read (fewer where their bodies are over 256 MiB
    /// together), the oldest first.
    #[must_use]
    pub fn requests(&self) -> &VecDeque<Received> {
        &self.requests
    }

    /// The last 4096 events, the oldest first.
    #[must_use]
    pub fn events(&self) -> &VecDeque<Event> {
        &self.events
    }

    pub(crate) fn add(&mut self, event: Event) {
        let counts = &mut self.counts;
        let count = match event {
            Event::Arrived(_) => &mut counts.arrived,
            Event::Received(_) => &mut counts.received,
            Event::UploadFailed(_) => &mut counts.uploads_failed,
            Event::Answered(_) => &mut counts.answered,
            Event::Completed(_) => &mut counts.completed,
            Event::Broken(_) => &mut counts.broken,
            Event::DroppedBeforeHead(_) => &mut counts.dropped_before_head,
            Event::DroppedInBody(_) => &mut counts.dropped_in_body,
            Event::WebSocketClosed { .. } => &mut counts.websockets_closed,
            Event::Opened(_) => &mut counts.opened,
            Event::Closed(_) => &mut counts.closed,
        };
        *count += 1;
        if self.events.len() == REMEMBERED {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    pub(crate) fn receive(&mut self, request: Received) {
        let number = request.number;
        self.remembered_bytes += request.body.len();
        self.requests.push_back(request);
        while self.requests.len() > REMEMBERED
            || (self.remembered_bytes > REMEMBERED_BYTES && self.requests.len() > 1)
        {
            if let Some(forgotten) = self.requests.pop_front() {
                self.remembered_bytes -= forgotten.body.len();
            }
        }
        self.add(Event::Received(number));
    }

    pub(crate) fn clear(&mut self) {
        self.requests.clear();
        self.remembered_bytes = 0;
        self.events.clear();
    }
}

// === impl Follow ===

impl Follow {
    /// A request arrived: gives it its number.
    pub(crate) fn arrived(log: &SharedLog) -> (u64, Guard<Self>) {
        let mut number = 0;
        log.send_modify(|log| {
            number = log.counts.arrived + 1;
            log.add(Event::Arrived(number));
        });
        (number, Guard::new(Self { log: Arc::clone(log), number, answered: false, close: None }))
    }

    /// The head goes out.
    pub(crate) fn answered(&mut self, close: Option<Connection>) {
        self.answered = true;
        self.close = close;
        self.log.send_modify(|log| log.add(Event::Answered(self.number)));
    }
}

impl Observe for Follow {
    fn on_end(self, end: End<'_>) {
        let event = match end {
            End::Complete => Event::Completed,
            End::Error(_) => Event::Broken,
            End::Dropped if self.answered => Event::DroppedInBody,
            End::Dropped => Event::DroppedBeforeHead,
        };
        self.log.send_modify(|log| log.add(event(self.number)));
        if let Some(connection) = self.close {
            connection.close_when_flushed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_the_counts_are_not() {
        let mut log = Log::default();
        for number in 0..5000 {
            log.add(Event::Arrived(number));
        }
        assert_eq!(log.events.len(), REMEMBERED);
        assert_eq!(log.counts().arrived, 5000);
        assert_eq!(log.counts().in_flight(), 5000);
    }
}
