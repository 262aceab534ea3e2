//! A body on script, for tests: it waits, sends, fails and ends as told, and writes a
//! [`StreamState`] as the leaf would.

use std::{
    collections::VecDeque,
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use towergate_core::{BoxError, StreamState};

type Mark = Box<dyn FnOnce(&StreamState) + Send>;

enum Step {
    Wait(Duration),
    Data(Bytes, Mark),
    Trailers(HeaderMap),
    Fail(BoxError),
    Hang,
}

pub(crate) struct Scripted {
    state: Arc<StreamState>,
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Dropped with the body.
    alive: Arc<()>,
}

impl Scripted {
    pub(crate) fn new(state: &Arc<StreamState>) -> Self {
        Self { state: Arc::clone(state), steps: VecDeque::new(), sleep: None, alive: Arc::default() }
    }

    pub(crate) fn wait(self, wait: Duration) -> Self {
        self.step(Step::Wait(wait))
    }

    /// Bytes that say nothing: a comment, or a piece of something.
    pub(crate) fn data(self, bytes: impl Into<Bytes>) -> Self {
        self.marked(bytes, |_| {})
    }

    pub(crate) fn marked(
        self,
        bytes: impl Into<Bytes>,
        mark: impl FnOnce(&StreamState) + Send + 'static,
    ) -> Self {
        self.step(Step::Data(bytes.into(), Box::new(mark)))
    }

    /// A data event without content.
    pub(crate) fn event(self, bytes: impl Into<Bytes>) -> Self {
        self.marked(bytes, |state| state.count_data_event())
    }

    /// A data event with content.
    pub(crate) fn content(self, bytes: impl Into<Bytes>) -> Self {
        self.marked(bytes, |state| {
            state.count_data_event();
            state.set_content();
        })
    }

    pub(crate) fn trailers(self, trailers: HeaderMap) -> Self {
        self.step(Step::Trailers(trailers))
    }

    pub(crate) fn fail(self, error: impl Into<BoxError>) -> Self {
        self.step(Step::Fail(error.into()))
    }

    pub(crate) fn hang(self) -> Self {
        self.step(Step::Hang)
    }

    /// Counts two for as long as the body lives.
    pub(crate) fn alive(&self) -> Arc<()> {
        Arc::clone(&self.alive)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }
}

impl http_body::Body for Scripted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            return Poll::Ready(match self.steps.pop_front() {
                None => None,
                Some(Step::Wait(wait)) => {
                    self.sleep = Some(Box::pin(sleep(wait)));
                    continue;
                }
                Some(Step::Data(bytes, mark)) => {
                    mark(&self.state);
                    Some(Ok(Frame::data(bytes)))
                }
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::Fail(error)) => Some(Err(error)),
                Some(Step::Hang) => {
                    self.steps.push_front(Step::Hang);
                    return Poll::Pending;
                }
            });
        }
    }

    /// As of a body with a content length: it is over behind its last frame.
    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.sleep.is_none()
    }

    /// Exact where nothing but data follows.
    fn size_hint(&self) -> SizeHint {
        let lengths = self.steps.iter().map(|step| match step {
            Step::Data(bytes, _) => Some(bytes.len() as u64),
            _ => None,
        });
        lengths.sum::<Option<u64>>().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
