//! hyper's errors become ours: kind, phase, and whether anything was sent.
//!
//! Decided by types alone. `legacy::Error` says whether a connection was had: it carries the
//! connection's info from the moment it had one. Behind it, the chain of causes holds hyper's and
//! h2's errors with their predicates, `io::Error` with its kind, rustls' own, and the markers that
//! the connector puts in.

use std::{error::Error as StdError, io, sync::Arc, time::Duration};

use hyper_util::client::legacy;
use rustls::CertificateError;
use towergate_core::{
    BoxError, Clock, Error, ErrorKind, Phase, Sent, body::ReplayLost, error::is_out_of_descriptors,
    label::Label,
};

use super::interim::ENDLESS_INTERIM;

/// Whom an error is about. A client is told the provider; where that is, which may be a host inside, is a cause of
/// the error, and so for the log.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) provider: Label,
    /// Host and port, and those of the proxy on the way; never a whole URL.
    pub(super) place: Arc<str>,
    pub(super) is_proxied: bool,
    pub(super) connect_timeout: Duration,
    /// What changes it.
    pub(super) connect_setting: &'static str,
}

/// The name of a host could not be looked up. Marks the resolver's error.
#[derive(Debug, thiserror::Error)]
#[error("the name lookup failed")]
pub(super) struct LookupFailed(#[source] pub(super) io::Error);

/// No connection to the proxy itself.
#[derive(Debug, thiserror::Error)]
#[error("no connection to the proxy")]
pub(super) struct ProxyUnreachable(#[source] pub(super) BoxError);

/// The proxy was reached, and did not open a tunnel.
#[derive(Debug, thiserror::Error)]
#[error("the proxy did not open a tunnel")]
pub(super) struct TunnelRefused(#[source] pub(super) BoxError);

/// Where it happened, above what happened there.
#[derive(Debug, thiserror::Error)]
#[error("{place}")]
struct At {
    place: Arc<str>,
    #[source]
    cause: BoxError,
}

/// The upstream ended an HTTP/2 connection. It may say why in words of its own (RFC 9113, section 6.8), which h2's
/// error repeats; they are for no log, as those of no error are.
#[derive(Debug, thiserror::Error)]
#[error("the upstream ended the HTTP/2 connection: {0}")]
struct GoAway(h2::Reason);

/// When descriptors may be free again: requests end all the time.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Maps the error of a request.
pub(super) fn of_request(error: legacy::Error, upstream: &Upstream) -> Error {
    if error.is_connect() || error.connect_info().is_none() {
        return of_connect(error, upstream);
    }
    let (kind, sent, what) = of_exchange(&error);
    Error::new(kind, what)
        .with_phase(Phase::Head)
        .with_sent(sent)
        .with_provider(upstream.provider.clone())
        .with_source(At::new(upstream, error))
}

/// Maps the error of an answer's body. The head had come: whatever the request costs, it cost.
pub(super) fn of_body(error: hyper::Error, upstream: &Upstream) -> Error {
    let (kind, what) = if error.is_timeout() {
        (ErrorKind::Connection, PING_LOST)
    } else if error.is_incomplete_message() {
        (ErrorKind::Truncated, CUT)
    } else if let Some(reset) = find::<h2::Error>(&error) {
        if reset.is_io() { (ErrorKind::Connection, BROKEN) } else { (ErrorKind::Truncated, RESET) }
    } else {
        match find::<io::Error>(&error).map(io::Error::kind) {
            Some(io::ErrorKind::UnexpectedEof) => (ErrorKind::Truncated, CUT),
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
                (ErrorKind::Connection, "the upstream's answer is not framed as HTTP asks for")
            }
            _ => (ErrorKind::Connection, BROKEN),
        }
    };
    in_body(kind, what, upstream).with_source(At::new(upstream, error))
}

/// A stream that was reset before its end, without an error of hyper's.
pub(super) fn of_reset(upstream: &Upstream) -> Error {
    in_body(ErrorKind::Truncated, RESET, upstream)
}

fn in_body(kind: ErrorKind, what: &'static str, upstream: &Upstream) -> Error {
    Error::new(kind, what)
        .with_phase(Phase::Body)
        .with_sent(Sent::Unknown)
        .with_provider(upstream.provider.clone())
}

/// Maps the error of a request's body: one of ours comes out as it went in.
pub(super) fn of_upload(error: BoxError) -> Error {
    let error = match error.downcast::<Error>() {
        Ok(ours) => return *ours,
        Err(other) => other,
    };
    if let Some(ours) = Error::find(&*error) {
        let copy = Error::new(ours.kind(), ours.to_string()).with_phase(ours.phase()).with_sent(ours.sent());
        return copy.with_source(error);
    }
    let (kind, what) = if find::<ReplayLost>(&*error).is_some() {
        (ErrorKind::Internal, "the request body is no longer there to be sent by this attempt")
    } else {
        (ErrorKind::ClientGone, "the upload broke off before its end")
    };
    Error::new(kind, what).with_sent(Sent::Unknown).with_source(error)
}

const BROKEN: &str = "the connection to the upstream broke";
const CUT: &str = "the upstream closed the connection before its answer was complete";
const RESET: &str = "the upstream reset the stream";
const INTERIM_ONLY: &str = "the upstream sent over 1000 informational (1xx) responses and no final one";
const PING_LOST: &str = "the upstream no longer answers on its HTTP/2 connection";

fn of_connect(error: legacy::Error, upstream: &Upstream) -> Error {
    if lacks_descriptor(&error) {
        return out_of_descriptors(&upstream.provider).with_source(error);
    }
    let ours = Error::find(&error).is_some_and(|ours| ours.kind() == ErrorKind::Timeout(Clock::Connect));
    // hyper's connector shares the same time out among the addresses of a name.
    let timed_out = ours || find::<io::Error>(&error).is_some_and(|io| io.kind() == io::ErrorKind::TimedOut);
    let mapped = if timed_out {
        Error::timeout(Clock::Connect, upstream.connect_timeout).with_setting(upstream.connect_setting)
    } else {
        let (reason, error_type) = connect_reason(&error);
        let through = if upstream.is_proxied { " through the proxy" } else { "" };
        let message = format!("no connection{through}: {reason}");
        Error::new(ErrorKind::Connect, message).with_phase(Phase::Connect).with_proxy_status(error_type)
    };
    let at = At::new(upstream, error);
    mapped.with_sent(Sent::Nothing).with_provider(upstream.provider.clone()).with_source(at)
}

/// Whether a connection failed for want of a file descriptor in this process.
fn lacks_descriptor(error: &(dyn StdError + 'static)) -> bool {
    find::<io::Error>(error).is_some_and(is_out_of_descriptors)
        // A resolver that could not open its files says no more than that it failed, so it is tried here.
        || (find::<LookupFailed>(error).is_some()
            && std::fs::File::open("/dev/null").is_err_and(|error| is_out_of_descriptors(&error)))
}

/// Not the provider's doing: it counts as no failure of it, and another one would need a descriptor, too.
fn out_of_descriptors(provider: &Label) -> Error {
    tracing::warn!(
        provider = provider.as_str(),
        "there is no file descriptor left for a connection to the provider: raise the limit (ulimit -n), or lower \
         server.max_connections"
    );
    let message =
        format!("the gateway has no file descriptor left for a connection to provider {provider:?}");
    Error::new(ErrorKind::Overloaded, message)
        .with_code("out_of_file_descriptors")
        .with_setting("server.max_connections, or the limit of the process (ulimit -n)")
        .with_phase(Phase::Connect)
        .with_sent(Sent::Nothing)
        .with_retry_after(COME_AGAIN)
}

/// Why there is no connection, in words and as an error type of RFC 9209.
fn connect_reason(error: &(dyn StdError + 'static)) -> (&'static str, &'static str) {
    if find::<TunnelRefused>(error).is_some() {
        return ("the proxy did not open a tunnel", "destination_unavailable");
    }
    if find::<LookupFailed>(error).is_some() {
        return ("the name does not resolve", "dns_error");
    }
    match find::<rustls::Error>(error) {
        Some(rustls::Error::InvalidCertificate(certificate)) => {
            return (certificate_reason(certificate), "tls_certificate_error");
        }
        Some(rustls::Error::AlertReceived(_)) => {
            return ("it refused the TLS handshake", "tls_alert_received");
        }
        Some(_) => return ("the TLS handshake failed", "tls_protocol_error"),
        None => {}
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => ("the connection was refused", "connection_refused"),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted) => {
            ("the connection was reset", "connection_terminated")
        }
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            ("it cannot be reached", "destination_ip_unroutable")
        }
        Some(io::ErrorKind::UnexpectedEof) => {
            ("the connection was closed during the TLS handshake", "tls_protocol_error")
        }
        _ => ("it could not be set up", "destination_unavailable"),
    }
}

fn certificate_reason(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet"
        }
        CertificateError::UnknownIssuer => "its certificate comes from an issuer that is not trusted",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name"
        }
        CertificateError::Revoked => "its certificate has been revoked",
        _ => "its certificate is not valid",
    }
}

