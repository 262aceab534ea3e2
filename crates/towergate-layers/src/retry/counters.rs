//! The metrics of retrying.

use std::sync::OnceLock;

use metrics::{Counter, counter, describe_counter};
use towergate_core::label::Label;

use super::Reason;

const RETRIES: &str = "towergate_retries_total";
const EXHAUSTED: &str = "towergate_retry_budget_exhausted_total";

/// Handles, each registered when it is first needed and kept: the recorder may be installed after
/// the layer was built.
#[derive(Debug)]
pub(super) struct Counters {
    provider: Label,
    retries: [[OnceLock<Counter>; 2]; Reason::COUNT],
    exhausted: OnceLock<Counter>,
}

// === impl Counters ===

impl Counters {
    pub(super) fn new(provider: Label) -> Self {
        Self { provider, retries: Default::default(), exhausted: OnceLock::new() }
    }

    pub(super) fn provider(&self) -> &Label {
        &self.provider
    }

    pub(super) fn retried(&self, reason: Reason, maybe_billed: bool) {
        let Some(handle) =
            self.retries.get(reason.index()).and_then(|pair| pair.get(usize::from(maybe_billed)))
        else {
            return;
        };
        let register = || {
            describe_counter!(RETRIES, "Attempts that repeat an earlier one, by what came of that one");
            counter!(
                RETRIES,
                "provider" => self.provider.to_shared(),
                "reason" => reason.as_str(),
                "maybe_billed" => if maybe_billed { "true" } else { "false" },
            )
        };
        handle.get_or_init(register).increment(1);
    }

    pub(super) fn budget_exhausted(&self) {
        let register = || {
            describe_counter!(EXHAUSTED, "Retries that the retry budget did not allow");
            counter!(EXHAUSTED, "provider" => self.provider.to_shared())
        };
        self.exhausted.get_or_init(register).increment(1);
    }
}
