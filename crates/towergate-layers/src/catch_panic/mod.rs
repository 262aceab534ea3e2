//! A panic is an answer, not a dead connection.
//!
//! **Place.** Outermost, outside of `Respond`: it makes its answer itself. A second one right inside of
//! `Respond` turns a panic in a body into an error that `Respond` can tell the client of.
//!
//! **Request.** Not touched.
//!
//! **Response.** Passes; its body is wrapped, and its error widened. Where the inner `call` or its
//! future panics, the answer is a 500 with the provider's error envelope, `Content-Type` and
//! `Proxy-Status` (RFC 9209). Where the body panics the head is gone: the body ends with
//! [`ErrorKind::Internal`] and the transport breaks. What panicked is dropped at once, so that its
//! guards fire.
//!
//! **Errors** of the inner service pass as they are. Nothing is held, so a drop of the future or of
//! the body drops the inner one and that is all. A panic in `poll_ready` is not caught: no request
//! is there to be answered.
//!
//! The log says that, and where in the life of the request, something panicked. What the panic said
//! goes neither there nor to the client, as it may quote a key or a prompt; the panic hook of the
//! process has printed it, with its place in the code, and is the one to be replaced by whoever
//! wants it otherwise. With `panic = "abort"` nothing can be caught.
//!
//! tower-http's `CatchPanic` stops at the head: a panic in a body, where a stream spends nearly all
//! of its life, would still kill the connection and every other stream on it. It also boxes each
//! body, and hands the payload to whoever makes the answer.
//!
//! ```
//! # use std::convert::Infallible;
//! # use bytes::Bytes;
//! # use http::{HeaderValue, StatusCode};
//! # use towergate_core::{Error, Route, protocol::RenderError};
//! # struct Plain;
//! # impl RenderError for Plain {
//! #     fn body(&self, _: StatusCode, error: &Error) -> Bytes { error.to_string().into() }
//! #     fn content_type(&self) -> HeaderValue { HeaderValue::from_static("text/plain") }
//! #     fn event(&self, _: Option<&'static Route>, _: &Error) -> Bytes { Bytes::new() }
//! # }
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//! use towergate_core::Body;
//! use towergate_layers::catch_panic::CatchPanicLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Infallible> {
//! let service = CatchPanicLayer::new(Plain).layer(service_fn(async |_: Request<()>| {
//!     let nothing: Option<Response<Body>> = None;
//!     Ok::<_, Infallible>(nothing.unwrap())
//! }));
//!
//! assert_eq!(service.oneshot(Request::new(())).await?.status(), 500);
//! # Ok(())
//! # }
//! ```

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    Body, BoxError, Error, ErrorKind, context::Failed, headers::PROXY_STATUS, protocol::RenderError,
};

#[cfg(test)]
mod tests;

/// The value of `Proxy-Status`: who failed, and that it was a fault of its own (RFC 9209, section
/// 2.3.19).
const OUR_FAULT: HeaderValue = HeaderValue::from_static("towergate; error=proxy_internal_error");

/// Puts [`CatchPanic`] around a service.
#[derive(Clone)]
pub struct CatchPanicLayer {
    renderer: Arc<dyn RenderError>,
}

/// Turns a panic into an answer.
#[derive(Clone)]
pub struct CatchPanic<S> {
    inner: S,
    renderer: Arc<dyn RenderError>,
}

pin_project! {
    /// The future of [`CatchPanic`].
    pub struct ResponseFuture<F> {
        // None where something panicked.
        #[pin]
        inner: Option<F>,
        renderer: Arc<dyn RenderError>,
    }
}

pin_project! {
    /// The body of a [`CatchPanic`] answer.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        state: State<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProj]
    enum State<B> {
        Theirs { #[pin] body: B },
        Ours { body: Body },
    }
}

// === impl CatchPanicLayer ===

impl CatchPanicLayer {
    /// Answers a panic with an envelope of this renderer.
    #[must_use]
    pub fn new(renderer: impl RenderError) -> Self {
        Self { renderer: Arc::new(renderer) }
    }
}

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CatchPanic { inner, renderer: Arc::clone(&self.renderer) }
    }
}

impl fmt::Debug for CatchPanicLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchPanicLayer").finish_non_exhaustive()
    }
}

// === impl CatchPanic ===

impl<S, B, ResBody> Service<Request<B>> for CatchPanic<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    ResBody: HttpBody<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = caught("the call", || self.inner.call(request));
        ResponseFuture { inner, renderer: Arc::clone(&self.renderer) }
    }
}

impl<S: fmt::Debug> fmt::Debug for CatchPanic<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchPanic").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Runs it; `None`, and a line in the log, where it panics.
///
/// What the closure borrows may be left half done: it is dropped and not used again. A service
/// outlives its call, but must bear that anyhow: its clones share state across threads.
fn caught<T>(place: &'static str, run: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(run)).ok();
    if done.is_none() {
        tracing::error!(place, "a panic inside the gateway ended a request");
    }
    done
}

fn internal_error() -> Error {
    Error::new(ErrorKind::Internal, "the gateway failed inside")
}

// === impl ResponseFuture ===

impl<F, ResBody, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            match caught("the wait for the head", || inner.poll(cx)) {
                Some(polled) => {
                    return Poll::Ready(ready!(polled).map(|response| response.map(ResponseBody::theirs)));
                }
                None => drop(caught("cleaning up", || this.inner.set(None))),
            }
        }
        Poll::Ready(Ok(answer(&**this.renderer)))
    }
}

fn answer<B>(renderer: &dyn RenderError) -> Response<ResponseBody<B>> {
    let body = renderer.body(StatusCode::INTERNAL_SERVER_ERROR, &internal_error());
    let mut response = Response::new(ResponseBody { state: State::Ours { body: body.into() } });
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(CONTENT_TYPE, renderer.content_type());
    response.headers_mut().insert(PROXY_STATUS, OUR_FAULT);
    response.extensions_mut().insert(Failed(ErrorKind::Internal));
    response
}

impl<F: fmt::Debug> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("inner", &self.inner).finish_non_exhaustive()
    }
}

// === impl ResponseBody ===

impl<B> ResponseBody<B> {
    fn theirs(body: B) -> Self {
        Self { state: State::Theirs { body } }
    }
}

impl<B> HttpBody for ResponseBody<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.project().state;
        match state.as_mut().project() {
            StateProj::Theirs { body } => {
                if let Some(polled) = caught("the body", || body.poll_frame(cx)) {
                    return polled.map_err(Into::into);
                }
            }
            StateProj::Ours { body } => return Pin::new(body).poll_frame(cx),
        }
        caught("cleaning up", || state.set(State::Ours { body: Body::empty() }));
        Poll::Ready(Some(Err(internal_error().into())))
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Theirs { body } => body.is_end_stream(),
            State::Ours { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Theirs { body } => body.size_hint(),
            State::Ours { body } => body.size_hint(),
        }
    }
}
