//! A bound on what all requests together may hold in memory, and on what one client may hold of that.
//!
//! Collected bodies, replay buffers and held answers draw from a [`MemoryBudget`] as their bytes arrive, and give back when
//! they are dropped, wherever that happens. A budget with a [share](MemoryBudget::per_client) bounds each client, too, so that
//! one of them leaves room for the others. Who the client is says the request: the layer that lets it in puts its
//! [`ClientMemory`] into the [`RequestRecord`](crate::context::RequestRecord). There is one counter for each client that can
//! come in, kept by that layer, and no table of clients here; drawing takes two atomic additions and no lock.
//!
//! A request whose client is not told apart from others is bounded by the budget alone.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{Error, ErrorKind};

/// When to come again where there is no room: bodies under way are read, or given up, within seconds.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// A shared number of bytes that collected bodies, replay buffers and held answers draw from.
///
/// Cloning shares it. Never waits: where nothing is left the caller refuses or does without.
///
/// ```
/// use towergate_core::memory::{ClientMemory, Exhausted, MemoryBudget};
///
/// let budget = MemoryBudget::new(100).per_client(40);
/// let alice = ClientMemory::default();
/// let mut first = budget.reservation_of(Some(&alice));
/// assert_eq!(first.grow(30), Ok(()));
/// // Another request of hers.
/// let mut second = budget.reservation_of(Some(&alice));
/// assert_eq!(second.grow(30), Err(Exhausted::Client { limit: 40 }));
/// drop(first);
/// assert_eq!(second.grow(30), Ok(()));
/// ```
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    limit: AtomicUsize,
    client_limit: AtomicUsize,
    used: AtomicUsize,
}

/// What the requests of one client hold together. Cloning shares it: make one for each client, and keep it.
#[derive(Debug, Clone, Default)]
pub struct ClientMemory(Arc<AtomicUsize>);

/// Bytes drawn from a [`MemoryBudget`]; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    client: Option<ClientMemory>,
    bytes: usize,
}

/// Why there is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// All requests together hold what they may.
    Budget {
        /// In bytes.
        limit: usize,
    },
    /// The requests of this client hold what they may.
    Client {
        /// In bytes.
        limit: usize,
    },
}

/// Bytes that keep their reservation for as long as anybody has a slice of them.
struct Held<B> {
    bytes: B,
    _reservation: Reservation,
}

// === impl MemoryBudget ===

impl MemoryBudget {
    /// The setting of [`limit`](Self::limit).
    pub const SETTING: &str = "limits.memory";
    /// The setting of [`client_limit`](Self::client_limit).
    pub const CLIENT_SETTING: &str = "limits.memory_per_client";

    /// A budget of `limit` bytes, of which one client may hold all.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let [limit, client_limit] = [limit, usize::MAX].map(AtomicUsize::new);
        Self(Arc::new(Pool { limit, client_limit, used: AtomicUsize::new(0) }))
    }

    /// Bounds what the requests of one client may hold of it together.
    #[must_use]
    pub fn per_client(self, bytes: usize) -> Self {
        self.0.client_limit.store(bytes, Relaxed);
        self
    }

    /// A reservation of nothing, to be grown as bytes come in.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        self.reservation_of(None)
    }

    /// The same for a request of a client, if it is known.
    #[must_use]
    pub fn reservation_of(&self, client: Option<&ClientMemory>) -> Reservation {
        Reservation { budget: self.clone(), client: client.cloned(), bytes: 0 }
    }

    /// Bytes drawn at present.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Relaxed)
    }

    /// How many may be drawn in all.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit.load(Relaxed)
    }

    /// How many the requests of one client may draw together.
    #[must_use]
    pub fn client_limit(&self) -> usize {
        self.0.client_limit.load(Relaxed).min(self.limit())
    }

    /// Takes over the limits of another budget. What is drawn stays drawn, even where that is more than they allow.
    pub fn take_limits_of(&self, other: &Self) {
        self.0.limit.store(other.0.limit.load(Relaxed), Relaxed);
        self.0.client_limit.store(other.0.client_limit.load(Relaxed), Relaxed);
    }
}

