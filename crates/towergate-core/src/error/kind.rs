//! [`ErrorKind`]: what went wrong, and what follows from that alone.

use http::StatusCode;

use super::Clock;

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
    /// The client has more under way than its share (429).
    TooManyRequests,
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
    /// A request came back to the gateway that sent it on (508).
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
            | Self::TooManyRequests
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
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
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
            Self::TooManyRequests => "too_many_requests",
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
            Self::Unauthorized | Self::Forbidden | Self::TooManyRequests => "http_request_denied",
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
