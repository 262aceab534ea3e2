//! [`Gate`]: a point at which a scripted answer waits until the test lets it go on.

use tokio::sync::watch;

/// A door that is closed at first and stays open once opened. Cloning shares it.
///
/// With it a test holds an answer at an exact point and knows when that point is reached, so that
/// nothing has to sleep.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let gate = towergate_sim::Gate::new();
/// let (_, ()) = tokio::join!(gate.wait(), async {
///     gate.reached().await; // somebody stands before it
///     gate.open();
/// });
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    open: bool,
    reached: bool,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.send_modify(|state| state.open = true);
    }

    /// Waits until the gate is open.
    pub async fn wait(&self) {
        self.0.send_modify(|state| state.reached = true);
        // The sender lives in `self`: the wait can't fail.
        let _ = self.0.subscribe().wait_for(|state| state.open).await;
    }

    /// Waits until somebody stands before the gate, or has passed it.
    pub async fn reached(&self) {
        let _ = self.0.subscribe().wait_for(|state| state.reached).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
