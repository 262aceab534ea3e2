//! The newtypes that travel in extensions, and which of them a retry carries over.
//!
//! | extension | on | written by | read by |
//! |---|---|---|---|
//! | [`RequestId`] | request | request-id layer, typed client | trace, router, retry |
//! | [`Arc<RequestRecord>`](RequestRecord) | request | whichever layer asks first | trace, metrics, respond, router |
//! | [`Arc<Facts>`](Facts) | request | intake; router, where the provider knows the model by another name | router, retry, key ring, trace, metrics, commit, timeout, leaf |
//! | [`Deadline`] | request | total timeout | retry, attempt timeout, trace, metrics |
//! | [`Patience`] | request | total timeout | retry, trace, metrics |
//! | [`Attempt`] | request | retry | trace |
//! | [`MaxAttempts`] | request | router | retry |
//! | [`Standby`] | request | router | retry |
//! | [`LastResort`] | request | router | breaker |
//! | [`AttemptClocks`] | request | router | attempt timeout |
//! | [`ClientName`] | request | client auth | intake, which puts it into the record |
//! | [`Arc<ClientAccess>`](crate::access::ClientAccess) | request | client auth, where it is not everything | intake, router |
//! | [`Downstream`] | request | the server's guarded IO; client auth | trace, metrics, intake, the server |
//! | [`Upgrade`] | request | the tunnel's edge | intake, leaf |
//! | [`CallerCredential`] | request, response | auth, in pass-through mode | leaf, key ring, retry, router, respond |
//! | [`Credential`](crate::credentials::Credential) | response | auth, on 400 and above | key ring, which removes it |
//! | [`Withheld`] | response | auth | respond |
//! | [`Answered`] | response | leaf, else router | commit, respond |
//! | [`Served`] | response | router | respond |
//! | [`Class`](crate::Class) | response | commit | key ring, breaker, retry, router, respond |
//! | [`RetryAfter`](crate::classify::RetryAfter) | response | commit | key ring, retry, router, respond |
//! | [`Arc<StreamState>`](crate::StreamState) | response | leaf | commit, timeout, trace, metrics, respond |
//! | [`OtherCredential`] | response | key ring | retry |
//! | [`Credential`](crate::credentials::Credential) | request | key ring, where there are several keys | auth |
//! | [`GaveUp`] | response | retry | respond |
//! | [`Failed`] | response | respond, catch-panic | metrics, trace |

use std::{
    num::NonZeroU32,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{Extensions, HeaderValue};

use crate::{
    ErrorKind, Facts, Outcome, Route,
    label::Label,
    memory::{ClientMemory, MemoryBudget, Reservation},
    tunnel::Upgrade,
};

/// The id of a request, valid as a header.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(HeaderValue);

/// The instant by which the whole request must be over, on `std`'s clock: core has no tokio. Made
/// from, and turned back into, `tokio::time::Instant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

/// The instant after which the client no longer waits for the head of our answer; it says nothing
/// of a stream that flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Patience(pub Instant);

/// Which attempt this is, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub NonZeroU32);

/// How many attempts this call may take at most, where that is fewer than the retry layer's own
/// limit: what is left of the attempts of the whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaxAttempts(pub NonZeroU32);

/// Another provider stands ready to take over: what would have to be waited for (a clock that ran
/// out, a wait that the upstream asked for) is handed back instead of repeated here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standby;

/// Nobody else is left for this call: it is made even where the provider is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastResort;

/// The clocks of an attempt that stand in place of the provider's own: those of the model, or a shorter
/// one while another provider stands ready. What is not set stays the provider's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttemptClocks {
    /// How long the head may take.
    pub head: Option<Duration>,
    /// How long the first event of a stream may take after the head.
    pub first_event: Option<Duration>,
    /// The longest gap between two events.
    pub idle: Option<Duration>,
}

/// The credential that this answer refused is set aside, and the provider has another one: the same
/// request may be repeated at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherCredential;

/// The name of the client key that let the request in; never the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientName(pub Label);

/// The caller's own credential went upstream: what upstream says of it is the caller's to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerCredential;

/// The body was left out: it may quote the provider's secrets, and is encoded so that nobody here can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withheld;

/// What the server knows of the connection, or the stream of it, that a request came in on, and what it is told.
#[derive(Debug, Clone, Default)]
pub struct Downstream(Arc<Connection>);

#[derive(Debug, Default)]
struct Connection {
    stalled: AtomicBool,
    admitted: AtomicBool,
    /// The whole, where this is one stream of it.
    whole: Option<Downstream>,
}

