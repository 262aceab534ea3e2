//! What the client gets: for an error, and for an answer of the upstream's that failed.

use std::{io::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    response::Parts,
};
use tokio::time::Instant;
use towergate_core::{
    Class, Clock, Error, ErrorKind, Origin,
    classify::RetryAfter,
    context::{Answered, CallerCredential, Failed, GaveUp, RequestRecord, Served, Withheld},
    headers::{
        self, PROXY_STATUS, RETRY_AFTER_MS, X_REQUEST_ID, X_SHOULD_RETRY, X_TOWERGATE_ATTEMPTS,
        X_TOWERGATE_FALLBACKS, X_TOWERGATE_MODEL, X_TOWERGATE_OVERHEAD_MS, X_TOWERGATE_PROVIDER,
        X_UPSTREAM_REQUEST_ID,
    },
    label::Label,
    protocol::RenderError,
};

use super::body::ResponseBody;
use crate::report::Causes;

/// One request on its way.
pub(super) struct Exchange {
    pub(super) renderer: Arc<dyn RenderError>,
    pub(super) record: Arc<RequestRecord>,
    pub(super) grace: Duration,
    pub(super) keep_alive: Option<Duration>,
    pub(super) head_only: bool,
    /// The request brought a credential.
    pub(super) credentialed: bool,
    pub(super) started: Instant,
}

/// What becomes of an answer of the upstream's.
pub(super) enum Verdict {
    /// It passes.
    Pass,
    /// It passes, and the client is told not to try again: the gateway did what can be done.
    PassForGood,
    /// An envelope takes its place, with this status.
    Replace(Error, StatusCode),
}

impl Verdict {
    /// What the matrix says of an answer; see the [module](super).
    pub(super) fn of(parts: &Parts) -> Self {
        let Some(Answered { provider }) = parts.extensions.get() else { return Self::Pass };
        let status = parts.status;
        if status.as_u16() < 400 {
            return Self::Pass;
        }
        let class = parts.extensions.get().copied().unwrap_or_else(|| Class::of_status(status));
        if class == Class::AuthRefused && parts.extensions.get::<CallerCredential>().is_none() {
            // Its text is not forwarded and not logged: it may quote the key.
            tracing::error!(provider = %provider, status = status.as_u16(), "the provider refused the gateway's credential");
            let error = Error::new(ErrorKind::UpstreamAuth, "it refused the gateway's own credential")
                .with_provider(provider.clone());
            return Self::Replace(error, ErrorKind::UpstreamAuth.status());
        }
        if status == StatusCode::LOOP_DETECTED {
            // Said by ourselves, one round further.
            return Self::PassForGood;
        }
        if status.is_server_error() || status.as_u16() >= 600 {
            let asks_to_wait = status == StatusCode::SERVICE_UNAVAILABLE && has_retry_after(parts);
            let mut error = upstream_status(status, provider);
            if parts.extensions.get() == Some(&GaveUp::NotReplayable) {
                error.add(GaveUp::UNREPEATED);
            }
            return Self::Replace(error, if asks_to_wait { status } else { StatusCode::BAD_GATEWAY });
        }
        if parts.extensions.get::<Withheld>().is_some() {
            return Self::withheld(status, provider);
        }
        let limited = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            || matches!(class, Class::RateLimited | Class::RequestTimeout | Class::QuotaExhausted);
        let may_come_again = parts.extensions.get() == Some(&GaveUp::WaitTooLong);
        if limited && !may_come_again && !parts.headers.contains_key(X_SHOULD_RETRY) {
            return Self::PassForGood;
        }
        Self::Pass
    }

    /// For an error whose body was left out.
    fn withheld(status: StatusCode, provider: &Label) -> Self {
        let message = format!(
            "it answered with status {}, and a body in a content coding in which nobody can look for credentials: it is \
             withheld",
            status.as_u16()
        );
        let error = Error::new(ErrorKind::UpstreamStatus(status), message).with_provider(provider.clone());
        Self::Replace(error, status)
    }
}

fn upstream_status(status: StatusCode, provider: &Label) -> Error {
    Error::new(ErrorKind::UpstreamStatus(status), format!("it answered with status {}", status.as_u16()))
        .with_provider(provider.clone())
}

