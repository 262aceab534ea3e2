//! [`ProviderPlan`]: one provider with every setting in force, and where each comes from.
//!
//! The rule: the provider's own section, then `defaults`, then the `OPENAI_*` variables (for `type: openai`
//! without a base URL of its own), then what is built in. Where `timeout` and a clock of `timeouts` stand in
//! the same section, the clock wins.

mod keys;
mod resolver;
mod rows;

use std::time::Duration;

pub use self::keys::{KeyPlan, KeyReference};
use self::resolver::{Resolver, resolve};
use super::{
    Config,
    problem::Problem,
    setting::{Setting, Variables},
    types::{HttpVersion, ModelEntry, ModelSection, ProviderSection, ProviderType, Secret, Time, TlsSection},
};

/// A provider with every setting in force. Holds no secret that was given by reference.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderPlan {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ProviderType,
    /// Where it is.
    pub base_url: Setting<String>,
    /// Where its key comes from.
    pub key: Setting<KeyReference>,
    /// `OpenAI-Organization`.
    pub organization: Setting<Option<String>>,
    /// `OpenAI-Project`.
    pub project: Setting<Option<String>>,
    pub(super) headers: Vec<(String, Secret)>,
    pub(super) allow_headers: Vec<String>,
    pub(super) allow_trailers: Vec<String>,
    /// Whether streams are asked for their usage; `None`: where the host is OpenAI's.
    pub usage_in_streams: Setting<Option<bool>>,
    pub(super) tls: TlsSection,
    /// Its HTTP version.
    pub http_version: Setting<HttpVersion>,
    /// When it is chosen.
    pub priority: Setting<u32>,
    /// Its share.
    pub weight: Setting<f64>,
    /// What it serves: the clients' name for each model, and the settings. Empty: anything.
    pub models: Vec<(String, ModelSection)>,
    /// The clocks.
    pub timeouts: Clocks,
    /// Retries after the first attempt.
    pub max_retries: Setting<u32>,
    /// How it is retried.
    pub retry: Retry,
    /// When it is set aside.
    pub breaker: Breaker,
    /// How it is checked.
    pub health_checks: Checks,
    /// How long an idle connection is kept.
    pub pool_idle_timeout: Setting<Duration>,
    /// How many idle connections are kept.
    pub pool_max_idle: Setting<u32>,
}

/// The clocks of a provider; `None` where the clock depends on the request.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the settings of the same names have them")]
pub struct Clocks {
    pub connect: Setting<Duration>,
    pub head: Setting<Option<Duration>>,
    pub first_event: Setting<Option<Duration>>,
    pub idle: Setting<Option<Duration>>,
    pub tunnel_idle: Setting<Duration>,
}

/// How a provider is retried.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the settings of the same names have them")]
pub struct Retry {
    pub max_backoff: Setting<Duration>,
    pub jitter: Setting<bool>,
    pub max_retry_after: Setting<Duration>,
    pub maybe_billed: Setting<bool>,
    pub budget_ratio: Setting<f64>,
    pub budget_min_per_second: Setting<u32>,
}

/// When a provider is set aside.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the settings of the same names have them")]
pub struct Breaker {
    pub enabled: Setting<bool>,
    pub consecutive_failures: Setting<u32>,
    pub failure_ratio: Setting<f64>,
    pub min_requests: Setting<u32>,
    pub window: Setting<Duration>,
    pub open_for: Setting<Duration>,
    pub max_open_for: Setting<Duration>,
    pub probes: Setting<u32>,
}

/// How a provider is checked.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the settings of the same names have them")]
pub struct Checks {
    pub enabled: Setting<bool>,
    pub interval: Setting<Duration>,
    pub timeout: Setting<Duration>,
    pub unhealthy_after: Setting<u32>,
    pub healthy_after: Setting<u32>,
}

impl ProviderPlan {
    /// Every provider of a configuration, in the order of the file, and what is wrong with them.
    pub(super) fn all(config: &Config, variables: &Variables) -> (Vec<Self>, Vec<Problem>) {
        let mut names: Vec<&String> = config.file.providers.keys().collect();
        names.sort_by_key(|name| config.place(&format!("providers.{name}")));
        let mut problems = Vec::new();
        let plans = names
            .into_iter()
            .map(|name| Self::of(config, name, &config.file.providers[name], variables, &mut problems))
            .collect();
        (plans, problems)
    }

