//! The fault language.

use std::{fmt, str::FromStr, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER};
use towergate_core::headers::RETRY_AFTER_MS;

use super::{Broken, Ending, ErrorAt, ErrorBody, Fault, Head, Replaced};

/// More tokens than this a reply cannot be asked to have.
const MAX_TOKENS: u64 = 1_000_000;

/// A text that is no fault: names the directive at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFault {
    directive: String,
}

impl FromStr for Fault {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        let mut fault = Self::new();
        for directive in text.split(';').map(str::trim).filter(|directive| !directive.is_empty()) {
            apply(&mut fault, directive).ok_or_else(|| BadFault { directive: directive.to_owned() })?;
        }
        Ok(fault)
    }
}

impl TryFrom<&str> for Fault {
    type Error = BadFault;

    fn try_from(text: &str) -> Result<Self, BadFault> {
        text.parse()
    }
}

impl TryFrom<String> for Fault {
    type Error = BadFault;

    fn try_from(text: String) -> Result<Self, BadFault> {
        text.parse()
    }
}

fn apply(fault: &mut Fault, directive: &str) -> Option<()> {
    match directive.split_once('=') {
        None => word(fault, directive),
        Some((name, value)) => setting(fault, name.trim(), value.trim()),
    }
}

fn word(fault: &mut Fault, word: &str) -> Option<()> {
    match word {
        "ok" => {}
        "no-read" => fault.read_only = Some(0),
        "stall-head" => fault.head = Head::Stall,
        "reset-before-head" => fault.head = Head::Broken(Broken::Reset),
        "close-before-head" => fault.head = Head::Broken(Broken::Close),
        "refuse-stream" => fault.head = Head::Broken(Broken::Refuse),
        "empty-200" => fault.replaced = Some(Replaced::Empty),
        "html-200" => fault.replaced = Some(Replaced::Html),
        "wrong-content-type" => fault.wrong_content_type = true,
        "gzip" => fault.gzip = true,
        "no-done" => fault.no_done = true,
        "no-finish" => fault.no_finish = true,
        "comments" => fault.comments = u64::MAX,
        "byte-by-byte" => fault.split = Some(1),
        "crlf" => fault.line_end = "\r\n",
        "cr" => fault.line_end = "\r",
        "bom" => fault.bom = true,
        "chunked" => fault.chunked = true,
        "close-idle" => fault.close_idle = true,
        _ => fault.status = Some(status(word)?),
    }
    Some(())
}

fn setting(fault: &mut Fault, name: &str, value: &str) -> Option<()> {
    match name {
        "read-only" => fault.read_only = Some(size(value)?),
        "delay-head" => fault.delay_head = duration(value)?,
        "status" => fault.status = Some(status(value)?),
        "code" => fault.code = Some(value.to_owned()),
        "type" => fault.kind = Some(value.to_owned()),
        "message" => fault.message = Some(value.to_owned()),
        "error-body" => fault.error_body = error_body(value)?,
        "retry-after" => fault.headers.push((RETRY_AFTER, value.parse().ok()?)),
        "retry-after-ms" => fault.headers.push((RETRY_AFTER_MS, value.parse().ok()?)),
        "header" => fault.headers.push(header(value)?),
        "delay-at" => {
            let (index, delay) = value.split_once(':')?;
            fault.delay_at = Some((number(index)?, duration(delay)?));
        }
        "stall-after" => fault.end = Some((number(value)?, Ending::Stall)),
        "reset-after" => fault.end = Some((number(value)?, Ending::Reset)),
        "cut-after" => fault.end = Some((number(value)?, Ending::Cut)),
        "truncate-after" => fault.end = Some((number(value)?, Ending::Truncate)),
        "cut-json" => {
            fault.end = Some((1, Ending::Cut));
            fault.chunked = match value {
                "half" => false,
                "chunked" => true,
                _ => return None,
            };
        }
        "bad-json-at" => fault.bad_json_at = Some(number(value)?),
        "error-at" => fault.error_at = Some(error_at(value, false)?),
        "failed-at" => fault.error_at = Some(error_at(value, true)?),
        "comments" if value == "endless" => fault.comments = u64::MAX,
        "comments" => fault.comments = number(value)?,
        "huge-event" => fault.huge_event = Some(size(value)?),
        "bytes" => fault.bytes = Some(size(value)?),
        "tokens" => {
            let tokens = number(value).filter(|tokens| *tokens <= MAX_TOKENS)?;
            fault.tokens = Some(usize::try_from(tokens).ok()?);
        }
        "split" => {
            let size = size(value).filter(|size| *size > 0)?;
            fault.split = Some(usize::try_from(size).ok()?);
        }
        "slow-chunks" => fault.slow_chunks = duration(value)?,
        "times" => fault.times = Some(value.parse().ok().filter(|times| *times > 0)?),
        _ => return None,
    }
    Some(())
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn status(text: &str) -> Option<StatusCode> {
    // Informational answers are not hyper's to give out of turn, and no status is above 599.
    text.parse().ok().filter(|status: &StatusCode| (200..600).contains(&status.as_u16()) && text.len() == 3)
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|char: char| !char.is_ascii_digit())?;
    let (count, unit) = text.split_at(digits);
    let count = number(count)?;
    match unit {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_secs(count.checked_mul(60)?)),
        _ => None,
    }
}

fn size(text: &str) -> Option<u64> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let unit = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number(count)?.checked_mul(unit)
}

fn header(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
}

fn error_body(text: &str) -> Option<ErrorBody> {
    Some(match text {
        "array" => ErrorBody::Array,
        "flat" => ErrorBody::Flat,
        "int-code" => ErrorBody::IntCode,
        "string" => ErrorBody::Text,
        "html" => ErrorBody::Html,
        "empty" => ErrorBody::Empty,
        _ => return None,
    })
}

fn error_at(text: &str, failed: bool) -> Option<ErrorAt> {
    let (index, code) = text.split_once(':').unwrap_or((text, "server_error"));
    Some(ErrorAt { index: number(index)?, code: code.to_owned(), failed })
}

impl fmt::Display for BadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no fault", self.directive)
    }
}

impl std::error::Error for BadFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_add_up() {
        let fault: Fault = "429; retry-after=2;code=slow_down; delay-head=500ms".parse().unwrap();
        assert_eq!(fault.status, Some(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(fault.code.as_deref(), Some("slow_down"));
        assert_eq!(fault.delay_head, Duration::from_millis(500));
        assert_eq!(fault.headers, [(RETRY_AFTER, HeaderValue::from_static("2"))]);
    }

    #[test]
    fn what_is_no_fault_is_named() {
        for bad in [
            "banana",
            "status=99",
            "status=101",
            "status=+20",
            "600",
            "delay-head=5",
            "delay-at=5s",
            "split=0",
            "times=0",
            "tokens=1000001",
            "bytes=99999999999GiB",
            "header=no colon",
            "header=x: a\u{1}",
            "retry-after=\u{7f}",
            "cut-json=third",
            "error-at=x",
            "error-body=pdf",
        ] {
            let error = format!("ok;{bad}").parse::<Fault>().unwrap_err();
            assert!(error.to_string().contains("is no fault"), "{error}");
            assert_eq!(error.directive, bad);
        }
    }

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(size("4MiB"), Some(4 << 20));
        assert_eq!(size("7"), Some(7));
        assert_eq!(duration("2s"), Some(Duration::from_secs(2)));
        assert_eq!(duration("1m"), Some(Duration::from_secs(60)));
    }
}
