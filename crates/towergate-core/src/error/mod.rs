//! [`Error`]: what went wrong, on whose side, at which point, and whether anything was sent.
//!
//! Decisions (retry, status, metric label) read the typed facts, never the text. The text is for
//! people: it says what happened, to which provider, and which setting changes it; it never holds a
//! key, a URL's credentials or an upstream's body.

mod clock;
mod kind;

use std::{borrow::Cow, fmt, time::Duration};

pub use self::{
    clock::Clock,
    kind::{ErrorKind, Origin},
};
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
    proxy_status: Option<&'static str>,
    param: Option<Cow<'static, str>>,
    provider: Option<Label>,
    retry_after: Option<Duration>,
    signalled: bool,
    source: Option<BoxError>,
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
            proxy_status: None,
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

    /// Sets the error type of `Proxy-Status` (RFC 9209, section 2.3), where it says more than the kind.
    #[must_use]
    pub fn with_proxy_status(mut self, error_type: &'static str) -> Self {
        self.0.proxy_status = Some(error_type);
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

    /// Says more, after what is said already.
    pub fn add(&mut self, more: &str) {
        self.0.message.to_mut().push_str(more);
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

    /// The error type of `Proxy-Status`: the one set, else the kind's own.
    #[must_use]
    pub fn proxy_status(&self) -> &'static str {
        self.0.proxy_status.unwrap_or_else(|| self.0.kind.proxy_status())
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

/// How a system says that the process, or the whole system, has no file descriptor left (`EMFILE`, `ENFILE`). POSIX
/// systems agree on the numbers.
const NO_DESCRIPTOR: [i32; 2] = [24, 23];

/// Whether an error says that no file descriptor is left: a fault of nobody but this process and its limits, wherever
/// the descriptor was meant to lead.
#[must_use]
pub fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    error.raw_os_error().is_some_and(|number| NO_DESCRIPTOR.contains(&number))
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