/// Which provider answered. On every response that an upstream sent, and on none of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The provider's name.
    pub provider: Label,
}

/// Which of several candidates an answer came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The model that the upstream was asked for; none where the request named none, or one that no header should hold.
    pub model: Option<HeaderValue>,
    /// How many candidates were given up before it.
    pub fallbacks: u32,
}

/// The retry layer would have retried this answer, and did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GaveUp {
    /// The attempts, or the retry budget, were used up.
    Exhausted,
    /// Another provider stands ready, and this one would have to be waited for.
    HandedOver,
    /// The upstream asked for a longer wait than is allowed, or than the deadline leaves: the
    /// client may well come again after it.
    WaitTooLong,
    /// The request body can't be sent a second time.
    NotReplayable,
    /// It may have been billed, and retrying that is turned off.
    MaybeBilled,
}

/// What an answer of our own stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed(pub ErrorKind);

/// What the outer layers must know of the inner ones, even where no response ever comes back: the
/// request was dropped before its head.
///
/// One for each request, shared by all its attempts.
#[derive(Debug, Default)]
pub struct RequestRecord {
    facts: OnceLock<Arc<Facts>>,
    route: OnceLock<&'static Route>,
    attempts: AtomicU32,
    upstream_nanos: AtomicU64,
    client: OnceLock<ClientName>,
    client_memory: OnceLock<ClientMemory>,
    memory: OnceLock<MemoryBudget>,
    outcome: OnceLock<Outcome>,
}

// === impl GaveUp ===

impl GaveUp {
    /// What [`NotReplayable`](Self::NotReplayable) adds to the sentence that the client gets.
    pub const UNREPEATED: &str =
        "; it was not tried again, since the upload was too large to be kept for that, or was not over";
}

// === impl RequestId ===

impl RequestId {
    /// Longer ids are not taken over from a client.
    pub const MAX_LEN: usize = 128;

    /// Takes an id that is visible ASCII and no longer than [`MAX_LEN`](Self::MAX_LEN).
    #[must_use]
    pub fn new(value: HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let valid =
            !bytes.is_empty() && bytes.len() <= Self::MAX_LEN && bytes.iter().all(u8::is_ascii_graphic);
        valid.then_some(Self(value))
    }

    /// As a header.
    #[must_use]
    pub fn header(&self) -> &HeaderValue {
        &self.0
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

// === impl Downstream ===

impl Downstream {
    /// One stream of a multiplexed connection: it may stall alone, and its client is that of the connection.
    #[must_use]
    pub fn stream(&self) -> Self {
        Self(Arc::new(Connection { whole: Some(self.clone()), ..Connection::default() }))
    }

    /// The server gives the answer up because the client did not read.
    pub fn set_stalled(&self) {
        self.0.stalled.store(true, Relaxed);
    }

    /// Whether the client did not read for too long.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.0.stalled.load(Relaxed)
    }

    /// For client auth: a request was let in, so that the connection is no longer a stranger's. A server closes the
    /// connections of strangers early.
    pub fn set_admitted(&self) {
        self.whole().admitted.store(true, Relaxed);
    }

    /// Whether a request on the connection was ever let in.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.whole().admitted.load(Relaxed)
    }

    fn whole(&self) -> &Connection {
        self.0.whole.as_ref().map_or(&*self.0, Self::whole)
    }
}

// === impl RequestRecord ===

impl RequestRecord {
    /// The record of a request, made where there is none yet.
    pub fn of(extensions: &mut Extensions) -> Arc<Self> {
        Arc::clone(extensions.get_or_insert_with(Arc::default))
    }

    /// What intake read.
    #[must_use]
    pub fn facts(&self) -> Option<&Arc<Facts>> {
        self.facts.get()
    }

    /// For intake: what it read.
    pub fn set_facts(&self, facts: Arc<Facts>) {
        let _ = self.facts.set(facts);
    }

