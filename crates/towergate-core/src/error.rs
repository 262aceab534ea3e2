//! [`Error`]: what went wrong, on whose side, at which point, and whether anything was sent.
//!
//! Decisions (retry, status, metric label) read the typed facts, never the text. The text is for
//! people: it says what happened, to which provider, and which setting changes it; it never holds a
//! key, a URL's credentials or an upstream's body.

use std::{borrow::Cow, fmt, time::Duration};

use http::StatusCode;

use crate::{BoxError, label::Label};

/// An error of the gateway, or of the upstream as the gateway saw it.
///
/// One pointer wide. Everything but the kind has a default, set by the `with_*` methods.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    phase: Phase,
    sent: Sent,
    message: Cow<'static, str>,
    setting: Option<Cow<'static, str>>,
    code: Option<Cow<'static, str>>,
    param: Option<Cow<'static, str>>,
    provider: Option<Label>,
    retry_after: Option<Duration>,
    signalled: bool,
    source: Option<BoxError>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request cannot be understood, or is not allowed to be what it is (400).
    BadRequest,
    /// No client key, or not a right one (401).
    Unauthorized,
    /// The client key does not reach that far (403).
    Forbidden,
    /// Nothing is served under that path (404).
    NotFound,
    /// The request body is over the limit (413).
    PayloadTooLarge,
    /// The client went away before it had sent its request; nobody reads the answer (499 in logs).
    ClientGone,
    /// More requests, or more bytes, are under way than are allowed (503).
    Overloaded,
    /// The gateway is shutting down (503).
    Draining,
    /// No provider may be asked at present (503).
    Unavailable,
    /// A clock ran out (504; 408 where it is the client's upload).
    Timeout(Clock),
    /// No connection to the upstream: DNS, TCP, TLS or a proxy on the way (502).
    Connect,
    /// The connection to the upstream broke, or what came over it is not HTTP (502).
    Connection,
    /// The upstream answered with a status that is an error (502; the status itself where the
    /// matrix lets it through).
    UpstreamStatus(StatusCode),
    /// The upstream refused the gateway's own credential (500).
    UpstreamAuth,
    /// The upstream answered 2xx with something that is no answer: an empty or malformed body, a
    /// wrong content type, an error inside (502).
    BadAnswer,
    /// The upstream's answer ended before it was complete (502 before the head; a broken transport
    /// after it).
    Truncated,
    /// The gateway's own configuration cannot work (500).
    Misconfigured,
    /// A request came back to the gateway that sent it on.
    LoopDetected,
    /// A fault of the gateway itself (500).
    Internal,
}

/// Who is at fault, in the broad sense that an operator asks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The client that called the gateway.
    Client,
    /// The gateway, or the limits set on it.
    Gateway,
    /// The provider behind it.
    Upstream,
}

/// How far the request had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Phase {
    /// Inside the gateway; no upstream was involved.
    #[default]
    Intake,
    /// Getting a connection to the upstream.
    Connect,
    /// Sending the request and waiting for the head of the answer.
    Head,
    /// Reading the answer's body.
    Body,
}

/// Whether an upstream can have seen anything of the request: what makes a retry free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sent {
    /// Not a byte: there was no connection, or the request was handed back unsent.
    #[default]
    Nothing,
    /// Bytes, but the upstream said that it processed none of them (HTTP/2 `REFUSED_STREAM`, or a
    /// `GOAWAY` below our stream; RFC 9113, section 8.7).
    NotProcessed,
    /// It cannot be known. The request may have been processed, and billed.
    Unknown,
}

/// The clocks of a request. Each names itself and its setting in the error it causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clock {
    /// DNS, TCP and TLS together.
    Connect,
    /// The gap between two pieces of the client's upload.
    RequestBody,
    /// From the request to the head of the upstream's answer.
    Head,
    /// From the head to the first data event of a stream.
    FirstEvent,
    /// The gap between two events of a stream; not while the client does not read.
    Idle,
    /// The whole request, over all attempts.
    Total,
    /// The client's own patience, as its SDK announced it; until the head of our answer.
    ClientPatience,
}

// === impl Error ===

