//! How many attempts failed lately.

use std::time::Duration;

use tokio::time::Instant;

const SLOTS: usize = 10;

/// A sliding window of attempts and failures, in ten slices.
#[derive(Debug)]
pub(super) struct Window {
    start: Instant,
    slice: Duration,
    slots: [Slot; SLOTS],
}

/// The counts of one slice; one of another slice counts as empty.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    slice: u64,
    attempts: u32,
    failures: u32,
}

impl Window {
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        let slice = length.max(Duration::from_secs(1)) / SLOTS as u32;
        Self { start: now, slice, slots: Default::default() }
    }

    pub(super) fn count(&mut self, now: Instant, failed: bool) {
        let slice = self.slice(now);
        let slot = &mut self.slots[(slice % SLOTS as u64) as usize];
        if slot.slice != slice {
            *slot = Slot { slice, ..Slot::default() };
        }
        slot.attempts = slot.attempts.saturating_add(1);
        slot.failures = slot.failures.saturating_add(u32::from(failed));
    }

    /// Failures and attempts.
    pub(super) fn sums(&self, now: Instant) -> (u32, u32) {
        let slice = self.slice(now);
        let live = self.slots.iter().filter(|slot| slice - slot.slice.min(slice) < SLOTS as u64);
        live.fold((0, 0), |(failures, attempts): (u32, u32), slot| {
            (failures.saturating_add(slot.failures), attempts.saturating_add(slot.attempts))
        })
    }

    pub(super) fn clear(&mut self) {
        self.slots = Default::default();
    }

    fn slice(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.start).as_nanos() / self.slice.as_nanos()) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_younger_than_nine_slices_counts_and_what_is_older_than_ten_does_not(
            mut events in prop::collection::vec((0_u64..40_000, any::<bool>()), 0..200),
        ) {
            events.sort_by_key(|event| event.0);
            let start = Instant::now();
            let at = |millis| start + Duration::from_millis(millis);
            let mut window = Window::new(Duration::from_secs(10), start);
            for (place, (millis, failed)) in events.iter().enumerate() {
                window.count(at(*millis), *failed);
                let within = |age: u64| {
                    let young = events[..=place].iter().filter(|(other, _)| millis - other < age);
                    young.fold((0, 0), |(failures, all), (_, failed)| (failures + u32::from(*failed), all + 1))
                };
                let (failures, attempts) = window.sums(at(*millis));
                let (least, most) = (within(9_000), within(10_000));
                prop_assert!(least.0 <= failures && failures <= most.0);
                prop_assert!(least.1 <= attempts && attempts <= most.1);
            }
        }
    }
}
