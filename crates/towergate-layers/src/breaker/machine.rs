//! The states of a breaker, without a clock or a lock of their own.

use std::time::Duration;

use tokio::time::Instant;

use super::{BreakerConfig, window::Window};

/// What a breaker does with the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// It lets everything pass.
    Closed,
    /// It lets a few attempts pass, to find out whether the provider is well again.
    HalfOpen,
    /// It lets nothing pass.
    Open,
}

#[derive(Debug)]
pub(super) struct Machine {
    phase: Phase,
    /// Changes with the phase: what was let pass in an earlier one does not count any more.
    generation: u64,
    window: Window,
    consecutive: u32,
    /// How often it has opened without having been well for long in between.
    opened: u32,
    changed_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { under_way: u32 },
}

/// An attempt that was let pass; it must be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admission {
    generation: u64,
    pub(super) probe: bool,
}

/// A change of state, to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) to: BreakerState,
    /// How long it will be open.
    pub(super) open_for: Option<Duration>,
    pub(super) failures: u32,
    pub(super) attempts: u32,
}

/// While half open and fully taken, when to ask again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl Machine {
    pub(super) fn new(config: &BreakerConfig, now: Instant) -> Self {
        Self {
            phase: Phase::Closed,
            generation: 0,
            window: Window::new(config.window, now),
            consecutive: 0,
            opened: 0,
            changed_at: None,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    pub(super) fn changed_at(&self) -> Option<Instant> {
        self.changed_at
    }

    /// When an attempt would be let pass; `None`: now.
    pub(super) fn available_at(&self, config: &BreakerConfig, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Open { until } if until > now => Some(until),
            Phase::HalfOpen { under_way } if under_way >= config.probes.max(1) => Some(now + ASK_AGAIN),
            _ => None,
        }
    }

    /// Lets an attempt pass, or says when one will be. With `insist` it always passes.
    pub(super) fn admit(
        &mut self,
        config: &BreakerConfig,
        now: Instant,
        insist: bool,
    ) -> (Result<Admission, Instant>, Option<Change>) {
        let mut change = None;
        if let Phase::Open { until } = self.phase
            && until <= now
        {
            change = Some(self.turn(Phase::HalfOpen { under_way: 0 }, now));
        }
        let admission = match &mut self.phase {
            Phase::Closed => Ok(false),
            Phase::HalfOpen { under_way } if *under_way < config.probes.max(1) => {
                *under_way += 1;
                Ok(true)
            }
            _ if insist => Ok(false),
            Phase::HalfOpen { .. } => Err(now + ASK_AGAIN),
            Phase::Open { until } => Err(*until),
        };
        (admission.map(|probe| Admission { generation: self.generation, probe }), change)
    }

    pub(super) fn succeed(&mut self, admission: Admission, now: Instant) -> Option<Change> {
        if admission.generation != self.generation {
            return None;
        }
        match self.phase {
            Phase::Closed => {
                self.consecutive = 0;
                self.window.count(now, false);
                None
            }
            Phase::HalfOpen { .. } if admission.probe => {
                self.window.clear();
                self.consecutive = 0;
                Some(self.turn(Phase::Closed, now))
            }
            // Somebody insisted; whether it is well is for the probes to say.
            Phase::HalfOpen { .. } | Phase::Open { .. } => None,
        }
    }

    pub(super) fn fail(
        &mut self,
        config: &BreakerConfig,
        admission: Admission,
        now: Instant,
        random: f64,
    ) -> Option<Change> {
        if admission.generation != self.generation {
            return None;
        }
        match self.phase {
            Phase::Closed => {
                self.consecutive = self.consecutive.saturating_add(1);
                self.window.count(now, true);
                let (failures, attempts) = self.window.sums(now);
                let in_a_row =
                    config.consecutive_failures > 0 && self.consecutive >= config.consecutive_failures;
                let share = attempts >= config.min_requests.max(1)
                    && f64::from(failures) >= config.failure_ratio * f64::from(attempts);
                if !(in_a_row || share) {
                    return None;
                }
                if self.changed_at.is_some_and(|at| now.saturating_duration_since(at) > config.max_open_for) {
                    self.opened = 0;
                }
                Some(self.open(config, now, random))
            }
            Phase::HalfOpen { .. } if admission.probe => Some(self.open(config, now, random)),
            Phase::HalfOpen { .. } | Phase::Open { .. } => None,
        }
    }

    /// It says nothing of the provider.
    pub(super) fn release(&mut self, admission: Admission) {
        if admission.generation == self.generation
            && admission.probe
            && let Phase::HalfOpen { under_way } = &mut self.phase
        {
            *under_way = under_way.saturating_sub(1);
        }
    }

    fn open(&mut self, config: &BreakerConfig, now: Instant, random: f64) -> Change {
        let time = config.open_time(self.opened, random);
        self.opened = self.opened.saturating_add(1);
        let (failures, attempts) = self.window.sums(now);
        self.consecutive = 0;
        let change = self.turn(Phase::Open { until: now + time }, now);
        Change { open_for: Some(time), failures, attempts, ..change }
    }

    fn turn(&mut self, phase: Phase, now: Instant) -> Change {
        self.phase = phase;
        self.generation += 1;
        self.changed_at = Some(now);
        Change { to: self.state(), open_for: None, failures: 0, attempts: 0 }
    }
}
