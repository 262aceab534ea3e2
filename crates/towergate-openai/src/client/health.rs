//! Whether the API answers.

use std::{
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
        Some(std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string))
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
