//! What is worth another attempt.

use std::{error::Error as StdError, fmt};

use http::{HeaderMap, StatusCode};
use towergate_core::{Class, Clock, Error, ErrorKind, Sent, headers::X_SHOULD_RETRY};

/// Decides whether what came of an attempt is worth another one.
///
/// It says what should be done; whether it can be done (attempts, time, budget, the request body)
/// is the layer's business.
pub trait RetryPolicy: fmt::Debug + Send + Sync + 'static {
    /// Looks at one attempt.
    fn decide(&self, attempted: &Attempted<'_>) -> Verdict;
}

/// What came of an attempt.
#[derive(Debug)]
#[non_exhaustive]
pub enum Attempted<'a> {
    /// The upstream answered.
    #[non_exhaustive]
    Answer {
        /// The status.
        status: StatusCode,
        /// The headers.
        headers: &'a HeaderMap,
        /// What the answer means: the response extension, else what the status says.
        class: Class,
    },
    /// It did not.
    Failed(&'a (dyn StdError + 'static)),
}

/// What should be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it on: it is an answer, or it would be the same again.
    Return,
    /// Try again.
    Retry {
        /// Why.
        reason: Reason,
        /// Whether the upstream may have done the work, and billed it, all the same.
        maybe_billed: bool,
    },
}

/// Why an attempt is repeated: a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Too many requests.
    RateLimited,
    /// The upstream gave up waiting for the request (408).
    RequestTimeout,
    /// The upstream is overloaded (503, 529).
    Overloaded,
    /// The upstream failed (500, 502, 504 and their kin).
    ServerError,
    /// A clock of the attempt ran out.
    Timeout(Clock),
    /// No connection.
    Connect,
    /// The connection broke.
    Connection,
    /// The answer was none.
    BadAnswer,
    /// The answer ended too early.
    Truncated,
    /// The credential was refused, and the provider has another one.
    OtherCredential,
    /// What a policy of one's own found.
    Other,
}

/// The matrix of OpenAI's API, and of most others: rate limits, 408, 5xx, broken connections,
/// timeouts of the attempt, and answers that are none.
///
/// Never repeated: what the client did wrong, a refused credential and a used-up quota (another key
/// might help, the same one does not), the clocks over all attempts, an upload that paused, what the
/// gateway itself refused, and errors that are not [`towergate_core::Error`].
///
/// An upstream's `x-should-retry: false` is obeyed. Its `true` changes nothing: of the answers that
/// are not repeated anyway, none gets better by the same request.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultPolicy;

// === impl DefaultPolicy ===

impl RetryPolicy for DefaultPolicy {
    fn decide(&self, attempted: &Attempted<'_>) -> Verdict {
        match attempted {
            Attempted::Answer { headers, class, .. } => {
                if class.is_transient() && headers.get(X_SHOULD_RETRY).is_some_and(|value| value == "false") {
                    return Verdict::Return;
                }
                of_class(*class)
            }
            Attempted::Failed(error) => Error::find(*error).map_or(Verdict::Return, of_error),
        }
    }
}

fn of_class(class: Class) -> Verdict {
    let reason = match class {
        Class::RateLimited => Reason::RateLimited,
        Class::RequestTimeout => Reason::RequestTimeout,
        Class::Overloaded => Reason::Overloaded,
        Class::ServerError => Reason::ServerError,
        _ => return Verdict::Return,
    };
    Verdict::Retry { reason, maybe_billed: class.maybe_billed() }
}

fn of_error(error: &Error) -> Verdict {
    let unknown = error.sent() == Sent::Unknown;
    let (reason, maybe_billed) = match error.kind() {
        ErrorKind::Connect => (Reason::Connect, unknown),
        ErrorKind::Connection => (Reason::Connection, unknown),
        ErrorKind::Timeout(clock @ (Clock::Connect | Clock::Head | Clock::FirstEvent | Clock::Idle)) => {
            (Reason::Timeout(clock), unknown)
        }
        // Something was answered, so the request did arrive.
        ErrorKind::BadAnswer => (Reason::BadAnswer, true),
        ErrorKind::Truncated => (Reason::Truncated, true),
        ErrorKind::UpstreamStatus(status) => return of_class(Class::of_status(status)),
        _ => return Verdict::Return,
    };
    Verdict::Retry { reason, maybe_billed }
}

// === impl Reason ===

impl Reason {
    /// How many there are.
    pub(super) const COUNT: usize = 10 + Clock::ALL.len();