/// What went wrong on a connection that was had.
fn of_exchange(error: &legacy::Error) -> (ErrorKind, Sent, &'static str) {
    let io = find::<h2::Error>(error).and_then(h2::Error::get_io).or_else(|| find(error));
    if io.is_some_and(|io| io.kind() == ENDLESS_INTERIM) {
        return (ErrorKind::BadAnswer, Sent::Unknown, INTERIM_ONLY);
    }
    if let Some(stream) = find::<h2::Error>(error) {
        // h2 gives a stream a remote GOAWAY only where it lies above the last one processed.
        let not_processed = stream.is_remote()
            && (stream.is_go_away()
                || (stream.is_reset() && stream.reason() == Some(h2::Reason::REFUSED_STREAM)));
        return if not_processed {
            (ErrorKind::Connection, Sent::NotProcessed, "the upstream handed the request back unprocessed")
        } else if stream.is_reset() && stream.is_remote() {
            (ErrorKind::Connection, Sent::Unknown, RESET)
        } else {
            (ErrorKind::Connection, Sent::Unknown, BROKEN)
        };
    }
    let Some(hyper) = find::<hyper::Error>(error) else {
        return (ErrorKind::Connection, Sent::Unknown, BROKEN);
    };
    if hyper.is_canceled() {
        (ErrorKind::Connection, Sent::Nothing, "the connection closed before the request was sent")
    } else if hyper.is_incomplete_message() {
        (ErrorKind::Connection, Sent::Unknown, "the upstream closed the connection without an answer")
    } else if hyper.is_parse() {
        (ErrorKind::Connection, Sent::Unknown, "the head that the upstream sent is not HTTP, or too large")
    } else if hyper.is_body_write_aborted() {
        (ErrorKind::ClientGone, Sent::Unknown, "the upload is shorter than its Content-Length says")
    } else if hyper.is_timeout() {
        (ErrorKind::Connection, Sent::Unknown, PING_LOST)
    } else if hyper.is_user() {
        (ErrorKind::Internal, Sent::Unknown, "the request could not be sent")
    } else {
        (ErrorKind::Connection, Sent::Unknown, BROKEN)
    }
}

// === impl At ===

impl At {
    fn new(upstream: &Upstream, cause: impl StdError + Send + Sync + 'static) -> Self {
        let gone = find::<h2::Error>(&cause).filter(|error| error.is_go_away() && error.is_remote());
        let cause = match gone {
            Some(error) => GoAway(error.reason().unwrap_or(h2::Reason::NO_ERROR)).into(),
            None => cause.into(),
        };
        Self { place: Arc::clone(&upstream.place), cause }
    }
}

/// Finds the innermost cause of a type. An `io::Error` hides the error that it was made of from
/// `source`.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut found = None;
    let mut cause = Some(error);
    while let Some(error) = cause {
        found = error.downcast_ref().or(found);
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as _),
            None => error.source(),
        };
    }
    found
}
