//! One answer, held until it has shown what it is.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    response::Parts,
};
use http_body::Frame;
use tokio::time::Instant;
use towergate_core::{
    Body, BoxError, Error, ErrorKind, Phase, Sent, StreamState,
    classify::RetryAfter,
    headers,
    stream::{AnswerKind, Failure},
};

use super::{
    body::Held,
    expect::{bad_answer, check_content_type, expects_answer, name_provider},
    future::Asked,
    layer::Settings,
};
use crate::alarm::{Alarm, later};

/// An error says what it has to say in less.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// An answer that is being held.
#[derive(Debug)]
pub(super) struct Hold<B> {
    /// Taken when the answer is released.
    answer: Option<Answer<B>>,
    /// When `hold_max` began to run.
    since: Option<Instant>,
    alarm: Alarm,
}

struct Answer<B> {
    what: What,
    parts: Parts,
    body: B,
    held: Held,
}

#[derive(Debug)]
enum What {
    /// The status is an error; its body tells which.
    Error,
    /// An answer is expected, in a form that nobody reads; its first byte has to do.
    Unread,
    /// A document; only its end shows that it is one.
    Document(Arc<StreamState>),
    /// Events; the first with content shows it.
    Events(Arc<StreamState>),
}

/// What is done with an answer once its head is there.
pub(super) enum Start<B> {
    /// It goes on at once.
    Pass(Response<Body>),
    /// It is held.
    Hold(Hold<B>),
}

/// What a frame has shown.
enum Shown {
    Nothing,
    /// It is an answer.
    Answer,
    /// It is an error, whatever its status.
    Failure(Failure),
    /// That was all of it.
    End,
    /// It has been held for long enough.
    Enough(Reason),
    /// It broke.
    Broken(BoxError),
}

/// Why a head is released before the answer has shown what it is.
#[derive(Clone, Copy)]
enum Reason {
    Size,
    Memory,
    Time,
}

// === impl Hold ===

impl<B> Hold<B>
where
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Looks at the head.
    pub(super) fn start(
        response: Response<B>,
        settings: &Settings,
        asked: &Asked,
    ) -> Result<Start<B>, BoxError> {
        let facts = asked.facts.as_deref();
        let (parts, body) = response.into_parts();
        let expected = parts.status == StatusCode::OK && !asked.is_head && expects_answer(facts);
        if expected {
            check_content_type(&parts, facts)?;
        }
        let what = What::of(&parts, asked.is_head).or_else(|| expected.then_some(What::Unread));
        let Some(what) = what else {
            return Ok(Start::Pass(Response::from_parts(parts, Body::new(body))));
        };
        let since = matches!(what, What::Error | What::Unread).then(Instant::now);
        let budget = &settings.budget;
        let record = asked.record.as_deref();
        let reservation = record.map_or_else(|| budget.reservation(), |record| record.reservation(budget));
        let held = Held::new(reservation);
        Ok(Start::Hold(Self {
            answer: Some(Answer { what, parts, body, held }),
            since,
            alarm: Alarm::default(),
        }))
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        settings: &Settings,
    ) -> Poll<Result<Response<Body>, BoxError>> {
        // Gone only when polled again after the end, which no caller may do.
        while let Some(answer) = &mut self.answer {
            let shown = match Pin::new(&mut answer.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => answer.take_in(frame, settings),
                Poll::Ready(Some(Err(error))) => Shown::Broken(error.into()),
                Poll::Ready(None) => Shown::End,
                Poll::Pending => {
                    let now = Instant::now();
                    if self.since.is_none() && answer.what.has_begun() {
                        self.since = Some(now);
                    }
                    let Some(since) = self.since else { return Poll::Pending };
                    ready!(self.alarm.poll_due(cx, now, later(since, settings.hold_max)));
                    Shown::Enough(Reason::Time)
                }
            };
            if !matches!(shown, Shown::Nothing)
                && let Some(answer) = self.answer.take()
            {
                return Poll::Ready(answer.release(shown, settings));
            }
        }
        Poll::Pending
    }
}

// === impl Answer ===

