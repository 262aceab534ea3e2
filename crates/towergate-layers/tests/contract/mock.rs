//! The service under the layer: scripted, and it remembers what was done to it.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, request::Parts};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tower::Service;
use towergate_core::{Body, BoxError};

/// What the service does. Each call is answered alike, so that a layer may call more than once.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) ready: Ready,
    pub(crate) answer: Answer,
}

/// How an instance becomes ready.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ready {
    Now,
    AfterOnePending,
    Fails,
}

#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The head never comes.
    Never,
    /// The call fails with [`Planted`].
    Error,
    /// A head, and this body.
    Body(MockBody),
    /// Reads the whole request first, then answers with an empty body.
    AfterReading,
}

/// One thing that a body does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Data(&'static [u8]),
    Trailers,
    /// Pending once; the waker is woken at once.
    Pause,
    /// Pending for ever.
    Stall,
    /// Fails with [`Planted`].
    Error,
}

/// The error that the service and its bodies fail with.
#[derive(Debug)]
pub(crate) struct Planted;

/// On every head the service sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marker;

/// The service. A clone is an instance of its own, and not ready.
#[derive(Debug)]
pub(crate) struct Mock {
    script: Script,
    watch: Watch,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unasked,
    Waited,
    Ready,
}

/// What was done to the service, over all its instances.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    calls: AtomicUsize,
    unready_calls: AtomicUsize,
    alive: Arc<AtomicUsize>,
    request: Mutex<Option<Received>>,
}

/// A request as it arrived.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) parts: Parts,
    pub(crate) hint: SizeHint,
    pub(crate) frames: Vec<Bytes>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A body that does what it is told, and whose life is counted.
#[derive(Debug)]
pub(crate) struct MockBody {
    steps: VecDeque<Step>,
    hint: Option<(u64, u64)>,
    alive: Option<Alive>,
}

/// Counts what is alive.
#[derive(Debug)]
pub(crate) struct Alive(Arc<AtomicUsize>);

// === impl Script ===

impl Script {
    pub(crate) fn answers(answer: Answer) -> Self {
        Self { ready: Ready::Now, answer }
    }

    pub(crate) fn body(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::answers(Answer::Body(MockBody::new(steps)))
    }
}

// === impl Planted ===

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("planted")
    }
}

impl std::error::Error for Planted {}

impl Planted {
    /// Whether an error is this one, however it was wrapped.
    pub(crate) fn is_in(error: &BoxError) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
        while let Some(error) = cause {
            if error.is::<Self>() {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// The trailers of every body that has some.
pub(crate) fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("x-trailer"), HeaderValue::from_static("1"))])
}

// === impl Watch ===

impl Watch {
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Relaxed)
    }

    pub(crate) fn unready_calls(&self) -> usize {
        self.0.unready_calls.load(Relaxed)
    }

    /// Futures, request bodies and response bodies that nobody has dropped yet.
    pub(crate) fn alive(&self) -> usize {
        self.0.alive.load(Relaxed)
    }

    /// The request that was read last.
    pub(crate) fn request(&self) -> Option<Received> {
        self.0.request.lock().ok()?.take()
    }

    pub(crate) fn live(&self) -> Alive {
        self.0.alive.fetch_add(1, Relaxed);
        Alive(Arc::clone(&self.0.alive))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

// === impl Mock ===

impl Mock {
    pub(crate) fn new(script: Script) -> (Self, Watch) {
        let watch = Watch::default();
        (Self { script, watch: watch.clone(), state: State::Unasked }, watch)
    }
}

impl Clone for Mock {
    fn clone(&self) -> Self {
        Self { script: self.script.clone(), watch: self.watch.clone(), state: State::Unasked }
    }
}

impl<B> Service<Request<B>> for Mock
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self.script.ready {
            Ready::Fails => return Poll::Ready(Err(Planted.into())),
            Ready::AfterOnePending if self.state == State::Unasked => {
                self.state = State::Waited;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Ready::AfterOnePending | Ready::Now => self.state = State::Ready,
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.watch.0.calls.fetch_add(1, Relaxed);
        if self.state != State::Ready {
            self.watch.0.unready_calls.fetch_add(1, Relaxed);
        }
        self.state = State::Unasked;
        let (answer, watch, alive) = (self.script.answer.clone(), self.watch.clone(), self.watch.live());
        Box::pin(async move {
            let _alive = alive;
            let body = match answer {
                Answer::Never => {
                    let _held = request;
                    pending().await
                }
                Answer::Error => return Err(Planted.into()),
                Answer::Body(body) => body,
                Answer::AfterReading => {
                    watch.read(request).await?;
                    MockBody::new([])
                }
            };
            let mut response = Response::new(Body::new(body.watched(&watch)));
            *response.status_mut() = StatusCode::ACCEPTED;
            response.headers_mut().insert("x-mock", HeaderValue::from_static("1"));
            response.extensions_mut().insert(Marker);
            Ok(response)
        })
    }
}

impl Watch {
    async fn read<B>(&self, request: Request<B>) -> Result<(), BoxError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let mut body = Body::new(body);
        let mut received = Received { parts, hint: body.size_hint(), frames: Vec::new(), trailers: None };
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) => received.frames.push(data),
                Err(frame) => received.trailers = frame.into_trailers().ok(),
            }
        }
        if let Ok(mut request) = self.0.request.lock() {
            *request = Some(received);
        }
        Ok(())
    }
}

// === impl MockBody ===

impl MockBody {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), hint: None, alive: None }
    }

    /// Reports this size instead of the exact one.
    pub(crate) fn with_hint(mut self, lower: u64, upper: u64) -> Self {
        self.hint = Some((lower, upper));
        self
    }

    pub(crate) fn watched(mut self, watch: &Watch) -> Self {
        self.alive = Some(watch.live());
        self
    }
}

/// A copy is of the script; it is watched once it is used.
impl Clone for MockBody {
    fn clone(&self) -> Self {
        Self { steps: self.steps.clone(), hint: self.hint, alive: None }
    }
}

impl http_body::Body for MockBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))),
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers())))),
            Some(Step::Error) => Poll::Ready(Some(Err(Planted.into()))),
            Some(Step::Pause) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Stall) => {
                self.steps.push_front(Step::Stall);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        if let Some((lower, upper)) = self.hint {
            hint.set_lower(lower);
            hint.set_upper(upper);
            return hint;
        }
        let known = |step: &Step| if let Step::Data(data) = step { data.len() as u64 } else { 0 };
        let sum = self.steps.iter().map(known).sum();
        hint.set_lower(sum);
        if !self.steps.iter().any(|step| matches!(step, Step::Stall | Step::Error)) {
            hint.set_upper(sum);
        }
        hint
    }
}
