//! Smooth weighted round robin.

use std::sync::{Mutex, PoisonError};

/// Picks one of several by their weights, so that at any time each has been picked as often as its
/// weight says, to within one.
///
/// It is Tijdeman's solution of the chairman assignment problem ("The chairman assignment problem",
/// Discrete Mathematics 32, 1980): of those that have not had their share, the one is picked whose turn
/// is due first. Picking whoever lacks most, as nginx does, is simpler but strays further from the
/// weights with many candidates.
#[derive(Debug)]
pub struct Weighted {
    weights: Box<[f64]>,
    /// How many picks each is short of its share; above zero it is owed some.
    credits: Mutex<Box<[f64]>>,
}

// === impl Weighted ===

impl Weighted {
    /// Weights are finite and not negative.
    pub fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let weights: Box<[f64]> = weights.into_iter().collect();
        let credits = Mutex::new(vec![0.0; weights.len()].into());
        Self { weights, credits }
    }

    /// One of those that are `available` and have a weight.
    pub fn pick(&self, available: impl Fn(usize) -> bool) -> Option<usize> {
        let takes_part = |place: usize| self.weights[place] > 0.0 && available(place);
        let among: Vec<usize> = (0..self.weights.len()).filter(|place| takes_part(*place)).collect();
        let [first, _, ..] = among[..] else { return among.first().copied() };
        let total: f64 = among.iter().map(|place| self.weights[*place]).sum();
        let share = |place: usize| self.weights[place] / total;
        let slack = 1.0 / (2 * among.len() - 2) as f64;

        let mut credits = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        for place in &among {
            credits[*place] += share(*place);
        }
        let due = |place: usize| (1.0 - slack - credits[place]) / share(place);
        let owed = among.iter().copied().filter(|place| credits[*place] >= slack - ROUNDING);
        let picked = owed
            .min_by(|a, b| due(*a).total_cmp(&due(*b)))
            // Where the available ones changed, nobody among them may be owed a whole turn yet.
            .or_else(|| among.iter().copied().max_by(|a, b| credits[*a].total_cmp(&credits[*b])))
            .unwrap_or(first);
        credits[picked] -= 1.0;
        Some(picked)
    }
}

/// What sums of shares may be off by.
const ROUNDING: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picks(weights: &[f64], count: usize) -> Vec<usize> {
        let weighted = Weighted::new(weights.iter().copied());
        (0..count).map(|_| weighted.pick(|_| true).unwrap()).collect()
    }

    #[test]
    fn turns_are_spread_out() {
        assert_eq!(picks(&[1.0, 1.0], 4), [0, 1, 0, 1]);
        let picked = picks(&[0.7, 0.3], 10);
        assert_eq!(picked.iter().filter(|place| **place == 1).count(), 3);
        assert!(!picked.windows(2).any(|pair| pair == [1, 1]), "{picked:?}");
    }

    #[test]
    fn without_a_weight_or_when_away_nothing_is_picked() {
        assert_eq!(Weighted::new([0.0, 0.0]).pick(|_| true), None);
        assert_eq!(Weighted::new([]).pick(|_| true), None);
        let weighted = Weighted::new([1.0, 0.0, 2.0]);
        assert!((0..9).all(|_| weighted.pick(|_| true) != Some(1)));
        assert_eq!(weighted.pick(|place| place == 0), Some(0));
        assert_eq!(weighted.pick(|_| false), None);
    }

    proptest! {
        #[test]
        fn each_is_within_one_of_its_share_at_any_time(
            weights in prop::collection::vec(1_u32..1000, 1..8), count in 1_usize..400,
        ) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let total: f64 = weights.iter().sum();
            let mut had = vec![0.0; weights.len()];
            for (turn, place) in picks(&weights, count).into_iter().enumerate() {
                had[place] += 1.0;
                for (place, weight) in weights.iter().enumerate() {
                    let share = weight / total * (turn + 1) as f64;
                    prop_assert!((had[place] - share).abs() < 1.0, "turn {}: {} of {}", turn, had[place], share);
                }
            }
        }

        #[test]
        fn who_comes_and_goes_does_not_starve_the_others(
            weights in prop::collection::vec(1_u32..20, 2..6), away in prop::collection::vec(any::<u8>(), 50..200),
        ) {
            let weighted = Weighted::new(weights.iter().copied().map(f64::from));
            for mask in away {
                let available = |place: usize| mask & (1 << place) == 0;
                let picked = weighted.pick(available);
                prop_assert_eq!(picked.is_some(), (0..weights.len()).any(available));
                prop_assert!(picked.is_none_or(available));
            }
            // When all are back, none is owed more than a few turns.
            let turns = 40 * weights.len();
            let mut had = vec![0_usize; weights.len()];
            for _ in 0..turns {
                had[weighted.pick(|_| true).unwrap()] += 1;
            }
            let total: u32 = weights.iter().sum();
            for (place, weight) in weights.iter().enumerate() {
                let share = f64::from(*weight) / f64::from(total) * turns as f64;
                let off = (had[place] as f64 - share).abs();
                prop_assert!(off < 2.0 * weights.len() as f64, "{} of {}", had[place], share);
            }
        }
    }
}