    /// The row of the route table, known also for a request that was refused in intake.
    #[must_use]
    pub fn route(&self) -> Option<&'static Route> {
        self.route.get().copied()
    }

    /// For intake: the row of the route table.
    pub fn set_route(&self, route: &'static Route) {
        let _ = self.route.set(route);
    }

    /// The client key that let the request in.
    #[must_use]
    pub fn client(&self) -> Option<&ClientName> {
        self.client.get()
    }

    /// For client auth; and for intake, where a layer that is not ours let the request in.
    pub fn set_client(&self, client: ClientName) {
        let _ = self.client.set(client);
    }

    /// For client auth: what the requests of this client hold in memory.
    pub fn set_client_memory(&self, memory: ClientMemory) {
        let _ = self.client_memory.set(memory);
    }

    /// For intake: the budget that all layers below draw from, too, in place of their own.
    pub fn set_memory(&self, budget: MemoryBudget) {
        let _ = self.memory.set(budget);
    }

    /// The budget that intake said.
    #[must_use]
    pub fn memory(&self) -> Option<&MemoryBudget> {
        self.memory.get()
    }

    /// A reservation of nothing for this request: of the budget that intake said, else of `own`; within the share of its client,
    /// where that is known.
    #[must_use]
    pub fn reservation(&self, own: &MemoryBudget) -> Reservation {
        self.memory().unwrap_or(own).reservation_of(self.client_memory.get())
    }

    /// How the request ends, where that is known before its body does: the client was told of an
    /// error inside a stream, and may hang up before the body itself fails.
    #[must_use]
    pub fn settled(&self) -> Option<Outcome> {
        self.outcome.get().copied()
    }

    /// For respond: the client is being told inside the stream; the first outcome wins.
    pub fn settle(&self, outcome: Outcome) {
        let _ = self.outcome.set(outcome);
    }

    /// Attempts so far, over all providers.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Relaxed)
    }

    /// For retry: one more attempt begins.
    pub fn count_attempt(&self) {
        self.attempts.fetch_add(1, Relaxed);
    }

    /// Time spent waiting for upstreams' heads, over all attempts, and for backoff.
    #[must_use]
    pub fn upstream_time(&self) -> Duration {
        Duration::from_nanos(self.upstream_nanos.load(Relaxed))
    }

    /// For the attempt's metrics, and for retry's backoff: time that is not the gateway's own.
    pub fn add_upstream_time(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.upstream_nanos.fetch_add(nanos, Relaxed);
    }
}

/// The extensions that belong to a request and not to one attempt or connection: those that a retry
/// carries over. What is not of this list (a server's own upgrade handle, connection info) is not cloned.
#[must_use]
pub fn carry_over(from: &Extensions) -> Extensions {
    fn copy<T: Clone + Send + Sync + 'static>(from: &Extensions, to: &mut Extensions) {
        if let Some(value) = from.get::<T>() {
            to.insert(value.clone());
        }
    }
    let mut to = Extensions::new();
    copy::<RequestId>(from, &mut to);
    copy::<Arc<RequestRecord>>(from, &mut to);
    copy::<Arc<Facts>>(from, &mut to);
    copy::<Deadline>(from, &mut to);
    copy::<Patience>(from, &mut to);
    copy::<MaxAttempts>(from, &mut to);
    copy::<Standby>(from, &mut to);
    copy::<LastResort>(from, &mut to);
    copy::<AttemptClocks>(from, &mut to);
    copy::<ClientName>(from, &mut to);
    copy::<Downstream>(from, &mut to);
    copy::<CallerCredential>(from, &mut to);
    copy::<Upgrade>(from, &mut to);
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_visible_ascii_and_short() {
        let id = |text: &str| RequestId::new(HeaderValue::from_bytes(text.as_bytes()).unwrap());
        assert_eq!(id("req_1").unwrap().as_str(), "req_1");
        for bad in ["", "a b", "tab\there", "ümlaut", &"x".repeat(129)] {
            assert!(id(bad).is_none(), "{bad:?}");
        }
        assert!(id(&"x".repeat(128)).is_some());
    }

    #[test]
    fn a_stream_stalls_alone_and_is_let_in_with_its_connection() {
        let connection = Downstream::default();
        let (one, other) = (connection.stream(), connection.stream());
        one.set_stalled();
        assert!(one.is_stalled() && !other.is_stalled() && !connection.is_stalled());
        one.set_admitted();
        assert!(one.is_admitted() && other.is_admitted() && connection.is_admitted());
    }

    #[test]
    fn only_what_belongs_to_the_request_is_carried_over() {
        #[derive(Clone)]
        struct Foreign;
        let mut extensions = Extensions::new();
        let record = RequestRecord::of(&mut extensions);
        record.count_attempt();
        extensions.insert(Foreign);
        let mut carried = carry_over(&extensions);
        assert!(carried.get::<Foreign>().is_none());
        assert_eq!(RequestRecord::of(&mut carried).attempts(), 1);
    }
}
