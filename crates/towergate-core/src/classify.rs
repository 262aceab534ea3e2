//! [`Class`]: what an upstream's answer means, for retry and for the client.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, StatusCode, header::RETRY_AFTER};

use crate::headers::RETRY_AFTER_MS;

/// What an upstream's answer means. A response extension, set by whoever could read the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// An answer: it goes to the client as it is. Redirects too; they are never followed.
    Success,
    /// The request itself is wrong: it would be refused again.
    CallerError,
    /// The request is longer than the model's context: a model with a larger one may take it.
    ContextLength,
    /// The request was refused for its content: another model may judge otherwise.
    ContentPolicy,
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
            // RFC 5842, section 7.2: it would go round again.
            400..500 | 508 => Self::CallerError,
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
            Self::ContextLength => "context_length",
            Self::ContentPolicy => "content_policy",
            Self::AuthRefused => "auth_refused",
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::RequestTimeout => "request_timeout",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
        }
    }
}

// === impl RetryAfter ===

impl RetryAfter {
    /// How long an answer asks its reader to wait: `retry-after-ms` (milliseconds; OpenAI's own, and
    /// finer), else `Retry-After` (seconds or an HTTP date; RFC 9110, section 10.2.3).
    ///
    /// Fractions are understood in both. Zero, a date that is not after `now`, and what is neither a
    /// plain number nor a date say nothing. A number that no [`Duration`] holds is the longest one.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use http::{HeaderMap, HeaderValue};
    /// use towergate_core::classify::RetryAfter;
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert("retry-after", HeaderValue::from_static("2"));
    /// headers.insert("retry-after-ms", HeaderValue::from_static("1500"));
    /// let wait = RetryAfter::of(&headers, SystemTime::now());
    /// assert_eq!(wait, Some(RetryAfter(Duration::from_millis(1500))));
    /// ```
    #[must_use]
    pub fn of(headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
        text(&RETRY_AFTER_MS)
            .and_then(|text| plain_number(text, 1_000.0))
            .or_else(|| {
                let text = text(&RETRY_AFTER)?;
                plain_number(text, 1.0)
                    .or_else(|| httpdate::parse_http_date(text).ok()?.duration_since(now).ok())
            })
            .filter(|wait| !wait.is_zero())
            .map(Self)
    }
}

/// Digits and a point: Rust's own parser takes more than that (`inf`, `NaN`, `1e9`, a sign).
fn plain_number(text: &str, per_second: f64) -> Option<Duration> {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let seconds = text.parse::<f64>().ok()? / per_second;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// The example of RFC 9110, section 5.6.7, in seconds since 1970.
    const EXAMPLE: u64 = 784_111_777;

    fn wait(fields: &[(&'static str, &str)]) -> Option<Duration> {
        let headers = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(EXAMPLE - 10);
        RetryAfter::of(&headers, now).map(|after| after.0)
    }

    #[test]
    fn a_wait_is_read_in_all_its_forms() {
        let ms = Duration::from_millis;
        assert_eq!(wait(&[("retry-after", "46")]), Some(ms(46_000)));
        assert_eq!(wait(&[("retry-after", "1.5")]), Some(ms(1_500)));
        assert_eq!(wait(&[("retry-after", "46"), ("retry-after-ms", "45190")]), Some(ms(45_190)));
        assert_eq!(wait(&[("retry-after", "2"), ("retry-after-ms", "soon")]), Some(ms(2_000)));
        for date in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(wait(&[("retry-after", date)]), Some(ms(10_000)), "{date}");
        }
        assert_eq!(wait(&[("retry-after", "99999999999999999999999999")]), Some(Duration::MAX));
    }

    #[test]
    fn what_is_no_wait_says_nothing() {
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT")]), None);
        for text in ["", "0", "0.0", "-1", "+1", "NaN", "inf", "1e3", ".", "1.2.3", "soon", "1s"] {
            assert_eq!(wait(&[("retry-after", text)]), None, "{text}");
            assert_eq!(wait(&[("retry-after-ms", text)]), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(ms: Vec<u8>, after: Vec<u8>, now: u32) {
            let mut headers = HeaderMap::new();
            for (name, value) in [("retry-after-ms", ms), ("retry-after", after)] {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.insert(name, value);
                }
            }
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.into());
            let wait = RetryAfter::of(&headers, now);
            prop_assert!(wait.is_none_or(|wait| !wait.0.is_zero()));
        }
    }

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
