//! [`ConnectionState`]: what is known of one connection: whether a request is under way on it, since when not, and
//! whether it was ever let in.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Version;
use tokio::{sync::Notify, time::Instant};
use towergate_core::context::Downstream;

use super::{
    drain::Drain,
    io::{ConnectionClocks, later},
    stream::{Found, Stream, Streams},
};

/// What the clocks of a connection and the service on it tell each other.
#[derive(Debug)]
pub(super) struct ConnectionState {
    downstream: Downstream,
    /// Spares the lock at each read while a request is under way.
    busy: AtomicBool,
    evicted: AtomicBool,
    inner: Mutex<Inner>,
    gone: Notify,
    makes_way: Notify,
}

#[derive(Debug)]
struct Inner {
    /// Requests under way: more than one on HTTP/2 only.
    requests: usize,
    waiting: Waiting,
    /// When the connection was accepted, or its TLS handshake was over.
    opened: Instant,
    multiplexed: bool,
    streams: Streams,
    tunnel: Option<Tunnelled>,
}

/// The connection is a tunnel, and so a request under way for as long as it lives.
#[derive(Debug)]
struct Tunnelled {
    drain: Option<Drain>,
}

/// What a connection waits for from its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    FirstByte(Instant),
    Header(Instant),
    Idle(Instant),
    /// A request is under way: its own clocks hold.
    No,
}

/// A connection that no request would be lost with. Of two the lesser one makes way first: that of a client that was
/// never let in, else the one that has been idle for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Evictable {
    pub(super) admitted: bool,
    /// Since when: the accept, or the end of the last request.
    pub(super) since: Instant,
}

// === impl ConnectionState ===

impl ConnectionState {
    pub(super) fn new(now: Instant) -> Self {
        let inner = Inner {
            requests: 0,
            waiting: Waiting::FirstByte(now),
            opened: now,
            multiplexed: false,
            streams: Streams::default(),
            tunnel: None,
        };
        Self {
            downstream: Downstream::default(),
            busy: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            inner: Mutex::new(inner),
            gone: Notify::new(),
            makes_way: Notify::new(),
        }
    }

    /// What the requests of the connection are told, where it is not multiplexed.
    pub(super) fn downstream(&self) -> &Downstream {
        &self.downstream
    }

    /// The TLS handshake is over: the clocks begin.
    pub(super) fn opens(&self, now: Instant) {
        let mut inner = self.lock();
        inner.waiting = Waiting::FirstByte(now);
        inner.opened = now;
    }

    /// The client reads nothing of the connection: every request on it is told.
    pub(super) fn set_stalled(&self) {
        self.downstream.set_stalled();
        self.lock().streams.set_stalled();
    }

    /// Lets go of the responses on single streams that the client has not read for `limit`; says when
    /// the next would be due. `None` where nothing but such streams is left of the connection.
    pub(super) fn check_streams(&self, now: Instant, limit: Duration) -> Option<Option<Instant>> {
        let inner = self.lock();
        if !inner.multiplexed {
            return Some(None);
        }
        let Found { stalled, abandoned, due } = inner.streams.check(now, limit);
        drop(inner);
        // Ends these requests, which takes the lock.
        drop(stalled);
        let over = abandoned && self.lock().requests == 0;
        (!over).then_some(due)
    }

    /// When the first of the clocks over the client's silence goes off, and what it says then. None runs while a
    /// request is under way.
    pub(super) fn silence(&self, clocks: &ConnectionClocks) -> Option<(Instant, &'static str)> {
        let inner = self.lock();
        let (since, limit, what) = match inner.waiting {
            Waiting::FirstByte(since) => (since, clocks.first_byte, "no request within the first byte clock"),
            Waiting::Header(since) => (since, clocks.header, "no whole request head within the header clock"),
            Waiting::Idle(since) => (since, clocks.idle, "no further request within the idle clock"),
            Waiting::No => return None,
        };
        let silence = (later(since, limit), what);
        if self.downstream.is_admitted() {
            return Some(silence);
        }
        // Neither bytes nor refused requests put it off.
        let authentication = (
            later(inner.opened, clocks.authentication),
            "no request was let in within the authentication clock",
        );
        Some(if authentication.0 < silence.0 { authentication } else { silence })
    }

