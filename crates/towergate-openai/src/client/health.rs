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

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = self.latency.as_millis();
        match &self.error {
            None => write!(f, "healthy, {} models, {latency} ms", self.models_seen),
            Some(error) => {
                write!(f, "not healthy after {latency} ms: {error}")?;
                // Who failed is the service; how, its error says.
                std::error::Error::source(error).map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
        }
    }
}
