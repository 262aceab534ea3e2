//! What is under way, and whether more may begin.

use std::sync::Arc;

use tokio::sync::watch;

use super::ClientError;

/// Shared by all clones of a client.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<watch::Sender<State>>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    closed: bool,
    under_way: usize,
}

/// One call that is under way; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Ticket(Gate);

// === impl Gate ===

impl Gate {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    /// A call begins, unless the gate is closed.
    pub(super) fn enter(&self) -> Result<Ticket, ClientError> {
        let entered = self.0.send_if_modified(|state| {
            state.under_way += usize::from(!state.closed);
            !state.closed
        });
        if entered { Ok(Ticket(self.clone())) } else { Err(ClientError::Closed) }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// Nothing begins from now on.
    pub(super) fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
    }

    /// Resolves when nothing is under way.
    pub(super) async fn idle(self) {
        // An error would mean that the sender is gone; it is here.
        let _ = self.0.subscribe().wait_for(|state| state.under_way == 0).await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.under_way -= 1);
    }
}