impl<B> Answer<B>
where
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn take_in(&mut self, frame: Frame<Bytes>, settings: &Settings) -> Shown {
        let last = frame.is_trailers();
        let paid = self.held.push(frame);
        match &self.what {
            What::Unread if self.held.bytes() > 0 => return Shown::Answer,
            // Where one frame brought both, the error came last: in a stream nothing follows one.
            What::Events(state) if state.has_content() => return Shown::Answer,
            What::Events(state) => match state.failure() {
                Some(failure) => return Shown::Failure(failure.clone()),
                None if state.is_complete() => return Shown::Answer,
                None => {}
            },
            What::Error | What::Unread | What::Document(_) => {}
        }
        if last || self.body.is_end_stream() {
            return Shown::End;
        }
        if !paid {
            return Shown::Enough(Reason::Memory);
        }
        let max = match self.what {
            What::Error => settings.max_held.min(MAX_ERROR_BODY),
            What::Unread | What::Document(_) | What::Events(_) => settings.max_held,
        };
        // Tiny chunks weigh more than their bytes.
        if self.held.bytes() > max as u64 || self.held.cost() > max.saturating_mul(2) {
            return Shown::Enough(Reason::Size);
        }
        Shown::Nothing
    }

    fn release(mut self, shown: Shown, settings: &Settings) -> Result<Response<Body>, BoxError> {
        match shown {
            Shown::Failure(failure) => Ok(failed(self.parts, failure)),
            Shown::End => self.ended(settings),
            Shown::Broken(error) => self.broken(error, settings),
            Shown::Answer | Shown::Nothing => Ok(self.stream_on()),
            Shown::Enough(reason) => {
                metrics::counter!("towergate_early_commits_total", "reason" => reason.as_str()).increment(1);
                if matches!(self.what, What::Error) {
                    classify(&mut self.parts, settings, None);
                }
                Ok(self.stream_on())
            }
        }
    }

    /// What was held, and then the rest.
    fn stream_on(self) -> Response<Body> {
        Response::from_parts(self.parts, self.held.into_stream(self.body))
    }

    /// All of it is held.
    fn ended(mut self, settings: &Settings) -> Result<Response<Body>, BoxError> {
        match &self.what {
            What::Error => {
                let encoded = headers::is_encoded(&self.parts.headers);
                let bytes = self.held.contiguous().map_or(&[][..], |bytes| bytes);
                classify(&mut self.parts, settings, (!encoded).then_some(bytes));
            }
            What::Unread => return Err(empty(&self.parts).into()),
            What::Document(state) | What::Events(state) => {
                if let Some(failure) = failure_before_content(state) {
                    return Ok(failed(self.parts, failure.clone()));
                }
                if self.held.bytes() == 0 && self.parts.status == StatusCode::OK {
                    return Err(empty(&self.parts).into());
                }
                let events = state.kind() == AnswerKind::Events;
                if events && !state.has_content() && !state.is_complete() {
                    let message = "the upstream's stream ended before it carried any content";
                    return Err(bad_answer(&self.parts, message).into());
                }
            }
        }
        Ok(Response::from_parts(self.parts, self.held.into_whole()))
    }

    /// It failed while it was held.
    fn broken(mut self, error: BoxError, settings: &Settings) -> Result<Response<Body>, BoxError> {
        match &self.what {
            What::Error => {
                // The status says what matters. Half a body would only mislead.
                classify(&mut self.parts, settings, None);
                for name in [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_TYPE] {
                    self.parts.headers.remove(name);
                }
                return Ok(Response::from_parts(self.parts, Body::empty()));
            }
            What::Unread => {}
            What::Document(state) | What::Events(state) => {
                if let Some(failure) = failure_before_content(state) {
                    return Ok(failed(self.parts, failure.clone()));
                }
            }
        }
        if Error::find(&*error).is_some() {
            return Err(error);
        }
        let broken = Error::new(ErrorKind::Connection, "the upstream's answer broke off")
            .with_phase(Phase::Body)
            .with_sent(Sent::Unknown)
            .with_source(error);
        Err(name_provider(&self.parts, broken).into())
    }
}

impl<B> fmt::Debug for Answer<B> {
    /// Without headers and bytes: they are somebody's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.parts.status)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

// === impl What ===

impl What {
    fn of(parts: &Parts, is_head: bool) -> Option<Self> {
        if parts.status.is_client_error() || parts.status.is_server_error() {
            return Some(Self::Error);
        }
        if !parts.status.is_success() || is_head {
            return None;
        }
        let state = Arc::clone(parts.extensions.get::<Arc<StreamState>>()?);
        match state.kind() {
            AnswerKind::Json => Some(Self::Document(state)),
            AnswerKind::Events => Some(Self::Events(state)),
            AnswerKind::Opaque => None,
        }
    }

    /// Whether a stream has brought a data event.
    fn has_begun(&self) -> bool {
        matches!(self, Self::Events(state) if state.data_events() > 0)
    }
}

// === impl Reason ===

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Memory => "memory",
            Self::Time => "time",
        }
    }
}

fn failure_before_content(state: &StreamState) -> Option<&Failure> {
    state.failure().filter(|_| !state.has_content())
}

fn empty(parts: &Parts) -> Error {
    bad_answer(parts, "the upstream answered 200 with an empty body")
}

fn classify(parts: &mut Parts, settings: &Settings, body: Option<&[u8]>) {
    let class = settings.classify.classify(parts.status, &parts.headers, body);
    parts.extensions.insert(class);
    note_retry_after(parts);
}

fn note_retry_after(parts: &mut Parts) {
    if let Some(after) = RetryAfter::of(&parts.headers, SystemTime::now()) {
        parts.extensions.insert(after);
    }
}

/// The answer that an error inside an answer would have been.
fn failed(mut parts: Parts, failure: Failure) -> Response<Body> {
    parts.status = failure.status;
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(CONTENT_ENCODING);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // It is no stream any more, and nobody shall judge it as one.
    parts.extensions.remove::<Arc<StreamState>>();
    parts.extensions.insert(failure.class);
    note_retry_after(&mut parts);
    Response::from_parts(parts, failure.body.into())
}
