//! When an upstream asked to be called again.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, header::RETRY_AFTER};
use towergate_core::headers::RETRY_AFTER_MS;

/// How long an answer asks its reader to wait: `retry-after-ms` (milliseconds, OpenAI's own and
/// finer), else `Retry-After` (seconds or an HTTP date; RFC 9110, section 10.2.3).
///
/// Fractions are understood in both. What is not a number or a date, zero, and a date that is not
/// after `now` say nothing. A number that no [`Duration`] holds is the longest one.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
/// use towergate_layers::retry::retry_after;
///
/// let mut headers = HeaderMap::new();
/// headers.insert(RETRY_AFTER, HeaderValue::from_static("20"));
/// assert_eq!(retry_after(&headers, SystemTime::now()), Some(Duration::from_secs(20)));
/// headers.insert("retry-after-ms", HeaderValue::from_static("1500"));
/// assert_eq!(retry_after(&headers, SystemTime::now()), Some(Duration::from_millis(1500)));
/// ```
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let millis = text(RETRY_AFTER_MS).and_then(|text| number(text, 1_000.0));
    millis
        .or_else(|| {
            let text = text(RETRY_AFTER)?;
            number(text, 1.0).or_else(|| date(text, now))
        })
        .filter(|wait| !wait.is_zero())
}

/// A plain decimal number; Rust reads more than that (`inf`, `NaN`, `1e9`, a sign).
fn number(text: &str, per_second: f64) -> Option<Duration> {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let seconds = text.parse::<f64>().ok()? / per_second;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)).filter(|wait| !wait.is_zero())
}

fn date(text: &str, now: SystemTime) -> Option<Duration> {
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's own example.
    const EXAMPLE: u64 = 784_111_777;

    fn read(fields: &[(&'static str, &str)]) -> Option<Duration> {
        let headers = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(EXAMPLE - 10))
    }

    #[test]
    fn seconds_and_milliseconds() {
        assert_eq!(read(&[("retry-after", "20")]), Some(Duration::from_secs(20)));
        assert_eq!(read(&[("retry-after", " 1.5 ")]), Some(Duration::from_millis(1500)));
        assert_eq!(read(&[("retry-after-ms", "1.5")]), Some(Duration::from_micros(1500)));
        assert_eq!(
            read(&[("retry-after", "20"), ("retry-after-ms", "250")]),
            Some(Duration::from_millis(250))
        );
        assert_eq!(read(&[("retry-after", "2"), ("retry-after-ms", "soon")]), Some(Duration::from_secs(2)));
        assert_eq!(read(&[("retry-after", "2"), ("retry-after-ms", "0")]), Some(Duration::from_secs(2)));
    }

    #[test]
    fn dates_in_all_three_forms() {
        for date in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(read(&[("retry-after", date)]), Some(Duration::from_secs(10)), "{date}");
        }
        assert_eq!(read(&[("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT")]), None);
        assert_eq!(read(&[("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT")]), None);
    }

    #[test]
    fn what_says_nothing() {
        assert_eq!(read(&[]), None);
        for value in
            ["", "0", "0.0", "-1", "+1", "NaN", "inf", "infinity", "1e3", ".", "1.2.3", "soon", "1s", "0x10"]
        {
            assert_eq!(read(&[("retry-after", value)]), None, "{value}");
            assert_eq!(read(&[("retry-after-ms", value)]), None, "{value}");
        }
    }

    #[test]
    fn too_large_is_the_longest() {
        for value in ["99999999999999999999999999", &"9".repeat(500)] {
            assert_eq!(read(&[("retry-after", value)]), Some(Duration::MAX));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(ms: Vec<u8>, after: Vec<u8>, now: u32) {
            let mut headers = HeaderMap::new();
            for (name, value) in [("retry-after-ms", ms), ("retry-after", after)] {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.insert(name, value);
                }
            }
            let wait = retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(now.into()));
            prop_assert_ne!(wait, Some(Duration::ZERO));
        }

        #[test]
        fn whole_seconds_are_exact(seconds in 1..1_000_000_u64) {
            prop_assert_eq!(read(&[("retry-after", &seconds.to_string())]), Some(Duration::from_secs(seconds)));
        }
    }
}