fn has_retry_after(parts: &Parts) -> bool {
    parts.headers.contains_key(RETRY_AFTER)
        || parts.headers.contains_key(RETRY_AFTER_MS)
        || parts.extensions.get::<RetryAfter>().is_some()
}

// === impl Exchange ===

impl Exchange {
    /// The answer to an error that no upstream answered.
    pub(super) fn refuse<B>(&self, error: &Error) -> Response<ResponseBody<B>> {
        log(error);
        let mut response = self.envelope(error, error.kind().status(), None);
        self.stamp(&mut response);
        response
    }

    /// The answer that takes an upstream's place.
    pub(super) fn replace<B>(
        &self,
        parts: Parts,
        mut error: Error,
        status: StatusCode,
    ) -> Response<ResponseBody<B>> {
        if status == StatusCode::SERVICE_UNAVAILABLE
            && let Some(RetryAfter(after)) = parts.extensions.get()
        {
            error = error.with_retry_after(*after);
        }
        let mut response = self.envelope(&error, status, Some(parts.status));
        let headers = response.headers_mut();
        let waits = [RETRY_AFTER, RETRY_AFTER_MS];
        let keeps_wait = matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
        if keeps_wait && waits.iter().any(|name| parts.headers.contains_key(name)) {
            // The upstream's own words, not the default of an envelope.
            waits.iter().for_each(|name| drop(headers.remove(name)));
            copy(&parts.headers, headers, &waits);
        }
        copy(&parts.headers, headers, &[X_REQUEST_ID, X_UPSTREAM_REQUEST_ID]);
        *response.extensions_mut() = parts.extensions;
        response.extensions_mut().insert(Failed(error.kind()));
        self.stamp(&mut response);
        response
    }

    fn envelope<B>(
        &self,
        error: &Error,
        status: StatusCode,
        received: Option<StatusCode>,
    ) -> Response<ResponseBody<B>> {
        let told = self.after_attempts(error);
        let bytes = self.renderer.body(status, told.as_ref().unwrap_or(error));
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(CONTENT_TYPE, self.renderer.content_type());
        headers.insert(CONTENT_LENGTH, bytes.len().into());
        headers.insert(PROXY_STATUS, proxy_status(error, received));
        if is_final(error.kind()) {
            tell_not_to_retry(&mut headers);
        }
        if status == StatusCode::UNAUTHORIZED && error.kind() == ErrorKind::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let wait = error.retry_after();
        let default = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(1));
        if let Some(wait) = wait.or(default) {
            // At least 1: SDKs take a 0 for "at once". An upstream may ask for the longest wait there is.
            let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
            headers.insert(RETRY_AFTER, seconds.max(1).into());
            let millis = u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
            headers.insert(RETRY_AFTER_MS, millis.max(1).into());
        }
        let body = if self.head_only { Bytes::new() } else { bytes };
        let mut response = Response::new(ResponseBody::own(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.extensions_mut().insert(Failed(error.kind()));
        response
    }

    /// The same error, saying how often it was tried.
    fn after_attempts(&self, error: &Error) -> Option<Error> {
        let attempts = self.record.attempts();
        if attempts < 2 || error.origin() == Origin::Client {
            return None;
        }
        let mut told = Error::new(error.kind(), format!("{error} (after {attempts} attempts)"))
            .with_code(error.code().to_owned());
        if let Some(param) = error.param() {
            told = told.with_param(param.to_owned());
        }
        Some(told)
    }

    /// What every answer says of its way, where it is known, and what caches may do with it.
    pub(super) fn stamp<B>(&self, response: &mut Response<B>) {
        let provider = response
            .extensions()
            .get::<Answered>()
            .and_then(|answered| HeaderValue::from_str(answered.provider.as_str()).ok());
        let served = response.extensions_mut().remove::<Served>();
        let headers = response.headers_mut();
        if let Some(Served { model, fallbacks }) = served {
            if let Some(model) = model {
                headers.insert(X_TOWERGATE_MODEL, model);
            }
            headers.insert(X_TOWERGATE_FALLBACKS, number(fallbacks));
        }
        if let Some(provider) = provider {
            headers.insert(X_TOWERGATE_PROVIDER, provider);
        }
        match self.record.attempts() {
            0 => {}
            attempts => drop(headers.insert(X_TOWERGATE_ATTEMPTS, number(attempts))),
        }
        let own = self.started.elapsed().saturating_sub(self.record.upstream_time());
        if let Some(own) = milliseconds(own) {
            headers.insert(X_TOWERGATE_OVERHEAD_MS, own);
        }
        // A client key may also have come as a WebSocket subprotocol.
        if self.credentialed || self.record.client().is_some() {
            headers::keep_private(headers);
        }
    }
}

/// The usual ones cost nothing.
fn number(number: u32) -> HeaderValue {
    match number {
        0 => HeaderValue::from_static("0"),
        1 => HeaderValue::from_static("1"),
        _ => number.into(),
    }
}

/// Obeyed by the SDKs above any status.
pub(super) fn tell_not_to_retry(headers: &mut HeaderMap) {
    headers.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, names: &[http::HeaderName]) {
    for name in names {
        if let Some(value) = from.get(name) {
            to.insert(name, value.clone());
        }
    }
}

/// Whether an SDK's own retry cannot help, because the gateway has tried what can be tried. Where
/// nothing was tried (no capacity, no provider) it may well.
fn is_final(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Unavailable | ErrorKind::Timeout(Clock::RequestBody) => false,
        ErrorKind::Timeout(_) | ErrorKind::LoopDetected => true,
        kind => kind.origin() == Origin::Upstream,
    }
}

