//! What is known of one connection: whether a request is under way on it, and since when not.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, UPGRADE},
};
use http_body::Frame;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::{sync::Notify, time::Instant};
use tower_service::Service;
use towergate_core::{
    Body, BoxError,
    body::{End, Guard, Observe, Observed},
    context::Downstream,
};

use super::{
    drain::Drain,
    stream::{Found, Stream, Streams},
    upload::received,
};

/// What the clocks of a connection and the service on it tell each other.
#[derive(Debug)]
pub(super) struct ConnectionState {
    downstream: Downstream,
    /// Spares the lock at each read while a request is under way.
    busy: AtomicBool,
    inner: Mutex<Inner>,
    gone: Notify,
}

#[derive(Debug)]
struct Inner {
    /// Requests under way: more than one on HTTP/2 only.
    requests: usize,
    waiting: Waiting,
    multiplexed: bool,
    streams: Streams,
    tunnel: Option<Tunnelled>,
}

/// The connection is a tunnel, and so a request under way for as long as it lives.
#[derive(Debug)]
struct Tunnelled {
    drain: Option<Drain>,
}

/// What a connection waits for from its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    FirstByte(Instant),
    Header(Instant),
    Idle(Instant),
    /// A request is under way: its own clocks hold.
    No,
}

/// Wraps the service of one guarded connection.
#[derive(Debug, Clone)]
pub struct ConnectionGuard {
    state: Arc<ConnectionState>,
    drain: Option<Drain>,
}

/// The service of one connection: marks when a request is under way, and gives it the
/// [`Downstream`] of its connection. Made by [`ConnectionGuard::wrap`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    guard: ConnectionGuard,
}

pin_project! {
    /// The future of [`Guarded`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        under_way: Option<Guard<UnderWay>>,
        state: Arc<ConnectionState>,
        drain: Option<Drain>,
        // On multiplexed connections.
        stream: Option<OpenStream>,
        version: Version,
    }
}

/// The response body of [`Guarded`].
#[derive(Debug)]
pub struct ResponseBody(Kind);

#[derive(Debug)]
enum Kind {
    /// The socket's own clock sees a client that does not read.
    Alone(Answer),
    Stream(OpenStream),
}

/// The body of an answer, until whose end its request is under way.
pub(super) type Answer = Observed<Body, UnderWay>;

/// One stream of a multiplexed connection; closed when dropped.
#[derive(Debug)]
struct OpenStream {
    state: Arc<ConnectionState>,
    id: u64,
    stream: Arc<Stream>,
}

/// One request, until the end of its answer.
#[derive(Debug)]
pub(super) struct UnderWay {
    state: Arc<ConnectionState>,
    drain: Option<Drain>,
}

// === impl ConnectionState ===

impl ConnectionState {
    pub(super) fn new(now: Instant) -> Self {
        let inner = Inner {
            requests: 0,
            waiting: Waiting::FirstByte(now),
            multiplexed: false,
            streams: Streams::default(),
            tunnel: None,
        };
        Self {
            downstream: Downstream::default(),
            busy: AtomicBool::new(false),
            inner: Mutex::new(inner),
            gone: Notify::new(),
        }
    }

    /// The client reads nothing of the connection: every request on it is told.
    pub(super) fn set_stalled(&self) {
        self.downstream.set_stalled();
        self.lock().streams.set_stalled();
    }

    /// Lets go of the answers on single streams that the client has not read for `limit`; says when
    /// the next would be due. `None` where nothing but such streams is left of the connection.
    pub(super) fn check_streams(&self, now: Instant, limit: Duration) -> Option<Option<Instant>> {
        let inner = self.lock();
        if !inner.multiplexed {
            return Some(None);
        }
        let Found { stalled, abandoned, due } = inner.streams.check(now, limit);
        drop(inner);
        // Ends these requests, which takes the lock.
        drop(stalled);
        let over = abandoned && self.lock().requests == 0;
        (!over).then_some(due)
    }

    pub(super) fn waiting(&self) -> Waiting {
        self.lock().waiting
    }

    /// Until when a connection that is to be closed is left open: on HTTP/1.1 a client may be sending
    /// its next request at this moment, not having been told to go. `None`: close it now.
    pub(super) fn lingers_until(&self, now: Instant, linger: Duration) -> Option<Instant> {
        let inner = self.lock();
        match inner.waiting {
            // Its GOAWAY tells the client without losing anything (RFC 9113, section 6.8).
            _ if inner.multiplexed => None,
            Waiting::No => Some(now + linger),
            Waiting::FirstByte(since) | Waiting::Header(since) | Waiting::Idle(since) => {
                Some(since + linger).filter(|until| *until > now)
            }
        }
    }

    /// Bytes came in. On HTTP/2 they may be pings: only a request ends the idle time there.
    pub(super) fn bytes_arrived(&self) {
        if self.busy.load(Relaxed) {
            return;
        }
        let mut inner = self.lock();
        if matches!(inner.waiting, Waiting::FirstByte(_) | Waiting::Idle(_)) && !inner.multiplexed {
            inner.waiting = Waiting::Header(Instant::now());
        }
    }

