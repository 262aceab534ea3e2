//! [`KeyRing`]: which key is used, and which are set aside.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;
use towergate_core::{
    Class,
    credentials::{Credential, CredentialSource},
    label::Label,
    weighted::Weighted,
};

/// How long a key is set aside that was refused, or has no quota left.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// How long a key is set aside for a model after a 429 that does not say.
const LIMITED_FOR: Duration = Duration::from_secs(1);
/// The longest time that a 429 sets a key aside: by then one attempt may find out.
const LIMITED_AT_MOST: Duration = Duration::from_secs(300);
/// So many models are remembered for a key; clients choose their names.
const MAX_MODELS: usize = 64;

/// The keys of one provider. Clones are the same ring.
#[derive(Debug, Clone)]
pub struct KeyRing(Arc<Inner>);

/// One of the keys of a ring. Cheap to clone.
#[derive(Clone)]
pub struct RingKey {
    name: Label,
    source: Arc<dyn CredentialSource>,
    weight: f64,
}

#[derive(Debug)]
struct Inner {
    provider: Label,
    keys: Box<[RingKey]>,
    balance: Weighted,
    /// Whether any key is set aside: as long as none is, nothing is locked.
    disturbed: AtomicBool,
    aside: Mutex<Box<[Aside]>>,
}

/// For what a key is set aside, and until when.
#[derive(Debug, Default)]
struct Aside {
    /// For everything, as long as its source gives the credential that was refused.
    key: Option<(Instant, Option<Credential>)>,
    models: Vec<(Option<Arc<str>>, Instant)>,
}

/// Why a provider refused a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Too many requests for a model, and how long to wait.
    RateLimited(Option<Duration>),
    AuthRefused,
    QuotaExhausted,
}

// === impl RingKey ===

impl RingKey {
    /// A key with the weight 1. Its name, never the key, is shown in metrics and log lines. The source is asked for
    /// each attempt, so that a key can rotate.
    pub fn new(name: Label, source: impl CredentialSource) -> Self {
        Self { name, source: Arc::new(source), weight: 1.0 }
    }

    /// Its share of the attempts, beside those of the other keys; 1 by default. What is no number above zero counts
    /// as 0: such a key is used only where no other is left.
    #[must_use]
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = if weight.is_finite() && weight > 0.0 { weight } else { 0.0 };
        self
    }
}

/// The key, always as its own source gives it.
impl CredentialSource for RingKey {
    fn credential(&self) -> Option<Credential> {
        self.source.credential()
    }
}

impl fmt::Debug for RingKey {
    /// Without the source, which may print its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RingKey");
        debug.field("name", &self.name).field("weight", &self.weight).finish_non_exhaustive()
    }
}

// === impl KeyRing ===

impl KeyRing {
    /// The keys of a provider, whose name is for metrics and log. A ring of one only watches it: Auth asks that key's
    /// source itself. A ring of none, where the callers' own keys are sent, does nothing.
    pub fn new(provider: Label, keys: impl IntoIterator<Item = RingKey>) -> Self {
        let keys: Box<[RingKey]> = keys.into_iter().collect();
        let balance = Weighted::new(keys.iter().map(|key| key.weight));
        let aside = Mutex::new(keys.iter().map(|_| Aside::default()).collect());
        Self(Arc::new(Inner { provider, keys, balance, disturbed: AtomicBool::new(false), aside }))
    }

