//! How long to wait before a retry that nobody gave a time for.

use std::time::Duration;

/// Doubles from one second up to a limit, and comes a little earlier at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backoff {
    pub(super) max: Duration,
    pub(super) jitter: bool,
}

const BASE: Duration = Duration::from_secs(1);
/// The jitter takes away up to a quarter, as in OpenAI's own clients.
const JITTER_DIVISOR: u32 = 4;

// === impl Backoff ===

impl Backoff {
    /// The wait before a retry, counted from 0. `random` is from 0 to 1, and counts only with
    /// jitter.
    pub(super) fn delay(self, retry: u32, random: f64) -> Duration {
        let delay = BASE.saturating_mul(2_u32.saturating_pow(retry)).min(self.max);
        if !self.jitter {
            return delay;
        }
        // The quarter first: a long limit times a float would overflow.
        delay.saturating_sub((delay / JITTER_DIVISOR).mul_f64(random.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Backoff = Backoff { max: Duration::from_secs(30), jitter: false };

    #[test]
    fn it_doubles_up_to_the_limit() {
        let delays: Vec<u64> = (0..7).map(|retry| PLAIN.delay(retry, 0.7).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(PLAIN.delay(u32::MAX, 0.0), PLAIN.max);
    }

    #[test]
    fn a_limit_under_a_second_holds_from_the_start() {
        let short = Backoff { max: Duration::from_millis(5), ..PLAIN };
        assert_eq!(short.delay(0, 0.0), Duration::from_millis(5));
    }

    proptest! {
        #[test]
        fn jitter_takes_away_at_most_a_quarter(
            retry: u32,
            random in 0.0..=1.0_f64,
            max in prop_oneof![0..100_000_u64, Just(u64::MAX)],
        ) {
            let full = Backoff { max: Duration::from_millis(max), jitter: false };
            let jittered = Backoff { jitter: true, ..full }.delay(retry, random);
            let full = full.delay(retry, random);
            prop_assert!(jittered <= full);
            prop_assert!(jittered >= full - full / 4);
        }

        #[test]
        fn no_limit_overflows(retry: u32, random in 0.0..=1.0_f64) {
            let delay = Backoff { max: Duration::MAX, jitter: true }.delay(retry, random);
            prop_assert!(delay >= Duration::from_millis(750));
        }
    }
}
