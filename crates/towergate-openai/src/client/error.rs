//! What can go wrong with a call.

use std::{fmt, time::Duration};

use http::StatusCode;
use serde_json::error::Category;
use towergate_core::BoxError;

use crate::types::ApiError;

/// A call failed.
///
/// Its text never repeats what was asked or answered; what the API said is in
/// [`Api::error`](Self::Api) for those who want it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The answer is an error: its status is, or its body is one in spite of its status.
    #[error("the API answered {}: {error}{}", status.as_u16(), RequestIdNote(request_id.as_deref()))]
    Api {
        /// The status.
        status: StatusCode,
        /// What the API says; empty where its body could not be read as an error.
        error: Box<ApiError>,
        /// The answer's `x-request-id`.
        request_id: Option<String>,
        /// When to come again: `retry-after-ms`, else `Retry-After` in seconds.
        retry_after: Option<Duration>,
    },
    /// The service failed before it had an answer, or the answer broke off.
    #[error("the service failed")]
    Transport(#[source] BoxError),
    /// The call took longer than its options allow.
    #[error("no answer within {after:?} (CallOptions::timeout)")]
    Timeout {
        /// The time allowed.
        after: Duration,
    },
    /// The answer is a success, and not what it should be.
    #[error("the answer is no {expected}: {} at line {line}, column {column}", describe(*category))]
    Decode {
        /// What it should be.
        expected: &'static str,
        /// How it fails to be that.
        category: Category,
        /// Where.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// The answer is larger than the client reads.
    #[error("the answer is over {limit} bytes (Client::with_answer_limit)")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// A stream failed after it had begun.
    #[error("the stream failed: {0}")]
    Stream(#[from] StreamFault),
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent: {0}")]
    Request(&'static str),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// How a stream failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamFault {
    /// The API reported an error in it.
    #[error("the API reported {0}")]
    Reported(Box<ApiError>),
    /// It ended before its answer did: without a finish reason for each of its choices.
    #[error("it ended before the answer did")]
    Truncated,
    /// An event is not a chunk.
    #[error("an event is malformed")]
    Malformed,
    /// An event is larger than the client reads.
    #[error("an event is over {limit} bytes (Client::with_event_limit)")]
    EventTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The answer is JSON, not a stream of events.
    #[error("the answer is no event stream")]
    NotEvents,
}

struct RequestIdNote<'a>(Option<&'a str>);

// === impl ClientError ===

impl ClientError {
    /// The status, where the API answered with an error.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What the API said, in an answer or in a stream.
    #[must_use]
    pub fn api_error(&self) -> Option<&ApiError> {
        match self {
            Self::Api { error, .. } | Self::Stream(StreamFault::Reported(error)) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for RequestIdNote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |id| write!(f, " (request {id})"))
    }
}

/// serde's own text would quote the answer.
fn describe(category: Category) -> &'static str {
    match category {
        Category::Io | Category::Syntax => "malformed JSON",
        Category::Data => "JSON of another shape",
        Category::Eof => "JSON that ends early",
    }
}