// === impl ClientMemory ===

impl ClientMemory {
    /// Bytes that the client's requests hold at present.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.load(Relaxed)
    }
}

// === impl Reservation ===

impl Reservation {
    /// Draws more.
    ///
    /// # Errors
    ///
    /// That much is not left; nothing is drawn then.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if let Some(ClientMemory(used)) = &self.client {
            let limit = self.budget.client_limit();
            if !draw(used, bytes, limit) {
                return Err(Exhausted::Client { limit });
            }
        }
        let limit = self.budget.limit();
        if !draw(&self.budget.0.used, bytes, limit) {
            self.give_back_to_client(bytes);
            return Err(Exhausted::Budget { limit });
        }
        self.bytes += bytes;
        Ok(())
    }

    fn give_back_to_client(&self, bytes: usize) {
        if let Some(ClientMemory(used)) = &self.client {
            used.fetch_sub(bytes, Relaxed);
        }
    }

    /// What it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The most that it can hold at any time: what `grow` refuses with, where it does beyond that.
    #[must_use]
    pub fn most(&self) -> Exhausted {
        let (limit, client_limit) = (self.budget.limit(), self.budget.client_limit());
        if self.client.is_some() && client_limit < limit {
            Exhausted::Client { limit: client_limit }
        } else {
            Exhausted::Budget { limit }
        }
    }

    /// Keeps it until the last slice of these bytes is gone.
    #[must_use]
    pub fn hold(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Held { bytes, _reservation: self })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Relaxed);
        self.give_back_to_client(self.bytes);
    }
}

fn draw(used: &AtomicUsize, bytes: usize, limit: usize) -> bool {
    let drawn = |used: usize| used.checked_add(bytes).filter(|used| *used <= limit);
    used.fetch_update(Relaxed, Relaxed, drawn).is_ok()
}

// === impl Held ===

impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

// === impl Exhausted ===

impl Exhausted {
    /// How many bytes are allowed.
    #[must_use]
    pub fn limit(self) -> usize {
        match self {
            Self::Budget { limit } | Self::Client { limit } => limit,
        }
    }

    /// The setting that allows more.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Self::Budget { .. } => MemoryBudget::SETTING,
            Self::Client { .. } => MemoryBudget::CLIENT_SETTING,
        }
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget { limit } => {
                write!(
                    f,
                    "the requests under way fill the {limit} bytes of memory set aside for their bodies"
                )
            }
            Self::Client { limit } => {
                write!(
                    f,
                    "this client's requests under way fill its share of {limit} bytes of the memory for bodies"
                )
            }
        }
    }
}

impl std::error::Error for Exhausted {}

