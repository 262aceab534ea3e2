//! Whether the API answers.

use std::{
    error::Error as _,
    fmt,
    time::{Duration, SystemTime},
};

use super::ClientError;

/// The result of a health check.
#[derive(Debug)]
#[non_exhaustive]
pub struct Health {
    /// Whether the list of models came back.
    pub healthy: bool,
    /// How long it took, or how long until it failed.
    pub latency: Duration,
    /// Why it is not healthy.
    pub error: Option<ClientError>,
    /// When the check began.
    pub checked_at: SystemTime,
    /// How many models there are.
    pub models_seen: usize,
}

impl Health {
    /// Why it is not healthy, in words: what the API answered, or what failed on the way.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        // Who failed is the service; how, its error says.
        Some(error.source().map_or_else(|| error.to_string(), ToString::to_string))
    }

    /// What is behind the reason, outermost first: for a log or for operators, since it may name hosts and ports that
    /// are nobody else's business.
    #[must_use]
    pub fn causes(&self) -> Option<String> {
        let mut cause = self.error.as_ref()?.source()?.source();
        let mut causes = Vec::new();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        (!causes.is_empty()).then(|| causes.join(": "))
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = self.latency.as_millis();
        match self.reason() {
            None => write!(f, "healthy, {} models, {latency} ms", self.models_seen),
            Some(reason) => write!(f, "not healthy after {latency} ms: {reason}"),
        }
    }
}
