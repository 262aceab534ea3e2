//! Who takes over from whom.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// Who takes over from whom.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingSection {
    /// Attempts that one request may take over all providers. Default: 4.
    #[schemars(range(min = 1))]
    pub max_attempts: Option<u32>,
    /// Who of several providers of one priority is asked first. Default: weighted.
    pub strategy: Option<RoutingStrategy>,
    /// Whether the provider that is free soonest is tried where all are set aside. Default: true.
    pub last_resort: Option<bool>,
    /// Who serves what is bound to one provider and does not say to which. Default: the first of the lowest priority.
    pub default_provider: Option<String>,
    /// For a model, the models to try where no provider of it answers.
    pub fallback_models: BTreeMap<String, Vec<String>>,
    /// For a model, the models to try where a request is longer than its context.
    pub context_length_fallbacks: BTreeMap<String, Vec<String>>,
    /// For a model, the models to try where it refuses a request for its content.
    pub content_policy_fallbacks: BTreeMap<String, Vec<String>>,
}

/// Who of several providers of one priority is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoutingStrategy {
    /// In turns, each with its share by weight to within one request.
    Weighted,
    /// Of two drawn by lot the one with fewer requests under way.
    LeastInFlight,
    /// Of two drawn by lot the one that is expected to answer sooner, by what was seen of it.
    PeakEwma,
}
