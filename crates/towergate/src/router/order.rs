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

// === impl Order ===

impl Order {
    /// How many can still be asked.
    pub(super) fn len(&self) -> usize {
        let of_group = |group: &Group| match group {
            Group::One(_) => 1,
            Group::Tier { places, .. } => places.len(),
        };
        self.groups.iter().map(of_group).sum()
    }

    /// Whoever is asked next.
    pub(super) fn next(&mut self) -> Option<Choice> {
        let (choice, left) = match self.groups.front_mut()? {
            Group::One(choice) => (choice.clone(), false),
            Group::Tier { model, tier, fallback, places, begun } => {
                let tier = &model.tiers[*tier];
                let picked =
                    if *begun { None } else { tier.pick(|place| places.contains(&place), self.stream) };
                let at = picked.and_then(|picked| places.iter().position(|place| *place == picked));
                *begun = true;
                let place = places.remove(at.unwrap_or(0));
                let target = Arc::clone(&tier.targets[place]);
                (Choice { target, fallback: fallback.clone() }, !places.is_empty())
            }
        };
        if !left {
            self.groups.pop_front();
        }
        Some(choice)
    }
}

// === impl Survey ===

impl Survey {
    pub(super) fn new(stream: bool) -> Self {
        Self { order: Order { groups: VecDeque::new(), stream }, ..Self::default() }
    }

    /// Looks at those that serve a model, which clients call `name`.
    pub(super) fn add(&mut self, model: &Arc<Model>, fallback: Option<&str>, name: Option<&str>) {
        for (at, tier) in model.tiers.iter().enumerate() {
            let fallback = || fallback.map(Into::into);
            if let [target] = &tier.targets[..] {
                if let Some(choice) = self.ready(target, name, fallback()) {
                    self.order.groups.push_back(Group::One(choice));
                }
                continue;
            }
            let mut places = Vec::with_capacity(tier.targets.len());
            for (place, target) in tier.targets.iter().enumerate() {
                places.extend(self.ready(target, name, fallback()).map(|_| place));
            }
            if !places.is_empty() {
                let model = Arc::clone(model);
                let group = Group::Tier { model, tier: at, fallback: fallback(), places, begun: false };
                self.order.groups.push_back(group);
            }
        }
    }

    /// The target as one to ask, where it is ready; else it is noted.
    fn ready(
        &mut self,
        target: &Arc<Target>,
        name: Option<&str>,
        fallback: Option<Arc<str>>,
    ) -> Option<Choice> {
        let choice = Choice { target: Arc::clone(target), fallback };
        match target.availability(name) {
            Availability::Ready => return Some(choice),
            Availability::Limited(until) => {
                if self.limited.as_ref().is_none_or(|(soonest, _)| until < *soonest) {
                    self.limited = Some((until, choice));
                }
            }
            Availability::Until(until) => self.failing.push((until, choice)),
        }
        None
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