/// RFC 9209, section 2.1; the strings are those of RFC 9651, section 3.3.3.
fn proxy_status(error: &Error, received: Option<StatusCode>) -> HeaderValue {
    let mut text = format!("towergate; error={}; details=\"", error.proxy_status());
    for character in error.code().chars().filter(|character| matches!(character, ' '..='~')) {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    if let Some(status) = received {
        text.push_str("; received-status=");
        text.push_str(status.as_str());
    }
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("towergate"))
}

/// Milliseconds, to the microsecond.
fn milliseconds(time: Duration) -> Option<HeaderValue> {
    let mut buffer = [0; 32];
    let mut rest = &mut buffer[..];
    write!(rest, "{}.{:03}", time.as_millis(), time.subsec_micros() % 1000).ok()?;
    let left = rest.len();
    HeaderValue::from_bytes(&buffer[..buffer.len() - left]).ok()
}

/// A refusal of the client's own making may quote the client, so only its code is logged.
pub(super) fn log(error: &Error) {
    let code = error.code();
    match error.origin() {
        Origin::Client => tracing::debug!(code, "refused"),
        Origin::Gateway | Origin::Upstream => {
            let cause = Causes::of(error).map(tracing::field::display);
            if matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::Draining) {
                tracing::debug!(code, error = %error, "turned away");
            } else {
                tracing::warn!(code, error = %error, cause, "answering with an error");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_a_structured_string() {
        let error = Error::new(ErrorKind::Connect, "x").with_code("a\"b\\c\u{e9}\n");
        assert_eq!(
            proxy_status(&error, Some(StatusCode::BAD_GATEWAY)),
            "towergate; error=connection_refused; details=\"a\\\"b\\\\c\"; received-status=502"
        );
        let error = Error::new(ErrorKind::Connect, "x").with_proxy_status("dns_error");
        assert_eq!(
            proxy_status(&error, None),
            "towergate; error=dns_error; details=\"upstream_connect_failed\""
        );
    }

    #[test]
    fn milliseconds_have_three_places() {
        for (micros, text) in [(0, "0.000"), (42, "0.042"), (1_500, "1.500"), (61_000_007, "61000.007")] {
            assert_eq!(milliseconds(Duration::from_micros(micros)).unwrap(), text);
        }
    }

    #[test]
    fn only_what_the_gateway_tried_is_final() {
        for kind in [
            ErrorKind::Connect,
            ErrorKind::UpstreamAuth,
            ErrorKind::Timeout(Clock::Head),
            ErrorKind::Timeout(Clock::ClientPatience),
            ErrorKind::Truncated,
        ] {
            assert!(is_final(kind), "{kind:?}");
        }
        for kind in [
            ErrorKind::Unavailable,
            ErrorKind::Overloaded,
            ErrorKind::Draining,
            ErrorKind::BadRequest,
            ErrorKind::Timeout(Clock::RequestBody),
        ] {
            assert!(!is_final(kind), "{kind:?}");
        }
    }
}