    fn request_begins(&self, version: Version) {
        let mut inner = self.lock();
        inner.requests += 1;
        inner.multiplexed = version >= Version::HTTP_2;
        inner.waiting = Waiting::No;
        self.busy.store(true, Relaxed);
    }

    fn request_ends(&self) {
        let mut inner = self.lock();
        inner.requests = inner.requests.saturating_sub(1);
        if inner.requests == 0 {
            inner.waiting = Waiting::Idle(Instant::now());
            self.busy.store(false, Relaxed);
        }
    }

    /// Its client was told that the protocol is another from now on.
    fn tunnel_begins(&self, version: Version, drain: Option<&Drain>) {
        self.request_begins(version);
        if let Some(drain) = drain {
            drain.request_begins();
        }
        self.lock().tunnel = Some(Tunnelled { drain: drain.cloned() });
    }

    /// The connection itself was let go.
    pub(super) fn io_dropped(&self) {
        if let Some(Tunnelled { drain: Some(drain) }) = self.lock().tunnel.take() {
            drain.request_ends();
        }
        self.gone.notify_one();
    }

    /// Nothing in here can be left half done.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl OpenStream ===

impl OpenStream {
    fn new(state: &Arc<ConnectionState>) -> Self {
        let (id, stream) = state.lock().streams.open();
        Self { state: Arc::clone(state), id, stream }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        // The body itself goes with `self.stream`, after the lock, which the end of a request takes.
        self.state.lock().streams.close(self.id);
    }
}

// === impl ConnectionGuard ===

impl ConnectionGuard {
    pub(super) fn new(state: Arc<ConnectionState>) -> Self {
        Self { state, drain: None }
    }

    /// Once this closes, HTTP/1.1 answers carry `Connection: close`, so that clients move on before
    /// the connection is closed under them. Not earlier: a client that is told so comes back on a
    /// new connection, which would be lost if the listener closed at that moment.
    pub(super) fn with_drain(mut self, drain: Drain) -> Self {
        self.drain = Some(drain);
        self
    }

    pub(super) fn state(&self) -> Arc<ConnectionState> {
        Arc::clone(&self.state)
    }

    /// Resolves once the connection was let go, as a tunnel too. For one caller.
    pub(super) fn gone(&self) -> impl Future<Output = ()> + Send + 'static {
        let state = Arc::clone(&self.state);
        async move { state.gone.notified().await }
    }

    /// Wraps the service of the guarded connection, for hyper's `serve_connection_with_upgrades`:
    /// WebSockets need the upgrades.
    pub fn wrap<S>(self, service: S) -> Guarded<S> {
        Guarded { inner: service, guard: self }
    }
}

// === impl UnderWay ===

impl Observe for UnderWay {
    fn on_end(self, _: End<'_>) {
        self.state.request_ends();
        if let Some(drain) = &self.drain {
            drain.request_ends();
        }
    }
}

// === impl Guarded ===

impl<S> hyper::service::Service<Request<Incoming>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture<tower::util::Oneshot<S, Request<Body>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let version = request.version();
        self.guard.state.request_begins(version);
        if let Some(drain) = &self.guard.drain {
            drain.request_begins();
        }
        let under_way =
            Guard::new(UnderWay { state: Arc::clone(&self.guard.state), drain: self.guard.drain.clone() });
        let stream = (version >= Version::HTTP_2).then(|| OpenStream::new(&self.guard.state));
        let downstream = match &stream {
            Some(stream) => stream.stream.downstream(),
            None => &self.guard.state.downstream,
        };
        let mut request = received(request);
        request.extensions_mut().insert(downstream.clone());
        if let Some(drain) = self.guard.drain.as_ref().filter(|_| request.headers().contains_key(UPGRADE)) {
            request.extensions_mut().insert(drain.tunnels().clone());
        }
        ResponseFuture {
            inner: tower::util::Oneshot::new(self.inner.clone(), request),
            under_way: Some(under_way),
            state: Arc::clone(&self.guard.state),
            drain: self.guard.drain.clone(),
            stream,
            version,
        }
    }
}

// === impl ResponseFuture ===

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match ready!(this.inner.poll(cx)) {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            this.state.tunnel_begins(*this.version, this.drain.as_ref());
        } else if this.stream.is_none() && this.drain.as_ref().is_some_and(Drain::is_closing) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let (guard, stream) = (this.under_way.take(), this.stream.take());
        Poll::Ready(Ok(response.map(|body| {
            let body = match guard {
                Some(guard) => Observed::new(body, guard),
                // A future is not polled again after it was ready.
                None => Observed::disarmed(body),
            };
            ResponseBody(match stream {
                None => Kind::Alone(body),
                Some(stream) => {
                    stream.stream.answer(body);
                    Kind::Stream(stream)
                }
            })
        })))
    }
}

// === impl ResponseBody ===

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Alone(body) => Pin::new(body).poll_frame(cx),
            Kind::Stream(open) => open.stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Alone(body) => body.is_end_stream(),
            Kind::Stream(open) => open.stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.0 {
            Kind::Alone(body) => body.size_hint(),
            Kind::Stream(open) => open.stream.size_hint(),
        }
    }
}