    /// The metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => Class::RateLimited.as_str(),
            Self::RequestTimeout => Class::RequestTimeout.as_str(),
            Self::Overloaded => Class::Overloaded.as_str(),
            Self::ServerError => Class::ServerError.as_str(),
            Self::Timeout(clock) => clock.code(),
            Self::Connect => "connect",
            Self::Connection => "connection",
            Self::BadAnswer => "bad_answer",
            Self::Truncated => "truncated",
            Self::OtherCredential => "other_credential",
            Self::Other => "other",
        }
    }

    /// Its place in a table of metric handles.
    pub(super) fn index(self) -> usize {
        match self {
            Self::RateLimited => 0,
            Self::RequestTimeout => 1,
            Self::Overloaded => 2,
            Self::ServerError => 3,
            Self::Connect => 4,
            Self::Connection => 5,
            Self::BadAnswer => 6,
            Self::Truncated => 7,
            Self::Other => 8,
            Self::OtherCredential => 9,
            Self::Timeout(clock) => 10 + Clock::ALL.iter().position(|known| *known == clock).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;

    fn answer(status: u16, should_retry: Option<&'static str>) -> Verdict {
        let status = StatusCode::from_u16(status).unwrap();
        classified(status, Class::of_status(status), should_retry)
    }

    fn classified(status: StatusCode, class: Class, should_retry: Option<&'static str>) -> Verdict {
        let mut headers = HeaderMap::new();
        if let Some(value) = should_retry {
            headers.insert(X_SHOULD_RETRY, HeaderValue::from_static(value));
        }
        DefaultPolicy.decide(&Attempted::Answer { status, headers: &headers, class })
    }

    fn failed(kind: ErrorKind, sent: Sent) -> Verdict {
        DefaultPolicy.decide(&Attempted::Failed(&Error::new(kind, "x").with_sent(sent)))
    }

    fn retry(reason: Reason, maybe_billed: bool) -> Verdict {
        Verdict::Retry { reason, maybe_billed }
    }

    #[test]
    fn answers_go_by_the_matrix() {
        for status in [200, 204, 302, 304, 400, 401, 403, 404, 409, 413, 422, 451] {
            for hint in [None, Some("true"), Some("false")] {
                assert_eq!(answer(status, hint), Verdict::Return, "{status}");
            }
        }
        for (status, reason, maybe_billed) in [
            (408, Reason::RequestTimeout, true),
            (429, Reason::RateLimited, false),
            (500, Reason::ServerError, true),
            (502, Reason::ServerError, true),
            (503, Reason::Overloaded, false),
            (504, Reason::ServerError, true),
            (529, Reason::Overloaded, false),
        ] {
            assert_eq!(answer(status, None), retry(reason, maybe_billed), "{status}");
            assert_eq!(answer(status, Some("true")), retry(reason, maybe_billed), "{status}");
            assert_eq!(answer(status, Some("false")), Verdict::Return, "{status}");
        }
        let quota = classified(StatusCode::TOO_MANY_REQUESTS, Class::QuotaExhausted, None);
        assert_eq!(quota, Verdict::Return);
    }

    #[test]
    fn errors_go_by_the_matrix() {
        for sent in [Sent::Nothing, Sent::NotProcessed, Sent::Unknown] {
            let unknown = sent == Sent::Unknown;
            assert_eq!(failed(ErrorKind::Connect, sent), retry(Reason::Connect, unknown));
            assert_eq!(failed(ErrorKind::Connection, sent), retry(Reason::Connection, unknown));
            assert_eq!(failed(ErrorKind::BadAnswer, sent), retry(Reason::BadAnswer, true));
            assert_eq!(failed(ErrorKind::Truncated, sent), retry(Reason::Truncated, true));
        }
        let status = |status| failed(ErrorKind::UpstreamStatus(status), Sent::Unknown);
        assert_eq!(status(StatusCode::BAD_GATEWAY), retry(Reason::ServerError, true));
        assert_eq!(status(StatusCode::NOT_FOUND), Verdict::Return);
        for kind in [
            ErrorKind::BadRequest,
            ErrorKind::Unauthorized,
            ErrorKind::Forbidden,
            ErrorKind::NotFound,
            ErrorKind::PayloadTooLarge,
            ErrorKind::ClientGone,
            ErrorKind::Overloaded,
            ErrorKind::Draining,
            ErrorKind::Unavailable,
            ErrorKind::UpstreamAuth,
            ErrorKind::Misconfigured,
            ErrorKind::Internal,
        ] {
            assert_eq!(failed(kind, Sent::Unknown), Verdict::Return, "{kind:?}");
        }
    }

    #[test]
    fn only_the_clocks_of_an_attempt_are_worth_another() {
        let timeout =
            |clock| DefaultPolicy.decide(&Attempted::Failed(&Error::timeout(clock, Duration::from_secs(1))));
        assert_eq!(timeout(Clock::Connect), retry(Reason::Timeout(Clock::Connect), false));
        for clock in [Clock::Head, Clock::FirstEvent, Clock::Idle] {
            assert_eq!(timeout(clock), retry(Reason::Timeout(clock), true));
        }
        for clock in [Clock::Total, Clock::ClientPatience, Clock::RequestBody] {
            assert_eq!(timeout(clock), Verdict::Return);
        }
    }

    #[test]
    fn foreign_errors_are_not_repeated_and_ours_is_found_inside_them() {
        let foreign = std::io::Error::other("no idea");
        assert_eq!(DefaultPolicy.decide(&Attempted::Failed(&foreign)), Verdict::Return);
        let wrapped = std::io::Error::other(Error::new(ErrorKind::Connect, "refused"));
        assert_eq!(DefaultPolicy.decide(&Attempted::Failed(&wrapped)), retry(Reason::Connect, false));
    }

    #[test]
    fn every_reason_has_its_own_label_and_place() {
        let mut reasons = vec![
            Reason::RateLimited,
            Reason::RequestTimeout,
            Reason::Overloaded,
            Reason::ServerError,
            Reason::Connect,
            Reason::Connection,
            Reason::BadAnswer,
            Reason::Truncated,
            Reason::Other,
            Reason::OtherCredential,
        ];
        reasons.extend(Clock::ALL.map(Reason::Timeout));
        let places: Vec<usize> = reasons.iter().map(|reason| reason.index()).collect();
        assert_eq!(places, (0..Reason::COUNT).collect::<Vec<_>>());
        let labels: std::collections::HashSet<_> = reasons.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(labels.len(), Reason::COUNT);
    }
}
