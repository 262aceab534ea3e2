//! The three states of a server that shuts down, seen by everybody who must know.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::watch;

use crate::tunnel::{CloseTunnels, Closing};

/// Where a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// `/readyz` says no; new connections are still accepted, so that nothing is lost while load
    /// balancers notice.
    Draining,
    /// Nothing new: idle connections close, what is under way ends.
    Closing,
}

/// Sees how far the shutdown has come, and counts the requests that it has to wait for. Cloned for
/// each request, so it is one pointer.
#[derive(Debug, Clone)]
pub(super) struct Drain(Arc<Seen>);

#[derive(Debug)]
struct Seen {
    stage: watch::Receiver<Stage>,
    tunnels: Closing,
    under_way: AtomicUsize,
}

/// Moves the shutdown on.
#[derive(Debug)]
pub(super) struct DrainControl {
    stage: watch::Sender<Stage>,
    tunnels: CloseTunnels,
}

// === impl DrainControl ===

impl DrainControl {
    pub(super) fn new() -> (Self, Drain) {
        let (sender, receiver) = watch::channel(Stage::Serving);
        let tunnels = CloseTunnels::new();
        let seen = Seen { stage: receiver, tunnels: tunnels.closing(), under_way: AtomicUsize::new(0) };
        (Self { stage: sender, tunnels }, Drain(Arc::new(seen)))
    }

    pub(super) fn drain(&self) {
        self.stage.send_replace(Stage::Draining);
    }

    pub(super) fn close(&self) {
        self.stage.send_replace(Stage::Closing);
        self.tunnels.close();
    }
}

// === impl Drain ===

impl Drain {
    pub(super) fn is_draining(&self) -> bool {
        *self.0.stage.borrow() >= Stage::Draining
    }

    /// Whether nothing new is accepted any more.
    pub(super) fn is_closing(&self) -> bool {
        *self.0.stage.borrow() >= Stage::Closing
    }

    /// Resolves once nothing new is accepted any more; at once where the server is gone.
    pub(super) async fn closing(&self) {
        let mut stage = self.0.stage.clone();
        let _ = stage.wait_for(|stage| *stage >= Stage::Closing).await;
    }

    /// What tunnels hear of the shutdown: with the idle connections they are closed.
    pub(super) fn tunnels(&self) -> &Closing {
        &self.0.tunnels
    }

    pub(super) fn request_begins(&self) {
        self.0.under_way.fetch_add(1, Relaxed);
    }

    pub(super) fn request_ends(&self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }

    /// Requests whose head was read and whose answer has not ended.
    pub(super) fn requests_under_way(&self) -> usize {
        self.0.under_way.load(Relaxed)
    }
}
