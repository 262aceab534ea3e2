//! The write progress clock of one stream of a multiplexed connection.
//!
//! On HTTP/1.1 a client that does not read blocks the socket, and the socket's clock sees it. On
//! HTTP/2 it withholds the window of one stream: the socket stays free, hyper keeps the frame it has
//! and does not poll the body again, and so neither the socket nor the body can tell. What tells is
//! that the transport has taken a frame and has not asked for the next one. So the body of a stream
//! lives in a slot that the connection's clock can look into, and empty.
//!
//! The slot has a lock, which only these streams pay for: a body on HTTP/1.1 has none.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;
use towergate_core::{BoxError, context::Downstream};

use super::{
    connection::Answer,
    io::{NOTHING_TAKEN, later, timed_out},
};

/// The streams of one connection, from the request to the end of its answer's body.
#[derive(Debug, Default)]
pub(super) struct Streams {
    next: u64,
    open: HashMap<u64, Arc<Stream>>,
}

/// One stream, as the clock and the body see it.
#[derive(Debug)]
pub(super) struct Stream {
    downstream: Downstream,
    slot: Mutex<Slot>,
}

#[derive(Debug)]
enum Slot {
    /// No head has come yet.
    Asked,
    Answering {
        body: Answer,
        /// Since when the transport has a frame that the client does not take.
        blocked_since: Option<Instant>,
    },
    Stalled,
}

/// What the clock found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Bodies whose clients did not read. To be dropped where no lock is held: that ends a request.
    pub(super) stalled: Vec<Answer>,
    /// Whether there is a stream whose body is gone, and which the client has not given up.
    pub(super) abandoned: bool,
    /// When the next one would have stalled.
    pub(super) due: Option<Instant>,
}

// === impl Streams ===

impl Streams {
    pub(super) fn open(&mut self, downstream: Downstream) -> (u64, Arc<Stream>) {
        let stream = Arc::new(Stream { downstream, slot: Mutex::new(Slot::Asked) });
        let id = self.next;
        self.next += 1;
        self.open.insert(id, Arc::clone(&stream));
        (id, stream)
    }

    pub(super) fn close(&mut self, id: u64) {
        self.open.remove(&id);
    }

    /// The client reads nothing of the whole connection.
    pub(super) fn set_stalled(&self) {
        for stream in self.open.values() {
            stream.downstream.set_stalled();
        }
    }

    /// Takes the bodies that have been blocked for `limit`.
    pub(super) fn check(&self, now: Instant, limit: Duration) -> Found {
        let mut found = Found::default();
        for stream in self.open.values() {
            // A body that is being polled at this moment is not blocked.
            let Ok(mut slot) = stream.slot.try_lock() else { continue };
            match &*slot {
                Slot::Answering { blocked_since: Some(since), .. } => {
                    let due = later(*since, limit);
                    if due > now {
                        found.due = Some(found.due.map_or(due, |earlier| earlier.min(due)));
                        continue;
                    }
                    stream.downstream.set_stalled();
                    if let Slot::Answering { body, .. } = std::mem::replace(&mut *slot, Slot::Stalled) {
                        found.stalled.push(body);
                    }
                    found.abandoned = true;
                }
                Slot::Stalled => found.abandoned = true,
                Slot::Asked | Slot::Answering { .. } => {}
            }
        }
        found
    }
}

// === impl Stream ===

impl Stream {
    pub(super) fn downstream(&self) -> &Downstream {
        &self.downstream
    }

    pub(super) fn answer(&self, body: Answer) {
        *self.lock() = Slot::Answering { body, blocked_since: None };
    }

    pub(super) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self.lock() {
            Slot::Answering { body, blocked_since } => {
                let polled = Pin::new(body).poll_frame(cx);
                // Until it is polled again, the transport has something that the client can take.
                *blocked_since = matches!(polled, Poll::Ready(Some(Ok(_)))).then(Instant::now);
                polled
            }
            Slot::Stalled => Poll::Ready(Some(Err(timed_out(NOTHING_TAKEN).into()))),
            Slot::Asked => Poll::Ready(None),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &*self.lock() {
            Slot::Answering { body, .. } => body.is_end_stream(),
            Slot::Stalled | Slot::Asked => false,
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match &*self.lock() {
            Slot::Answering { body, .. } => body.size_hint(),
            Slot::Stalled | Slot::Asked => SizeHint::default(),
        }
    }

    /// A body that panicked is not polled again.
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
