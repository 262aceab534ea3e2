//! [`Clock`]: the clocks of a request.

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
            Self::RequestBody => "server.request_body_timeout",
            Self::Head => "timeouts.head",
            Self::FirstEvent => "timeouts.first_event",
            Self::Idle => "timeouts.idle",
            Self::Total => "server.total_timeout",
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

    /// That it ran out, in words.
    pub(super) fn what(self) -> &'static str {
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
