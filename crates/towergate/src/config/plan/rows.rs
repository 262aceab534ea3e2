//! A provider's settings as text, for `explain`.

use std::time::Duration;

use super::{
    super::{
        setting::{Row, row, seconds},
        types::HttpVersion,
    },
    KeyReference, ProviderPlan,
};

impl ProviderPlan {
    /// Every setting as text, with where it comes from.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let by_request =
            |time: &Option<Duration>| time.map_or_else(|| "by the request".to_owned(), |time| seconds(&time));
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        let (clocks, retry, breaker) = (&self.timeouts, &self.retry, &self.breaker);
        let checks = &self.health_checks;
        vec![
            row("base_url", &self.base_url, Clone::clone),
            row("api_key", &self.key, KeyReference::describe),
            row("organization", &self.organization, or_none),
            row("project", &self.project, or_none),
            row("http_version", &self.http_version, |version| {
                match version {
                    HttpVersion::Http1 => "1.1",
                    HttpVersion::Http2 => "2",
                }
                .to_owned()
            }),
            row("usage_in_streams", &self.usage_in_streams, |asked| match asked {
                Some(asked) => asked.to_string(),
                None => "where the host is OpenAI's".to_owned(),
            }),
            row("priority", &self.priority, ToString::to_string),
            row("weight", &self.weight, ToString::to_string),
            row("timeouts.connect", &clocks.connect, seconds),
            row("timeouts.head", &clocks.head, by_request),
            row("timeouts.first_event", &clocks.first_event, by_request),
            row("timeouts.idle", &clocks.idle, by_request),
            row("timeouts.tunnel_idle", &clocks.tunnel_idle, seconds),
            row("max_retries", &self.max_retries, ToString::to_string),
            row("retry.max_backoff", &retry.max_backoff, seconds),
            row("retry.jitter", &retry.jitter, ToString::to_string),
            row("retry.max_retry_after", &retry.max_retry_after, seconds),
            row("retry.maybe_billed", &retry.maybe_billed, ToString::to_string),
            row("retry.budget_ratio", &retry.budget_ratio, ToString::to_string),
            row("retry.budget_min_per_second", &retry.budget_min_per_second, ToString::to_string),
            row("breaker.enabled", &breaker.enabled, ToString::to_string),
            row("breaker.consecutive_failures", &breaker.consecutive_failures, ToString::to_string),
            row("breaker.failure_ratio", &breaker.failure_ratio, ToString::to_string),
            row("breaker.min_requests", &breaker.min_requests, ToString::to_string),
            row("breaker.window", &breaker.window, seconds),
            row("breaker.open_for", &breaker.open_for, seconds),
            row("breaker.max_open_for", &breaker.max_open_for, seconds),
            row("breaker.probes", &breaker.probes, ToString::to_string),
            row("health_checks.enabled", &checks.enabled, ToString::to_string),
            row("health_checks.interval", &checks.interval, seconds),
            row("health_checks.timeout", &checks.timeout, seconds),
            row("health_checks.unhealthy_after", &checks.unhealthy_after, ToString::to_string),
            row("health_checks.healthy_after", &checks.healthy_after, ToString::to_string),
            row("pool.idle_timeout", &self.pool_idle_timeout, seconds),
            row("pool.max_idle", &self.pool_max_idle, ToString::to_string),
        ]
    }
}
