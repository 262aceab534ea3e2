//! [`Guarded`]: the service of one connection, which tells its clocks what is under way on it.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, UPGRADE},
};
use http_body::Frame;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower_service::Service;
use towergate_core::{
    Body, BoxError,
    body::{End, Guard, Observe, Observed},
};

use super::{drain::Drain, state::ConnectionState, stream::Stream, upload::received};

/// Wraps the service of one guarded connection.
#[derive(Debug, Clone)]
pub struct ConnectionGuard {
    state: Arc<ConnectionState>,
    drain: Option<Drain>,
}

/// The service of one connection: marks when a request is under way, and gives it the
/// [`Downstream`](towergate_core::context::Downstream) of its connection. Made by [`ConnectionGuard::wrap`].
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

// === impl OpenStream ===

impl OpenStream {
    fn new(state: &Arc<ConnectionState>) -> Self {
        let (id, stream) = state.open_stream();
        Self { state: Arc::clone(state), id, stream }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        // The body itself goes with `self.stream`, after the lock, which the end of a request takes.
        self.state.close_stream(self.id);
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
            None => self.guard.state.downstream(),
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
