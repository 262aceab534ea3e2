//! [`Class`]: what an upstream's answer means, for retry and for the client.

use std::time::Duration;

use http::StatusCode;

/// What an upstream's answer means. A response extension, set by whoever could read the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// An answer: it goes to the client as it is. Redirects too; they are never followed.
    Success,
    /// The request itself is wrong: it would be refused again.
    CallerError,
    /// The upstream refused the gateway's credential.
    AuthRefused,
    /// Too many requests: waiting helps.
    RateLimited,
    /// No credit or quota left: waiting does not help, another key might.
    QuotaExhausted,
    /// The upstream gave up waiting for the request (408).
    RequestTimeout,
    /// Overloaded; it said so before it did any work (503, 529).
    Overloaded,
    /// Failed, perhaps after it did the work (500, 502, 504 and their kin).
    ServerError,
}

/// When an upstream asked to be called again: `Retry-After`, or `retry-after-ms` which is finer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

// === impl Class ===

impl Class {
    /// What a status means where nothing else is known.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::AuthRefused,
            408 => Self::RequestTimeout,
            429 => Self::RateLimited,
            503 | 529 => Self::Overloaded,
            400..500 => Self::CallerError,
            500.. => Self::ServerError,
            _ => Self::Success,
        }
    }

    /// Whether the same request may succeed at the same place a moment later.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::RateLimited | Self::RequestTimeout | Self::Overloaded | Self::ServerError)
    }

    /// Whether the upstream may have done the work, and billed it, all the same.
    #[must_use]
    pub fn maybe_billed(self) -> bool {
        matches!(self, Self::ServerError | Self::RequestTimeout)
    }

    /// A metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::CallerError => "caller_error",
            Self::AuthRefused => "auth_refused",
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::RequestTimeout => "request_timeout",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_the_matrix_says() {
        let class = |status| Class::of_status(StatusCode::from_u16(status).unwrap());
        for status in [200, 201, 204, 302, 304] {
            assert_eq!(class(status), Class::Success);
        }
        for status in [400, 403, 404, 409, 413, 422, 451] {
            assert_eq!(class(status), Class::CallerError);
        }
        for status in [408, 429, 500, 502, 503, 504, 529, 599] {
            assert!(class(status).is_transient());
        }
        assert!(!class(429).maybe_billed() && !class(503).maybe_billed() && class(500).maybe_billed());
    }
}