    fn of(
        config: &Config,
        name: &str,
        section: &ProviderSection,
        variables: &Variables,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let openai = section.kind.is_openai() && section.base_url.is_none();
        let mut resolver = Resolver { config, name, section, variables, openai, problems: Vec::new() };
        let base_url = match &section.base_url {
            Some(url) => {
                let value = resolver.text("base_url", url);
                Setting { value, origin: resolver.in_file(&resolver.own_path("base_url")) }
            }
            None => {
                let value = section.kind.base_url().unwrap_or_default().to_owned();
                Setting::built_in(value).overridden(resolver.variable("OPENAI_BASE_URL"))
            }
        };
        let mut optional = |path: &str, own: &Option<String>, variable: &'static str| match own {
            Some(text) => {
                let value = Some(resolver.text(path, text));
                Setting { value, origin: resolver.in_file(&resolver.own_path(path)) }
            }
            None => {
                let variable = resolver.variable(variable).map(|(value, origin)| (Some(value), origin));
                Setting::built_in(None).overridden(variable)
            }
        };
        let organization = optional("organization", &section.organization, "OPENAI_ORG_ID");
        let project = optional("project", &section.project, "OPENAI_PROJECT_ID");
        let key = KeyReference::of(&resolver);
        let mut models: Vec<(String, ModelSection)> = section
            .models
            .iter()
            .map(|(name, entry)| {
                let settings = match entry {
                    None => ModelSection::default(),
                    Some(ModelEntry::Upstream(upstream)) => {
                        ModelSection { upstream: Some(upstream.clone()), ..ModelSection::default() }
                    }
                    Some(ModelEntry::Settings(settings)) => settings.clone(),
                };
                (name.clone(), settings)
            })
            .collect();
        if let Some(model) = section.model.as_ref().filter(|model| !section.models.contains_key(*model)) {
            models.insert(0, (model.clone(), ModelSection::default()));
        }
        let own = |path: &str| resolver.in_file(&resolver.own_path(path));
        let priority = section.priority.map(|value| (value, own("priority")));
        let weight = section.weight.map(|value| (value, own("weight")));
        let usage = section.usage_in_streams.map(|value| (Some(value), own("usage_in_streams")));
        let known = section.kind.accepts_stream_options().then_some(true);
        let retries = resolver.variable("OPENAI_MAX_RETRIES");
        let retries = retries.and_then(|(text, origin)| Some((text.trim().parse().ok()?, origin)));
        let defaults = &config.file.defaults;
        let time = |Time(time)| time;
        let second = Duration::from_secs;
        let plan = Self {
            name: name.to_owned(),
            kind: section.kind,
            base_url,
            key,
            organization,
            project,
            headers: section.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            allow_headers: section.allow_headers.clone(),
            allow_trailers: section.allow_trailers.clone(),
            usage_in_streams: Setting::built_in(known).overridden(usage),
            tls: section.tls.clone(),
            http_version: resolve!(resolver, http_version, "http_version", |it| it, HttpVersion::Http1),
            priority: Setting::built_in(1).overridden(priority),
            weight: Setting::built_in(1.0).overridden(weight),
            models,
            timeouts: Clocks {
                connect: resolve!(resolver, timeouts.connect, "timeouts.connect", time, second(30)),
                head: resolver.clock("timeouts.head", section.timeouts.head, defaults.timeouts.head),
                first_event: resolver.clock(
                    "timeouts.first_event",
                    section.timeouts.first_event,
                    defaults.timeouts.first_event,
                ),
                idle: resolver.clock("timeouts.idle", section.timeouts.idle, defaults.timeouts.idle),
                tunnel_idle: resolve!(
                    resolver,
                    timeouts.tunnel_idle,
                    "timeouts.tunnel_idle",
                    time,
                    second(600)
                ),
            },
            max_retries: resolver
                .pick("max_retries", section.max_retries, defaults.max_retries, retries)
                .unwrap_or_else(|| Setting::built_in(3)),
            retry: Retry {
                max_backoff: resolve!(resolver, retry.max_backoff, "retry.max_backoff", time, second(30)),
                jitter: resolve!(resolver, retry.jitter, "retry.jitter", |it| it, true),
                max_retry_after: resolve!(
                    resolver,
                    retry.max_retry_after,
                    "retry.max_retry_after",
                    time,
                    second(30)
                ),
                maybe_billed: resolve!(resolver, retry.maybe_billed, "retry.maybe_billed", |it| it, true),
                budget_ratio: resolve!(resolver, retry.budget_ratio, "retry.budget_ratio", |it| it, 0.2),
                budget_min_per_second: resolve!(
                    resolver,
                    retry.budget_min_per_second,
                    "retry.budget_min_per_second",
                    |it| it,
                    10
                ),
            },
            breaker: Breaker {
                enabled: resolve!(resolver, breaker.enabled, "breaker.enabled", |it| it, true),
                consecutive_failures: resolve!(
                    resolver,
                    breaker.consecutive_failures,
                    "breaker.consecutive_failures",
                    |it| it,
                    5
                ),
                failure_ratio: resolve!(
                    resolver,
                    breaker.failure_ratio,
                    "breaker.failure_ratio",
                    |it| it,
                    0.5
                ),
                min_requests: resolve!(resolver, breaker.min_requests, "breaker.min_requests", |it| it, 20),
                window: resolve!(resolver, breaker.window, "breaker.window", time, second(10)),
                open_for: resolve!(resolver, breaker.open_for, "breaker.open_for", time, second(5)),
                max_open_for: resolve!(
                    resolver,
                    breaker.max_open_for,
                    "breaker.max_open_for",
                    time,
                    second(30)
                ),
                probes: resolve!(resolver, breaker.probes, "breaker.probes", |it| it, 1),
            },
            health_checks: Checks {
                enabled: resolve!(
                    resolver,
                    health_checks.enabled,
                    "health_checks.enabled",
                    |it| it,
                    section.pass_through_auth != Some(true)
                ),
                interval: resolve!(
                    resolver,
                    health_checks.interval,
                    "health_checks.interval",
                    time,
                    second(30)
                ),
                timeout: resolve!(resolver, health_checks.timeout, "health_checks.timeout", time, second(5)),
                unhealthy_after: resolve!(
                    resolver,
                    health_checks.unhealthy_after,
                    "health_checks.unhealthy_after",
                    |it| it,
                    3
                ),
                healthy_after: resolve!(
                    resolver,
                    health_checks.healthy_after,
                    "health_checks.healthy_after",
                    |it| it,
                    2
                ),
            },
            pool_idle_timeout: resolve!(resolver, pool.idle_timeout, "pool.idle_timeout", time, second(30)),
            pool_max_idle: resolve!(resolver, pool.max_idle, "pool.max_idle", |it| it, 256),
        };
        problems.append(&mut resolver.problems);
        plan
    }

    /// Whether a provider that was built of `other` does for this one too: only what the router knows differs.
    pub(super) fn is_served_by(&self, other: &Self) -> bool {
        let Self { priority, weight, models, health_checks, .. } = self.clone();
        *self == Self { priority, weight, models, health_checks, ..other.clone() }
    }
}