/// What the client is told: to come again, when its own requests or those of others are over.
impl From<Exhausted> for Error {
    fn from(exhausted: Exhausted) -> Self {
        let kind = match exhausted {
            Exhausted::Budget { .. } => ErrorKind::Overloaded,
            Exhausted::Client { .. } => ErrorKind::TooManyRequests,
        };
        Self::new(kind, exhausted.to_string()).with_setting(exhausted.setting()).with_retry_after(COME_AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_drawn_comes_back() {
        let budget = MemoryBudget::new(10);
        let mut first = budget.reservation();
        first.grow(6).unwrap();
        let mut second = budget.reservation();
        assert_eq!(second.grow(5), Err(Exhausted::Budget { limit: 10 }));
        second.grow(4).unwrap();
        second.grow(usize::MAX).unwrap_err();
        drop(first);
        assert_eq!(budget.used(), 4);
        let held = second.hold(vec![1, 2, 3, 4]);
        let slice = held.slice(1..2);
        drop(held);
        assert_eq!((budget.used(), &slice[..]), (4, &[2][..]));
        drop(slice);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_client_leaves_room_for_the_others() {
        let budget = MemoryBudget::new(10).per_client(6);
        let [alice, bob] = [ClientMemory::default(), ClientMemory::default()];
        let mut first = budget.reservation_of(Some(&alice));
        first.grow(4).unwrap();
        let mut second = budget.reservation_of(Some(&alice));
        assert_eq!(second.grow(3), Err(Exhausted::Client { limit: 6 }));
        second.grow(2).unwrap();
        let mut bobs = budget.reservation_of(Some(&bob));
        bobs.grow(4).unwrap();
        // What the budget has no room for is not held against the client.
        assert_eq!(bobs.grow(1), Err(Exhausted::Budget { limit: 10 }));
        assert_eq!((alice.used(), bob.used(), budget.used()), (6, 4, 10));
        drop((first, second));
        assert_eq!((alice.used(), budget.used()), (0, 4));
        // A request whose client nobody knows is bounded by the budget alone.
        budget.reservation().grow(6).unwrap();
    }

    #[test]
    fn limits_change_under_what_is_drawn() {
        let budget = MemoryBudget::new(10);
        let mut held = budget.reservation_of(Some(&ClientMemory::default()));
        assert_eq!((budget.client_limit(), held.most()), (10, Exhausted::Budget { limit: 10 }));
        held.grow(8).unwrap();
        budget.take_limits_of(&MemoryBudget::new(5).per_client(20));
        assert_eq!((budget.client_limit(), held.most()), (5, Exhausted::Budget { limit: 5 }));
        assert_eq!(held.grow(1), Err(Exhausted::Client { limit: 5 }));
        budget.take_limits_of(&MemoryBudget::new(5).per_client(2));
        assert_eq!(held.most(), Exhausted::Client { limit: 2 });
        drop(held);
        assert_eq!(budget.used(), 0);
        let mut held = budget.reservation();
        assert_eq!(held.most(), Exhausted::Budget { limit: 5 });
        held.grow(5).unwrap();
        assert_eq!(held.grow(1), Err(Exhausted::Budget { limit: 5 }));
        drop(held);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn the_error_names_the_setting_and_when_to_come_again() {
        for (exhausted, kind, status, setting) in [
            (Exhausted::Budget { limit: 7 }, ErrorKind::Overloaded, 503, "limits.memory"),
            (Exhausted::Client { limit: 7 }, ErrorKind::TooManyRequests, 429, "limits.memory_per_client"),
        ] {
            let error = Error::from(exhausted);
            assert_eq!((error.kind(), error.kind().status().as_u16()), (kind, status));
            assert_eq!((error.setting(), error.retry_after()), (Some(setting), Some(COME_AGAIN)));
            assert!(error.to_string().contains("7 bytes"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_order_of_growing_and_dropping_leaves_anything(
            steps in prop::collection::vec((0_usize..3, 0_usize..40, any::<bool>()), 0..60),
        ) {
            let budget = MemoryBudget::new(100).per_client(50);
            let clients = [ClientMemory::default(), ClientMemory::default()];
            let mut held: [Vec<Reservation>; 3] = Default::default();
            for (client, bytes, drops) in steps {
                if drops {
                    held[client].pop();
                } else {
                    let mut reservation = budget.reservation_of(clients.get(client));
                    let _ = reservation.grow(bytes);
                    held[client].push(reservation);
                }
                let sums = held.each_ref().map(|held| held.iter().map(Reservation::bytes).sum::<usize>());
                prop_assert_eq!(budget.used(), sums.iter().sum::<usize>());
                prop_assert!(budget.used() <= 100);
                for (client, sum) in clients.iter().zip(sums) {
                    prop_assert_eq!(client.used(), sum);
                    prop_assert!(sum <= 50);
                }
            }
            drop(held);
            prop_assert_eq!((budget.used(), clients[0].used(), clients[1].used()), (0, 0, 0));
        }
    }
}