    /// Until when every key is set aside for this model; `None` where one is free.
    #[must_use]
    pub fn limited_until(&self, model: Option<&str>) -> Option<Instant> {
        let until = self.aside_until(model)?;
        until.into_iter().collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// The names of the keys that are set aside, each with the models that it is limited for; none: it was refused,
    /// for all of them.
    #[must_use]
    pub fn set_aside_now(&self) -> Vec<(Label, Vec<Arc<str>>)> {
        let now = Instant::now();
        let all = self.lock();
        let mut set_aside = Vec::new();
        for (aside, key) in all.iter().zip(&self.0.keys) {
            if aside.refused(now, key).is_some() {
                set_aside.push((key.name.clone(), Vec::new()));
            } else {
                let limited = aside.models.iter().filter(|(_, until)| *until > now);
                let models: Vec<_> = limited.filter_map(|(model, _)| model.clone()).collect();
                set_aside.extend((!models.is_empty()).then(|| (key.name.clone(), models)));
            }
        }
        set_aside
    }

    /// The key to use, and its credential where there are several.
    pub(super) fn pick(&self, model: Option<&str>) -> Option<(usize, Option<Credential>)> {
        let keys = &self.0.keys;
        if keys.len() < 2 {
            return (!keys.is_empty()).then_some((0, None));
        }
        let place = match self.aside_until(model) {
            None => self.0.balance.pick(|_| true),
            Some(until) => {
                let weighted = self.0.balance.pick(|place| until[place].is_none());
                // One without a weight, which is free now (`None` is before all), else the one that is soonest.
                weighted.or_else(|| (0..keys.len()).min_by_key(|place| until[*place]))
            }
        };
        let place = place.unwrap_or(0);
        Some((place, keys[place].source.credential()))
    }

    /// Sets a key aside, as the credential that was sent; whether another is free for this model.
    pub(super) fn set_aside(
        &self,
        place: usize,
        model: Option<&Arc<str>>,
        refusal: Refusal,
        sent: Option<Credential>,
    ) -> bool {
        let now = Instant::now();
        let key = &self.0.keys[place];
        let (reason, wait) = match refusal {
            Refusal::RateLimited(asked) => {
                (Class::RateLimited, asked.unwrap_or(LIMITED_FOR).min(LIMITED_AT_MOST))
            }
            Refusal::AuthRefused => (Class::AuthRefused, REFUSED_FOR),
            Refusal::QuotaExhausted => (Class::QuotaExhausted, REFUSED_FOR),
        };
        let until = now + wait;
        let was_aside = {
            let mut all = self.lock();
            let aside = &mut all[place];
            let was = aside.until(model.map(|model| &**model), now, key).is_some();
            match refusal {
                Refusal::RateLimited(_) => aside.limit(model, until, now),
                Refusal::AuthRefused | Refusal::QuotaExhausted => {
                    aside.key = Some((until, sent.or_else(|| key.source.credential())));
                }
            }
            self.0.disturbed.store(true, Relaxed);
            was
        };
        if !was_aside {
            self.tell(key, reason, model.map(|model| &**model), wait);
        }
        self.0.keys.len() > 1 && self.limited_until(model.map(|model| &**model)).is_none()
    }

    /// It answered, so it is well.
    pub(super) fn restore(&self, place: usize, model: Option<&str>) {
        if self.0.disturbed.load(Relaxed) {
            let aside = &mut self.lock()[place];
            aside.key = None;
            aside.models.retain(|(limited, _)| limited.as_deref() != model);
        }
    }

    /// Until when each key is set aside for this model; `None` where none is set aside for anything.
    fn aside_until(&self, model: Option<&str>) -> Option<Vec<Option<Instant>>> {
        if !self.0.disturbed.load(Relaxed) {
            return None;
        }
        let now = Instant::now();
        let mut all = self.lock();
        let mut any = false;
        for aside in all.iter_mut() {
            aside.forget(now);
            any |= !aside.is_empty();
        }
        self.0.disturbed.store(any, Relaxed);
        let each = all.iter().zip(&self.0.keys);
        any.then(|| each.map(|(aside, key)| aside.until(model, now, key)).collect())
    }

    fn tell(&self, key: &RingKey, reason: Class, model: Option<&str>, wait: Duration) {
        let Inner { provider, .. } = &*self.0;
        tracing::warn!(
            provider = provider.as_str(),
            key = key.name.as_str(),
            reason = reason.as_str(),
            model = model.filter(|_| reason == Class::RateLimited),
            aside_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "a key is set aside",
        );
        metrics::describe_counter!("towergate_keys_set_aside_total", "Keys that were set aside");
        metrics::counter!(
            "towergate_keys_set_aside_total",
            "provider" => provider.to_shared(),
            "key" => key.name.to_shared(),
            "reason" => reason.as_str(),
        )
        .increment(1);
    }

    /// Nothing panics while it is held, sources aside.
    fn lock(&self) -> MutexGuard<'_, Box<[Aside]>> {
        self.0.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Aside ===

impl Aside {
    fn is_empty(&self) -> bool {
        self.key.is_none() && self.models.is_empty()
    }

    fn forget(&mut self, now: Instant) {
        self.key.take_if(|(until, _)| *until <= now);
        self.models.retain(|(_, until)| *until > now);
    }

    fn limit(&mut self, model: Option<&Arc<str>>, until: Instant, now: Instant) {
        self.forget(now);
        self.models.retain(|(limited, _)| limited.as_ref() != model);
        if self.models.len() >= MAX_MODELS {
            let soonest = (0..self.models.len()).min_by_key(|at| self.models[*at].1);
            soonest.map(|at| self.models.swap_remove(at));
        }
        self.models.push((model.cloned(), until));
    }

    /// Until when it is set aside for this model.
    fn until(&self, model: Option<&str>, now: Instant, key: &RingKey) -> Option<Instant> {
        let limited = self.models.iter().find(|(limited, until)| limited.as_deref() == model && *until > now);
        self.refused(now, key).max(limited.map(|(_, until)| *until))
    }

    /// Until when it is set aside for everything.
    fn refused(&self, now: Instant, key: &RingKey) -> Option<Instant> {
        let (until, refused) = self.key.as_ref().filter(|(until, _)| *until > now)?;
        let bearer = |credential: &Option<Credential>| credential.as_ref().map(|it| it.bearer().clone());
        // A key that was rotated since is another one.
        (bearer(refused) == bearer(&key.source.credential())).then_some(*until)
    }
}
