//! [`RoutingPlan`]: the settings of the router that are no lists, with where each comes from.

use std::num::NonZeroU32;

use super::{
    Config, ProviderPlan,
    setting::{Origin, Row, Setting, row},
    types::RoutingStrategy,
};
use crate::router::MAX_ATTEMPTS;

/// How the router chooses, each setting with where it comes from.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the settings of the same names have them")]
pub struct RoutingPlan {
    pub max_attempts: Setting<NonZeroU32>,
    pub strategy: Setting<RoutingStrategy>,
    pub last_resort: Setting<bool>,
    pub default_provider: Setting<Option<String>>,
}

// === impl RoutingPlan ===

impl RoutingPlan {
    pub(super) fn of(config: &Config, providers: &[ProviderPlan]) -> Self {
        let section = &config.file.routing;
        let at = |name: &str| config.place(&format!("routing.{name}")).map_or(Origin::BuiltIn, Origin::File);
        let attempts = match providers {
            // Nobody takes over: its own retries bound it.
            [only] => Setting {
                value: NonZeroU32::MIN.saturating_add(only.max_retries.value),
                origin: only.max_retries.origin.clone(),
            },
            _ => Setting::built_in(MAX_ATTEMPTS),
        };
        let said = section.max_attempts.and_then(NonZeroU32::new);
        let first = providers.iter().min_by_key(|plan| plan.priority.value).map(|plan| plan.name.clone());
        let named = section.default_provider.clone().map(|name| (Some(name), at("default_provider")));
        Self {
            max_attempts: attempts.overridden(said.map(|value| (value, at("max_attempts")))),
            strategy: Setting::built_in(RoutingStrategy::Weighted)
                .overridden(section.strategy.map(|value| (value, at("strategy")))),
            last_resort: Setting::built_in(true)
                .overridden(section.last_resort.map(|value| (value, at("last_resort")))),
            default_provider: Setting::built_in(first).overridden(named),
        }
    }

    /// Every setting as text, with where it comes from.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        vec![
            row("routing.max_attempts", &self.max_attempts, ToString::to_string),
            row("routing.strategy", &self.strategy, |strategy| {
                match strategy {
                    RoutingStrategy::Weighted => "weighted",
                    RoutingStrategy::LeastInFlight => "least_in_flight",
                    RoutingStrategy::PeakEwma => "peak_ewma",
                }
                .to_owned()
            }),
            row("routing.last_resort", &self.last_resort, ToString::to_string),
            row("routing.default_provider", &self.default_provider, |name| name.clone().unwrap_or_default()),
        ]
    }
}
