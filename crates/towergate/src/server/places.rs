//! [`Places`]: how many connections a listener has at a time, and which of them makes way for another one.
//!
//! A client that comes when all places are taken takes that of a connection with which no request is lost: the oldest of
//! those on which no request was ever let in, and where there is none, the one that has been idle for the longest. So
//! whoever holds connections and does nothing keeps nobody out. Where requests are under way on all of them, it waits.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::state::{ConnectionState, Evictable};

/// How many connections one look at all of them finds to make way, at most: so that a crowd of newcomers does not have
/// all looked at for each, and those that are let in have the time to ask for something before it is their turn.
const FOUND_AT_ONCE: usize = 64;
/// How many strangers make way at once, at most, and which part of all connections that may be: to a crowd of them each
/// wait for a place is long.
const STRANGERS_AT_ONCE: usize = 16;
const STRANGERS_PART: usize = 32;
/// After how long it is looked again whether one has become idle.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Connections that made way for others; label `kind`.
const EVICTED: &str = "towergate_connections_evicted_total";

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    connections: HashMap<u64, Arc<ConnectionState>>,
    /// Found to be evictable when last looked for, the first one at the end.
    found: Vec<(Evictable, Arc<ConnectionState>)>,
}

/// The place of one connection; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    state: Arc<ConnectionState>,
}

// === impl Places ===

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        metrics::describe_counter!(EVICTED, "Connections that were closed so that others could be accepted");
        Arc::new(Self { max, taken: Mutex::default(), freed: Notify::new() })
    }

    /// Resolves once there is a place. For one caller, which then [takes](Self::take) it.
    pub(super) async fn free(&self) {
        loop {
            let mut freed = pin!(self.freed.notified());
            // From here on none is missed.
            freed.as_mut().enable();
            if self.lock().connections.len() < self.max {
                return;
            }
            self.make_room();
            tokio::select! {
                () = freed => {}
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Takes a place for a connection that was just accepted.
    pub(super) fn take(self: &Arc<Self>) -> Place {
        let state = Arc::new(ConnectionState::new(Instant::now()));
        let mut taken = self.lock();
        let id = taken.next;
        taken.next += 1;
        taken.connections.insert(id, Arc::clone(&state));
        drop(taken);
        Place { places: Arc::clone(self), id, state }
    }

    /// Of strangers some make way at once: where one newcomer has come, there are more.
    fn make_room(&self) {
        let strangers = (self.max / STRANGERS_PART).clamp(1, STRANGERS_AT_ONCE);
        let _ = (0..strangers).all(|_| self.evict(Duration::ZERO).is_some_and(|found| !found.admitted));
    }

    /// Has one connection make way, if there is one that can and has been so for a time.
    pub(super) fn evict(&self, min_age: Duration) -> Option<Evictable> {
        let now = Instant::now();
        let mut taken = self.lock();
        if taken.found.is_empty() {
            taken.look();
        }
        while let Some((found, state)) = taken.found.pop_if(|(found, _)| now - found.since >= min_age) {
            if state.evict(found) {
                let kind = if found.admitted { "idle" } else { "unauthenticated" };
                metrics::counter!(EVICTED, "kind" => kind).increment(1);
                tracing::debug!(kind, "a connection makes way for another one");
                return Some(found);
            }
        }
        None
    }

    /// Nothing in here can be left half done.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Taken ===

impl Taken {
    fn look(&mut self) {
        let evictable = |state: &Arc<ConnectionState>| Some((state.evictable()?, Arc::clone(state)));
        self.found = self.connections.values().filter_map(evictable).collect();
        // While there are strangers, nobody else.
        if self.found.iter().any(|(found, _)| !found.admitted) {
            self.found.retain(|(found, _)| !found.admitted);
        }
        self.found.sort_unstable_by_key(|(found, _)| *found);
        self.found.truncate(FOUND_AT_ONCE);
        self.found.reverse();
    }
}

// === impl Place ===

impl Place {
    pub(super) fn state(&self) -> &Arc<ConnectionState> {
        &self.state
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().connections.remove(&self.id);
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;

    /// Whether it has to make way.
    async fn makes_way(place: &Place) -> bool {
        tokio::time::timeout(Duration::ZERO, place.state.makes_way()).await.is_ok()
    }

    /// Places that are all taken, each a second after the one before.
    async fn all_taken(count: usize) -> (Arc<Places>, Vec<Place>) {
        let places = Places::new(count);
        let mut taken = Vec::new();
        for _ in 0..count {
            places.free().await;
            taken.push(places.take());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        (places, taken)
    }

    fn begins(place: &Place) {
        place.state.downstream().set_admitted();
        place.state.request_begins(Version::HTTP_11);
    }

    fn serves(place: &Place) {
        begins(place);
        place.state.request_ends();
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_stranger_makes_way_first() {
        let (places, taken) = all_taken(4).await;
        serves(&taken[0]);
        begins(&taken[1]);
        // It is a stranger's, and something came just now.
        taken[2].state.bytes_arrived();
        places.evict(Duration::ZERO);
        assert!(makes_way(&taken[2]).await);
        places.evict(Duration::ZERO);
        assert!(makes_way(&taken[3]).await);
        for place in &taken[..2] {
            assert!(!makes_way(place).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn then_the_one_that_is_idle_for_the_longest_and_never_one_in_use() {
        let (places, taken) = all_taken(4).await;
        begins(&taken[0]);
        for at in [3, 1, 2] {
            serves(&taken[at]);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // In use again.
        taken[1].state.bytes_arrived();
        for at in [3, 2] {
            places.evict(Duration::ZERO);
            assert!(makes_way(&taken[at]).await, "{at}");
        }
        places.evict(Duration::ZERO);
        for place in &taken[..2] {
            assert!(!makes_way(place).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_waits_for_a_place_that_is_free_and_takes_one_only() {
        let (places, mut taken) = all_taken(3).await;
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.free().await }
        });
        tokio::task::yield_now().await;
        assert!(makes_way(&taken[0]).await && !waiting.is_finished());
        drop(taken.remove(0));
        waiting.await.unwrap();
        for place in &taken {
            assert!(!makes_way(place).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_waits_while_all_are_in_use() {
        let (places, taken) = all_taken(2).await;
        taken.iter().for_each(begins);
        assert!(tokio::time::timeout(Duration::from_secs(60), places.free()).await.is_err());
        taken[1].state.request_ends();
        assert!(tokio::time::timeout(Duration::from_secs(1), places.free()).await.is_err());
        assert!(makes_way(&taken[1]).await, "it became idle");
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_may_be_given_some_time() {
        let (places, taken) = all_taken(2).await;
        places.evict(Duration::from_secs(3));
        assert!(!makes_way(&taken[0]).await);
        tokio::time::advance(Duration::from_secs(1)).await;
        places.evict(Duration::from_secs(3));
        assert!(makes_way(&taken[0]).await && !makes_way(&taken[1]).await);
    }

    #[tokio::test(start_paused = true)]
    async fn many_newcomers_leave_each_other_some_time() {
        let (places, taken) = all_taken(2 * FOUND_AT_ONCE).await;
        taken.iter().for_each(serves);
        places.evict(Duration::ZERO);
        // A stranger has come in: of those found before, one makes way before it does.
        let stranger = places.take();
        places.evict(Duration::ZERO);
        assert!(!makes_way(&stranger).await);
    }
}
