//! [`Outcome`]: how a request, or one attempt of it, ended. Exactly one each.

use http::StatusCode;

use crate::{BoxError, Clock, Error, ErrorKind, Origin};

/// How a request or an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The whole answer was handed on.
    Completed,
    /// The client's own making: a 4xx, of ours or of the upstream's.
    ClientError,
    /// The upstream failed: no connection, a broken one, a 5xx, a 429, an answer that is none.
    UpstreamError,
    /// A clock ran out.
    Timeout(Clock),
    /// Turned away because too much was under way, or because the gateway is shutting down.
    Shed,
    /// The answer ended before it was complete.
    Truncated,
    /// The client stopped reading for longer than the write-progress clock allows.
    ClientStalled,
    /// The client went away before the head of the answer.
    ClientGoneBeforeHead,
    /// The client went away inside the body of the answer.
    ClientGoneInBody,
    /// A fault of the gateway itself.
    Internal,
}

// === impl Outcome ===

impl Outcome {
    /// Every outcome; a metric has one series for each.
    pub const ALL: [Self; 16] = [
        Self::Completed,
        Self::ClientError,
        Self::UpstreamError,
        Self::Timeout(Clock::Connect),
        Self::Timeout(Clock::RequestBody),
        Self::Timeout(Clock::Head),
        Self::Timeout(Clock::FirstEvent),
        Self::Timeout(Clock::Idle),
        Self::Timeout(Clock::Total),
        Self::Timeout(Clock::ClientPatience),
        Self::Shed,
        Self::Truncated,
        Self::ClientStalled,
        Self::ClientGoneBeforeHead,
        Self::ClientGoneInBody,
        Self::Internal,
    ];

    /// The metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientError => "client_error",
            Self::UpstreamError => "upstream_error",
            Self::Timeout(clock) => clock.code(),
            Self::Shed => "shed",
            Self::Truncated => "truncated",
            Self::ClientStalled => "client_stalled",
            Self::ClientGoneBeforeHead => "client_gone_before_head",
            Self::ClientGoneInBody => "client_gone_in_body",
            Self::Internal => "internal",
        }
    }

    /// Its place in [`ALL`](Self::ALL), for tables of metric handles.
    #[must_use]
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|outcome| *outcome == self).unwrap_or(Self::ALL.len() - 1)
    }

    /// The outcome that an answer with this status has, once its body is complete.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::TOO_MANY_REQUESTS => Self::UpstreamError,
            _ if status.is_client_error() => Self::ClientError,
            _ if status.is_server_error() => Self::UpstreamError,
            _ => Self::Completed,
        }
    }

    /// The outcome that an error means.
    #[must_use]
    pub fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Timeout(clock) => Self::Timeout(clock),
            ErrorKind::TooManyRequests | ErrorKind::Overloaded | ErrorKind::Draining => Self::Shed,
            ErrorKind::Truncated => Self::Truncated,
            ErrorKind::ClientGone => Self::ClientGoneBeforeHead,
            _ => match kind.origin() {
                Origin::Client => Self::ClientError,
                Origin::Gateway => Self::Internal,
                Origin::Upstream => Self::UpstreamError,
            },
        }
    }

    /// The outcome of an answer whose body ended with this error; one that is not ours is a broken
    /// transport, and the answer is cut short.
    #[must_use]
    pub fn of_body_error(error: &BoxError) -> Self {
        Error::find(&**error).map_or(Self::Truncated, |ours| match ours.kind() {
            ErrorKind::Connection => Self::Truncated,
            ErrorKind::ClientGone => Self::ClientGoneInBody,
            kind => Self::of_kind(kind),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_label_and_place() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), place);
            let same = Outcome::ALL.iter().filter(|other| other.as_str() == outcome.as_str());
            assert_eq!(same.count(), 1, "{}", outcome.as_str());
        }
        for clock in Clock::ALL {
            assert!(Outcome::ALL.contains(&Outcome::Timeout(clock)));
        }
    }
}
