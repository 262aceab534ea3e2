//! [`Balance`]: who of a tier is asked first.

use super::{load::Load, settings::Strategy};
use towergate_core::weighted::Weighted;

/// Chooses among those of one tier.
#[derive(Debug)]
pub(super) enum Balance {
    Weighted(Weighted),
    /// The less loaded of two that are drawn by lot, which spares a crowd on whoever looks best at the moment
    /// (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
    TwoChoices {
        by: By,
        members: Box<[(f64, Load)]>,
    },
}

/// What makes one the less loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    InFlight,
    ExpectedWait,
}

// === impl Balance ===

impl Balance {
    /// Among members with these weights.
    pub(super) fn new(strategy: Strategy, members: impl IntoIterator<Item = (f64, Load)>) -> Self {
        let by = match strategy {
            Strategy::Weighted => {
                return Self::Weighted(Weighted::new(members.into_iter().map(|(weight, _)| weight)));
            }
            Strategy::LeastInFlight => By::InFlight,
            Strategy::PeakEwma => By::ExpectedWait,
        };
        Self::TwoChoices { by, members: members.into_iter().collect() }
    }

    /// One of those that are `available` and have a weight.
    pub(super) fn pick(&self, available: impl Fn(usize) -> bool, stream: bool) -> Option<usize> {
        let (by, members) = match self {
            Self::Weighted(weighted) => return weighted.pick(available),
            Self::TwoChoices { by, members } => (*by, members),
        };
        // What is available stays so while it is looked at: it was found out before.
        let among = || (0..members.len()).filter(|place| members[*place].0 > 0.0 && available(*place));
        let (one, other) = match among().count() {
            0 | 1 => return among().next(),
            count => {
                let one = fastrand::usize(..count);
                let other = (one + 1 + fastrand::usize(..count - 1)) % count;
                (among().nth(one)?, among().nth(other)?)
            }
        };
        let cost = |place: usize| {
            let (weight, load) = &members[place];
            match by {
                By::InFlight => (load.in_flight() + 1.0) / weight,
                By::ExpectedWait => load.expected_wait(stream) / weight,
            }
        };
        Some(if cost(other) < cost(one) { other } else { one })
    }
}