impl Error {
    /// An error of a kind, with a sentence for people.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            phase: Phase::default(),
            sent: Sent::default(),
            message: message.into(),
            setting: None,
            code: None,
            param: None,
            provider: None,
            retry_after: None,
            signalled: false,
            source: None,
        }))
    }

    /// A clock ran out after `after`.
    #[must_use]
    pub fn timeout(clock: Clock, after: Duration) -> Self {
        let (phase, sent) = match clock {
            Clock::Connect => (Phase::Connect, Sent::Nothing),
            Clock::RequestBody => (Phase::Intake, Sent::Unknown),
            Clock::Head | Clock::Total | Clock::ClientPatience => (Phase::Head, Sent::Unknown),
            Clock::FirstEvent | Clock::Idle => (Phase::Body, Sent::Unknown),
        };
        Self::new(ErrorKind::Timeout(clock), format!("{} ({})", clock.what(), Seconds(after)))
            .with_phase(phase)
            .with_sent(sent)
            .with_setting(clock.setting())
    }

    /// Sets how far the request had come.
    #[must_use]
    pub fn with_phase(mut self, phase: Phase) -> Self {
        self.0.phase = phase;
        self
    }

    /// Sets whether an upstream can have seen anything.
    #[must_use]
    pub fn with_sent(mut self, sent: Sent) -> Self {
        self.0.sent = sent;
        self
    }

    /// Names the setting that changes this.
    #[must_use]
    pub fn with_setting(mut self, setting: impl Into<Cow<'static, str>>) -> Self {
        self.0.setting = Some(setting.into());
        self
    }

    /// Sets the machine-readable `code` of the error envelope.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// Names the request parameter at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// Names the provider this happened to.
    #[must_use]
    pub fn with_provider(mut self, provider: Label) -> Self {
        self.0.provider = Some(provider);
        self
    }

    /// Sets when to come again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says that the client has already been told inside the body (the upstream's own error event
    /// was passed on), so that nobody tells it a second time.
    #[must_use]
    pub fn already_signalled(mut self) -> Self {
        self.0.signalled = true;
        self
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Who is at fault.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.kind.origin()
    }

    /// How far the request had come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase
    }

    /// Whether an upstream can have seen anything of the request.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.0.sent
    }

    /// The setting that changes this, if there is one.
    #[must_use]
    pub fn setting(&self) -> Option<&str> {
        self.0.setting.as_deref()
    }

    /// The `code` of the error envelope: the one set, else the kind's own.
    #[must_use]
    pub fn code(&self) -> &str {
        self.0.code.as_deref().unwrap_or_else(|| self.0.kind.code())
    }

    /// The request parameter at fault.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// The provider this happened to.
    #[must_use]
    pub fn provider(&self) -> Option<&Label> {
        self.0.provider.as_ref()
    }

    /// When to come again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the client has already been told inside the body.
    #[must_use]
    pub fn is_signalled(&self) -> bool {
        self.0.signalled
    }

    /// Finds an error of ours in a chain of causes, the outermost first.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            // An `io::Error` gives out its inner error's cause as its own, and hides the inner one.
            cause = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
                Some(inner) => Some(inner as _),
                None => error.source(),
            };
        }
        None
    }

    /// Takes a boxed error as one of ours; one that is not becomes [`ErrorKind::Internal`].
    #[must_use]
    pub fn from_boxed(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => *ours,
            Err(other) => Self::new(ErrorKind::Internal, "the gateway failed inside").with_source(other),
        }
    }
}

impl fmt::Display for Error {
    /// The sentence, the provider and the setting; not the cause, which only the log gets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(provider) = &self.0.provider {
            write!(f, "provider {provider:?}: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(setting) = &self.0.setting {
            write!(f, " [setting: {setting}]")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("phase", &self.0.phase)
            .field("sent", &self.0.sent)
            .field("message", &self.0.message)
            .field("provider", &self.0.provider)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

// === impl ErrorKind ===

impl ErrorKind {
    /// Who is at fault.
    #[must_use]
    pub fn origin(self) -> Origin {
        match self {
            Self::BadRequest
            | Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::PayloadTooLarge
            | Self::ClientGone
            | Self::Timeout(Clock::RequestBody | Clock::ClientPatience) => Origin::Client,
            Self::Overloaded | Self::Draining | Self::Misconfigured | Self::LoopDetected | Self::Internal => {
                Origin::Gateway
            }
            Self::Unavailable
            | Self::Timeout(_)
            | Self::Connect
            | Self::Connection
            | Self::UpstreamStatus(_)
            | Self::UpstreamAuth
            | Self::BadAnswer
            | Self::Truncated => Origin::Upstream,
        }
    }

    /// The status the client gets.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout(Clock::RequestBody) => StatusCode::REQUEST_TIMEOUT,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Overloaded | Self::Draining | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect
            | Self::Connection
            | Self::UpstreamStatus(_)
            | Self::BadAnswer
            | Self::Truncated => StatusCode::BAD_GATEWAY,
            Self::UpstreamAuth | Self::Misconfigured | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::LoopDetected => StatusCode::LOOP_DETECTED,
        }
    }

