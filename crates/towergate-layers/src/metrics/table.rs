//! The handles of every series, each registered when it is first needed and kept from then on.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use towergate_core::{
    Outcome,
    label::{Label, Labels},
    stream::Usage,
};

use super::names;

/// Names beyond this many count as `other`; labels come from a closed set, so this is a backstop.
const MAX_NAMES: usize = 1024;

type PerOutcome<T> = [OnceLock<T>; Outcome::ALL.len()];

/// Handles by name. Looked up by the names that are there already: nothing is built for it.
#[derive(Debug, Default)]
struct Named<T>(RwLock<HashMap<Label, Arc<T>>>);

/// The series of all requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    in_flight: OnceLock<Gauge>,
    // Looked up by the names that are there already: nothing is built for it.
    routes: RwLock<HashMap<&'static str, Arc<Route>>>,
    clients: Named<PerOutcome<Counter>>,
}

#[derive(Debug)]
struct Route {
    name: &'static str,
    first_byte: Histogram,
    durations: PerOutcome<Histogram>,
    models: Named<PerOutcome<Counter>>,
}

/// The series of one provider's attempts.
#[derive(Debug)]
pub(super) struct Attempts {
    provider: Label,
    in_flight: OnceLock<Gauge>,
    first_byte: OnceLock<Histogram>,
    malformed: OnceLock<Counter>,
    totals: PerOutcome<Counter>,
    durations: PerOutcome<Histogram>,
    tokens: Named<Tokens>,
}

/// The tokens of one model at one provider, by kind: in the order of [`KINDS`].
type Tokens = [OnceLock<Counter>; KINDS.len()];

type Count = fn(&Usage) -> Option<u64>;

/// What is counted of a usage. The details are parts of the first two.
const KINDS: [(&str, Count); 6] = [
    ("input", |usage| Some(usage.input)),
    ("output", |usage| Some(usage.output)),
    ("cached_input", |usage| usage.cached_input),
    ("reasoning_output", |usage| usage.reasoning_output),
    ("audio_input", |usage| usage.audio_input),
    ("audio_output", |usage| usage.audio_output),
];

// === impl Named ===

impl<T: Default> Named<T> {
    /// The handles of a name, and the name that they go by.
    fn get<'a>(&self, name: &'a str) -> (Arc<T>, &'a str) {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return (Arc::clone(known), name);
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let name = if all.len() < MAX_NAMES { name } else { Labels::OTHER };
        (Arc::clone(all.entry(Label::new(name)).or_default()), name)
    }
}

// === impl Requests ===

impl Requests {
    pub(super) fn in_flight(&self) -> &Gauge {
        self.in_flight.get_or_init(|| gauge!(names::REQUESTS_IN_FLIGHT))
    }

    pub(super) fn record(
        &self,
        route: &'static str,
        model: Option<&Label>,
        outcome: Outcome,
        elapsed: Duration,
        first_byte: Option<Duration>,
    ) {
        let route = self.route(route);
        route.count(model, outcome);
        let duration = slot(
            &route.durations,
            outcome,
            || histogram!(names::REQUEST_DURATION, "route" => route.name, "outcome" => outcome.as_str()),
        );
        duration.record(elapsed);
        if let Some(first_byte) = first_byte {
            route.first_byte.record(first_byte);
        }
    }

    pub(super) fn count_client(&self, client: &Label, outcome: Outcome) {
        let (counters, client) = self.clients.get(client.as_str());
        let register = || {
            let client = client.to_owned();
            counter!(names::CLIENT_REQUESTS, "client" => client, "outcome" => outcome.as_str())
        };
        slot(&counters, outcome, register).increment(1);
    }

    fn route(&self, name: &'static str) -> Arc<Route> {
        let known = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        known.unwrap_or_else(|| {
            let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(routes.entry(name).or_insert_with(|| Arc::new(Route::new(name))))
        })
    }
}

// === impl Route ===

impl Route {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            first_byte: histogram!(names::REQUEST_FIRST_BYTE, "route" => name),
            durations: PerOutcome::default(),
            models: Named::default(),
        }
    }

    fn count(&self, model: Option<&Label>, outcome: Outcome) {
        let (counters, model) = self.models.get(model.map_or(Labels::OTHER, Label::as_str));
        let counter = slot(&counters, outcome, || {
            let model = model.to_owned();
            counter!(names::REQUESTS, "route" => self.name, "model" => model, "outcome" => outcome.as_str())
        });
        counter.increment(1);
    }
}

// === impl Attempts ===

impl Attempts {
    pub(super) fn new(provider: Label) -> Self {
        Self {
            provider,
            in_flight: OnceLock::new(),
            first_byte: OnceLock::new(),
            malformed: OnceLock::new(),
            totals: PerOutcome::default(),
            durations: PerOutcome::default(),
            tokens: Named::default(),
        }
    }

    pub(super) fn in_flight(&self) -> &Gauge {
        self.in_flight
            .get_or_init(|| gauge!(names::ATTEMPTS_IN_FLIGHT, "provider" => self.provider.to_shared()))
    }

    pub(super) fn record(
        &self,
        outcome: Outcome,
        elapsed: Duration,
        first_byte: Option<Duration>,
        malformed: u32,
    ) {
        let provider = || self.provider.to_shared();
        let total = slot(
            &self.totals,
            outcome,
            || counter!(names::ATTEMPTS, "provider" => provider(), "outcome" => outcome.as_str()),
        );
        total.increment(1);
        let duration = slot(
            &self.durations,
            outcome,
            || histogram!(names::ATTEMPT_DURATION, "provider" => provider(), "outcome" => outcome.as_str()),
        );
        duration.record(elapsed);
        if let Some(first_byte) = first_byte {
            let series = || histogram!(names::ATTEMPT_FIRST_BYTE, "provider" => provider());
            self.first_byte.get_or_init(series).record(first_byte);
        }
        if malformed > 0 {
            let series = || counter!(names::MALFORMED_EVENTS, "provider" => provider());
            self.malformed.get_or_init(series).increment(u64::from(malformed));
        }
    }
}

impl Attempts {
    pub(super) fn count_tokens(&self, model: Option<&Label>, usage: &Usage) {
        let (counters, name) = self.tokens.get(model.map_or(Labels::OTHER, Label::as_str));
        for ((kind, count), counter) in KINDS.iter().zip(counters.iter()) {
            let Some(tokens @ 1..) = count(usage) else { continue };
            let register = || {
                let provider = self.provider.to_shared();
                counter!(names::TOKENS, "provider" => provider, "model" => name.to_owned(), "kind" => *kind)
            };
            counter.get_or_init(register).increment(tokens);
        }
    }
}

fn slot<T>(slots: &PerOutcome<T>, outcome: Outcome, register: impl FnOnce() -> T) -> &T {
    // The index is below the length: both are those of `Outcome::ALL`.
    slots[outcome.index()].get_or_init(register)
}
