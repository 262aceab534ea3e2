//! Works out how a request, or one attempt of it, ended: for metrics and for the log, which must say
//! the same.

use std::{any::Any, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;
use towergate_core::{
    BoxError, Clock, Error, ErrorKind, Outcome, StreamState,
    body::End,
    context::{Deadline, Downstream, Failed, Patience, RequestRecord},
    stream::{AnswerKind, Usage},
};

/// Whose end it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What the client got. Only the client can drop it.
    Request,
    /// What one upstream gave. A layer above may drop it: the total timeout, or retry, which has no
    /// use for a failing answer's body.
    Attempt,
}

/// What is known so far of how it will have ended.
#[derive(Debug)]
pub(crate) struct Ending {
    scope: Scope,
    pub(crate) record: Arc<RequestRecord>,
    downstream: Option<Downstream>,
    deadline: Option<Deadline>,
    patience: Option<Patience>,
    head_only: bool,
    started: Instant,
    failed: Option<Outcome>,
    head: Option<Head>,
    first_byte: Option<Duration>,
    bytes: u64,
}

#[derive(Debug)]
struct Head {
    /// How it ends if the body has no other say.
    outcome: Outcome,
    stream: Option<Arc<StreamState>>,
    /// The length of the body: whoever sends it may stop asking once that much has come.
    length: Option<u64>,
}

// === impl Ending ===

impl Ending {
    pub(crate) fn new<B>(scope: Scope, request: &mut Request<B>) -> Self {
        let record = RequestRecord::of(request.extensions_mut());
        let extensions = request.extensions();
        Self {
            scope,
            record,
            downstream: extensions.get().cloned(),
            deadline: extensions.get().copied(),
            patience: extensions.get().copied(),
            head_only: request.method() == Method::HEAD,
            started: Instant::now(),
            failed: None,
            head: None,
            first_byte: None,
            bytes: 0,
        }
    }

    /// The service failed.
    pub(crate) fn on_error<E: 'static>(&mut self, error: &E) {
        let error: &dyn Any = error;
        let ours = match error.downcast_ref::<BoxError>() {
            Some(boxed) => Error::find(&**boxed),
            None => error.downcast_ref::<Error>(),
        };
        self.failed = Some(Outcome::of_kind(ours.map_or(ErrorKind::Internal, Error::kind)));
    }

    /// The head has come; says whether a body may follow it (RFC 9110, section 6.4.1).
    pub(crate) fn on_head<B: Body>(&mut self, response: &Response<B>) -> bool {
        let extensions = response.extensions();
        let status = response.status();
        let outcome = match extensions.get() {
            Some(Failed(kind)) => Outcome::of_kind(*kind),
            None => Outcome::of_status(status),
        };
        let length = response.body().size_hint().exact();
        self.head = Some(Head { outcome, stream: extensions.get().cloned(), length });
        if status == StatusCode::SWITCHING_PROTOCOLS {
            // A tunnel runs in its body, and the deadline does not bound it.
            self.deadline = None;
            return true;
        }
        !self.head_only && !matches!(status.as_u16(), 100..200 | 204 | 304)
    }

    pub(crate) fn on_data(&mut self, length: usize) {
        self.first_byte.get_or_insert_with(|| self.started.elapsed());
        self.bytes += length as u64;
    }

    pub(crate) fn outcome(&self, end: &End<'_>) -> Outcome {
        if let Some(failed) = self.failed {
            return failed;
        }
        let Some(head) = &self.head else { return self.dropped(Outcome::ClientGoneBeforeHead) };
        if head.outcome != Outcome::Completed {
            // What follows such a head is no answer, whoever drops it.
            return head.outcome;
        }
        match end {
            End::Error(error) => match Outcome::of_body_error(error) {
                Outcome::ClientGoneInBody if self.is_stalled() => Outcome::ClientStalled,
                outcome => outcome,
            },
            End::Complete => head.completed(),
            End::Dropped => match self.record.settled() {
                Some(settled) if self.scope == Scope::Request => settled,
                _ if head.length.is_some_and(|length| self.bytes >= length) => head.completed(),
                // SDKs hang up at the last event, before the end of the body.
                _ if head.is_over() => head.completed(),
                _ => self.dropped(Outcome::ClientGoneInBody),
            },
        }
    }

    /// Somebody above let go of it: who?
    fn dropped(&self, gone: Outcome) -> Outcome {
        if self.is_stalled() {
            return Outcome::ClientStalled;
        }
        if self.scope == Scope::Attempt {
            let now = Instant::now().into_std();
            if self.deadline.is_some_and(|Deadline(at)| at <= now) {
                return Outcome::Timeout(Clock::Total);
            }
            if self.head.is_none() && self.patience.is_some_and(|Patience(at)| at <= now) {
                return Outcome::Timeout(Clock::ClientPatience);
            }
        }
        gone
    }

    fn is_stalled(&self) -> bool {
        self.downstream.as_ref().is_some_and(Downstream::is_stalled)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// From the start to the first byte of the body.
    pub(crate) fn first_byte(&self) -> Option<Duration> {
        self.first_byte
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// The tokens, where the answer told them.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.head.as_ref()?.stream.as_ref()?.usage()
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn malformed_events(&self) -> u32 {
        self.head.as_ref().and_then(|head| head.stream.as_ref()).map_or(0, |s| s.malformed_events())
    }
}

// === impl Head ===

impl Head {
    /// The events, where the answer is a stream of them.
    fn events(&self) -> Option<&StreamState> {
        self.stream.as_deref().filter(|stream| stream.kind() == AnswerKind::Events)
    }

    /// Whether the stream has said all that it has to say, or that it failed.
    fn is_over(&self) -> bool {
        self.events().is_some_and(|stream| stream.is_complete() || stream.failure().is_some())
    }

    /// The body is over: was the answer?
    fn completed(&self) -> Outcome {
        match self.events() {
            Some(stream) if stream.failure().is_some() => Outcome::UpstreamError,
            Some(stream) if !stream.is_complete() => Outcome::Truncated,
            _ => Outcome::Completed,
        }
    }
}