    /// The `code` of the error envelope, and a metric label: a closed set.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "invalid_api_key",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::PayloadTooLarge => "payload_too_large",
            Self::ClientGone => "client_gone",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::Unavailable => "no_provider_available",
            Self::Timeout(clock) => clock.code(),
            Self::Connect => "upstream_connect_failed",
            Self::Connection => "upstream_connection_failed",
            Self::UpstreamStatus(_) => "upstream_error",
            Self::UpstreamAuth => "upstream_auth_failed",
            Self::BadAnswer => "upstream_bad_answer",
            Self::Truncated => "upstream_truncated",
            Self::Misconfigured => "misconfigured",
            Self::LoopDetected => "loop_detected",
            Self::Internal => "internal_error",
        }
    }

    /// The error type of `Proxy-Status` (RFC 9209, section 2.3).
    #[must_use]
    pub fn proxy_status(self) -> &'static str {
        match self {
            Self::BadRequest | Self::NotFound | Self::PayloadTooLarge | Self::ClientGone => {
                "http_request_error"
            }
            Self::Timeout(Clock::RequestBody) => "http_request_error",
            Self::Unauthorized | Self::Forbidden => "http_request_denied",
            Self::Overloaded | Self::Draining => "connection_limit_reached",
            Self::Unavailable => "destination_unavailable",
            Self::Timeout(Clock::Connect) => "connection_timeout",
            Self::Timeout(_) => "http_response_timeout",
            Self::Connect => "connection_refused",
            Self::Connection => "connection_terminated",
            Self::UpstreamStatus(_) | Self::UpstreamAuth | Self::BadAnswer => "http_protocol_error",
            Self::Truncated => "http_response_incomplete",
            Self::Misconfigured => "proxy_configuration_error",
            Self::LoopDetected => "proxy_loop_detected",
            Self::Internal => "proxy_internal_error",
        }
    }
}

// === impl Clock ===

impl Clock {
    /// Every clock, in the order of a request.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::RequestBody,
        Self::Head,
        Self::FirstEvent,
        Self::Idle,
        Self::Total,
        Self::ClientPatience,
    ];

    /// The setting that changes it.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Self::Connect => "timeouts.connect",
            Self::RequestBody => "timeouts.request_body",
            Self::Head => "timeouts.head",
            Self::FirstEvent => "timeouts.first_event",
            Self::Idle => "timeouts.idle",
            Self::Total => "timeouts.total",
            Self::ClientPatience => "the client's own timeout, as announced in x-stainless-timeout",
        }
    }

    /// The `code` of the error it causes, and a metric label.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Connect => "connect_timeout",
            Self::RequestBody => "request_body_timeout",
            Self::Head => "head_timeout",
            Self::FirstEvent => "first_event_timeout",
            Self::Idle => "idle_timeout",
            Self::Total => "total_timeout",
            Self::ClientPatience => "client_patience_timeout",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Connect => "no connection within the connect timeout",
            Self::RequestBody => "the upload paused for longer than the request body timeout",
            Self::Head => "no response head within the head timeout",
            Self::FirstEvent => "no first event within the first event timeout",
            Self::Idle => "the stream paused for longer than the idle timeout",
            Self::Total => "the request took longer than the total timeout",
            Self::ClientPatience => "no answer within the time the client said it would wait",
        }
    }
}

/// A duration as people write it in a config.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 {
            write!(f, "{} s", self.0.as_secs())
        } else {
            write!(f, "{} ms", self.0.as_millis())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_names_its_clock_and_its_setting() {
        for clock in Clock::ALL {
            let text = Error::timeout(clock, Duration::from_millis(1500)).to_string();
            assert!(text.contains("1500 ms"), "{text}");
            assert!(text.contains(clock.setting()), "{text}");
        }
    }

    #[test]
    fn ours_is_found_through_foreign_wrappers() {
        let inner = Error::new(ErrorKind::Connect, "refused").with_sent(Sent::Nothing);
        let wrapped: BoxError = Box::new(std::io::Error::other(std::io::Error::other(inner)));
        assert_eq!(Error::find(&*wrapped).unwrap().kind(), ErrorKind::Connect);
        let foreign: BoxError = "other".into();
        assert!(Error::find(&*foreign).is_none());
        assert_eq!(Error::from_boxed(foreign).kind(), ErrorKind::Internal);
    }

    #[test]
    fn the_text_names_the_provider_and_hides_the_cause() {
        let error = Error::new(ErrorKind::Connect, "the connection was refused")
            .with_provider(Label::new("openai"))
            .with_source("secret detail");
        assert_eq!(error.to_string(), "provider \"openai\": the connection was refused");
    }
}
