//! [`Order`]: those that can be asked, in the order in which they are.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;
use towergate_core::{Error, ErrorKind};

use super::table::{Model, Target};
use crate::provider::Availability;

/// One of those that can be asked.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) target: Arc<Target>,
    /// The fallback model that it stands for.
    pub(super) fallback: Option<Arc<str>>,
}

/// Those that can be asked. Who of a tier is next is decided when the tier's turn comes, so that one that is
/// never asked uses up no turn.
#[derive(Debug, Default)]
pub(super) struct Order {
    groups: VecDeque<Group>,
    /// Whether the answer is streamed: what a balancer that looks at latency needs to know.
    stream: bool,
}

#[derive(Debug)]
enum Group {
    One(Choice),
    /// Those of a tier that are available.
    Tier {
        model: Arc<Model>,
        tier: usize,
        fallback: Option<Arc<str>>,
        places: Vec<usize>,
        begun: bool,
    },
}

/// Finds out who can be asked.
#[derive(Debug, Default)]
pub(super) struct Survey {
    order: Order,
    /// Of those whose keys are limited, whoever is so for the shortest time.
    limited: Option<(Instant, Choice)>,
    /// Those that are set aside after failures.
    failing: Vec<(Instant, Choice)>,
}

// === impl Choice ===

impl Choice {
    pub(super) fn new(target: &Arc<Target>, fallback: Option<&Arc<str>>) -> Self {
        Self { target: Arc::clone(target), fallback: fallback.cloned() }
    }
}

// === impl Order ===

impl Order {
    /// How many can still be asked.
    pub(super) fn len(&self) -> usize {
        self.groups.iter().map(Group::len).sum()
    }

    /// Whoever is asked next.
    pub(super) fn next(&mut self) -> Option<Choice> {
        let (choice, left) = match self.groups.pop_front()? {
            Group::One(choice) => (choice, None),
            Group::Tier { model, tier: at, fallback, mut places, begun } => {
                let tier = &model.tiers[at];
                let picked =
                    if begun { None } else { tier.pick(|place| places.contains(&place), self.stream) };
                let picked = picked.and_then(|picked| places.iter().position(|place| *place == picked));
                let place = places.remove(picked.unwrap_or(0));
                let choice = Choice::new(&tier.targets[place], fallback.as_ref());
                let left = Group::Tier { model, tier: at, fallback, places, begun: true };
                (choice, Some(left).filter(|left| left.len() > 0))
            }
        };
        if let Some(left) = left {
            self.groups.push_front(left);
        }
        Some(choice)
    }
}

// === impl Group ===

impl Group {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Tier { places, .. } => places.len(),
        }
    }
}

// === impl Survey ===

impl Survey {
    pub(super) fn new(stream: bool) -> Self {
        Self { order: Order { groups: VecDeque::new(), stream }, ..Self::default() }
    }

    /// Looks at those that serve a model, which clients call `name`.
    pub(super) fn add(&mut self, model: &Arc<Model>, fallback: Option<&Arc<str>>, name: Option<&str>) {
        for (at, tier) in model.tiers.iter().enumerate() {
            if let [target] = &tier.targets[..] {
                if self.is_ready(target, fallback, name) {
                    self.order.groups.push_back(Group::One(Choice::new(target, fallback)));
                }
                continue;
            }
            let mut places = Vec::with_capacity(tier.targets.len());
            for (place, target) in tier.targets.iter().enumerate() {
                if self.is_ready(target, fallback, name) {
                    places.push(place);
                }
            }
            if !places.is_empty() {
                let (model, fallback) = (Arc::clone(model), fallback.cloned());
                self.order.groups.push_back(Group::Tier { model, tier: at, fallback, places, begun: false });
            }
        }
    }

    /// Whether a target can be asked; else it is noted.
    fn is_ready(&mut self, target: &Arc<Target>, fallback: Option<&Arc<str>>, name: Option<&str>) -> bool {
        match target.availability(name) {
            Availability::Ready => return true,
            Availability::Limited(until) => {
                if self.limited.as_ref().is_none_or(|(soonest, _)| until < *soonest) {
                    self.limited = Some((until, Choice::new(target, fallback)));
                }
            }
            Availability::Until(until) => self.failing.push((until, Choice::new(target, fallback))),
        }
        false
    }

    /// Those that are ready.
    pub(super) fn into_order(self) -> Order {
        self.order
    }

    /// Whoever is asked first, and the others.
    pub(super) fn finish(mut self, last_resort: bool) -> Result<(Choice, Order), Error> {
        // A limit is no failure: the last one is asked whatever the setting says.
        let limited = self.limited.map(|(_, choice)| choice);
        if let Some(first) = self.order.next().or(limited) {
            return Ok((first, self.order));
        }
        let Some((until, soonest)) = self.failing.iter().min_by_key(|(until, _)| *until) else {
            return Err(Error::new(ErrorKind::Unavailable, "no provider serves this request"));
        };
        if !last_resort {
            let wait = until.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
            return Err(Error::new(
                ErrorKind::Unavailable,
                "every provider that could serve this request is set aside after failures",
            )
            .with_setting("routing.last_resort")
            .with_retry_after(wait));
        }
        // The least bad one, and nobody else: for the model, and for those that it may fall back to there. What made
        // it fail may be one of its models only.
        let soonest = Arc::clone(&soonest.target);
        let same = self.failing.into_iter().map(|(_, choice)| choice);
        let mut same = same.filter(|choice| choice.target.is_of_the_same(&soonest));
        let Some(first) = same.next() else {
            return Err(Error::new(ErrorKind::Unavailable, "no provider serves this request"));
        };
        self.order.groups.extend(same.map(Group::One));
        Ok((first, self.order))
    }
}
