//! A timer for the hot path: made on the first wait, moved only when it goes off too early.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// As good as never: what an instant that no clock can hold is taken for.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// Wakes its task when an instant has come.
///
/// What it waits for may change with every poll. A later instant costs nothing: the timer goes off
/// early, once, and is set anew then. Boxed, and only when something is really waited for, so that
/// bodies that hold one stay small and `Unpin`.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once `due` has come. Poll it after what it bounds, never before.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>, now: Instant, due: Instant) -> Poll<()> {
        // Asked of the clock and not of the timer: that one waits its turn where the task's budget
        // is used up.
        if now >= due {
            return Poll::Ready(());
        }
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// `now` and a while; never overflows.
pub(crate) fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or_else(|| now + FAR)
}