    /// The shortest of the clocks that may run from now on.
    pub(super) fn shortest(&self, clocks: &ConnectionClocks) -> Duration {
        let shortest = clocks.first_byte.min(clocks.header).min(clocks.idle).min(clocks.write_progress);
        if self.downstream.is_admitted() { shortest } else { shortest.min(clocks.authentication) }
    }

    /// Whether the connection could make way for another one.
    pub(super) fn evictable(&self) -> Option<Evictable> {
        if self.evicted.load(Relaxed) {
            return None;
        }
        let inner = self.lock();
        match (self.downstream.is_admitted(), inner.waiting) {
            (false, Waiting::FirstByte(_) | Waiting::Header(_) | Waiting::Idle(_)) => {
                Some(Evictable { admitted: false, since: inner.opened })
            }
            (true, Waiting::Idle(since)) => Some(Evictable { admitted: true, since }),
            _ => None,
        }
    }

    /// Has the connection make way for another one, if it is still as it was found.
    pub(super) fn evict(&self, found: Evictable) -> bool {
        let evicted = self.evictable() == Some(found) && !self.evicted.swap(true, Relaxed);
        if evicted {
            self.makes_way.notify_one();
        }
        evicted
    }

    /// Resolves once the connection has to make way for another one.
    pub(super) async fn makes_way(&self) {
        self.makes_way.notified().await;
    }

    /// Until when a connection that is to be closed is left open: on HTTP/1.1 a client may be sending
    /// its next request at this moment, not having been told to go. `None`: close it now.
    pub(super) fn lingers_until(&self, now: Instant, linger: Duration) -> Option<Instant> {
        let inner = self.lock();
        match inner.waiting {
            // Its GOAWAY tells the client without losing anything (RFC 9113, section 6.8).
            _ if inner.multiplexed => None,
            Waiting::No => Some(now + linger),
            Waiting::FirstByte(since) | Waiting::Header(since) | Waiting::Idle(since) => {
                Some(since + linger).filter(|until| *until > now)
            }
        }
    }

    /// Bytes came in. On HTTP/2 they may be pings: only a request ends the idle time there.
    pub(super) fn bytes_arrived(&self) {
        if self.busy.load(Relaxed) {
            return;
        }
        let mut inner = self.lock();
        if matches!(inner.waiting, Waiting::FirstByte(_) | Waiting::Idle(_)) && !inner.multiplexed {
            inner.waiting = Waiting::Header(Instant::now());
        }
    }

    pub(super) fn request_begins(&self, version: Version) {
        let mut inner = self.lock();
        inner.requests += 1;
        inner.multiplexed = version >= Version::HTTP_2;
        inner.waiting = Waiting::No;
        self.busy.store(true, Relaxed);
    }

    pub(super) fn request_ends(&self) {
        let mut inner = self.lock();
        inner.requests = inner.requests.saturating_sub(1);
        if inner.requests == 0 {
            inner.waiting = Waiting::Idle(Instant::now());
            self.busy.store(false, Relaxed);
        }
    }

    /// A stream of a multiplexed connection, until it is [closed](Self::close_stream).
    pub(super) fn open_stream(&self) -> (u64, Arc<Stream>) {
        self.lock().streams.open(self.downstream.stream())
    }

    pub(super) fn close_stream(&self, id: u64) {
        self.lock().streams.close(id);
    }

    /// Its client was told that the protocol is another from now on.
    pub(super) fn tunnel_begins(&self, version: Version, drain: Option<&Drain>) {
        self.request_begins(version);
        if let Some(drain) = drain {
            drain.request_begins();
        }
        self.lock().tunnel = Some(Tunnelled { drain: drain.cloned() });
    }

    /// The connection itself was let go.
    pub(super) fn io_dropped(&self) {
        if let Some(Tunnelled { drain: Some(drain) }) = self.lock().tunnel.take() {
            drain.request_ends();
        }
        self.gone.notify_one();
    }

    /// Resolves once the connection was let go, as a tunnel too. For one caller.
    pub(super) async fn gone(&self) {
        self.gone.notified().await;
    }

    /// Nothing in here can be left half done.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
