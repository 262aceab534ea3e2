//! A bound on what all requests together may hold in memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A shared number of bytes that collected bodies, replay buffers and held answers draw from.
///
/// Cloning shares it. Never waits: where nothing is left the caller refuses or does without.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    limit: usize,
    used: AtomicUsize,
}

/// Bytes drawn from a [`MemoryBudget`]; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    bytes: usize,
}

// === impl MemoryBudget ===

impl MemoryBudget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Counter { limit, used: AtomicUsize::new(0) }))
    }

    /// A reservation of nothing, to be grown as bytes come in.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }

    /// Bytes drawn at present.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// The limit it was made with.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    fn draw(&self, bytes: usize) -> bool {
        let drawn = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.0.limit);
        self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, drawn).is_ok()
    }
}

// === impl Reservation ===

impl Reservation {
    /// Draws more; `false`, and unchanged, where that much is not left.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let drawn = self.budget.draw(bytes);
        if drawn {
            self.bytes += bytes;
        }
        drawn
    }

    /// What it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_comes_back() {
        let budget = MemoryBudget::new(10);
        let mut first = budget.reservation();
        assert!(first.grow(6));
        let mut second = budget.reservation();
        assert!(!second.grow(5));
        assert!(second.grow(4));
        assert!(!second.grow(usize::MAX));
        drop(first);
        assert_eq!(budget.used(), 4);
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
