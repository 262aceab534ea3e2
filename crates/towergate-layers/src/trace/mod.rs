//! A span for each request, or for each attempt at a provider, and the line that says how it ended.
//!
//! **Where.** [`TraceLayer::request`] stands outside of whatever answers errors and inside of the
//! request id; [`TraceLayer::attempt`] below retry. `tower_http`'s trace can do neither the line of
//! a request that is dropped before its head, nor one outcome that is the same as in the metrics.
//!
//! **The request's span** is `request`, at error level, so that every line that is written at all
//! has it: `request_id`, `method`, `route`, `model`, `client` (the name of the client key),
//! `trace_id` (of a valid inbound `traceparent`, W3C Trace Context), `status`, `outcome`. **The
//! attempt's span** is `attempt`, at debug level as its lines: `attempt` (counted from 1), `provider`,
//! `route`, `model`, `status`, `outcome`. Both are entered whenever the future or the body is polled.
//!
//! **The line** is written once, when the body is over or dropped, with `elapsed_ms`, `ttfb_ms` (to
//! the first byte of the body) and, for a request, `attempts`; for a completed one `input_tokens` and
//! `output_tokens`, where the answer told them:
//!
//! | how a request ended | level |
//! |---|---|
//! | completed; the client's own error, or it went away | info |
//! | shed | warn |
//! | the gateway gave up: upstream error, timeout, truncated, internal | error |
//!
//! An attempt's is at debug: that it begins, and what becomes of it, is retry's to say.
//!
//! **Reads** on the request: [`RequestId`], [`Arc<RequestRecord>`](RequestRecord) (made where there
//! is none), [`Attempt`], [`Arc<Facts>`](Facts); on the answer what the
//! [outcome](towergate_core::Outcome) depends on. **Writes** nothing. Errors, frames, trailers and
//! hints pass untouched.
//!
//! Nothing that may hold a secret is written: no header but `traceparent`'s id, no query, no path
//! (its route's name), no body; methods that are not HTTP's own are `other`. The model is written
//! as the client wrote it where it is short and visible ASCII, else as its label.
//!
//! ```
//! use std::convert::Infallible;
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt as _, service_fn};
//! use towergate_core::Body;
//! use towergate_layers::trace::TraceLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Infallible> {
//! let service = ServiceBuilder::new().layer(TraceLayer::request()).service(service_fn(
//!     |_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("answer"))) },
//! ));
//! let answer = service.oneshot(Request::new(Body::empty())).await?;
//! // The line is written when the body is over.
//! drop(answer);
//! # Ok(())
//! # }
//! ```

mod context;
mod line;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    BoxError,
    body::{End, Guard, Observed},
    context::{Attempt, RequestId},
    label::Label,
};
use tracing::{Span, field::Empty};
// Named in the module's documentation only.
#[cfg(doc)]
use towergate_core::{Facts, context::RequestRecord};

use self::line::Line;
use crate::ending::{Ending, Scope};

/// Makes [`Trace`]. See the [module](self).
#[derive(Debug, Clone)]
pub struct TraceLayer {
    /// Of attempts; none for requests.
    provider: Option<Label>,
}

/// Puts a span around what passes. See the [module](self).
#[derive(Debug, Clone)]
pub struct Trace<S> {
    inner: S,
    provider: Option<Label>,
}

pin_project! {
    /// The inner service's future, in its span.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        span: Span,
        guard: Option<Guard<Line>>,
    }
}

pin_project! {
    /// The answer's body, in its span.
    pub struct ResponseBody<B> {
        #[pin]
        inner: Observed<B, Line>,
        span: Span,
    }
}

// === impl TraceLayer ===

impl TraceLayer {
    /// A span for each request.
    #[must_use]
    pub fn request() -> Self {
        Self { provider: None }
    }

    /// A span for each attempt at a provider.
    #[must_use]
    pub fn attempt(provider: Label) -> Self {
        Self { provider: Some(provider) }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Trace { inner, provider: self.provider.clone() }
    }
}

// === impl Trace ===

impl<S, B, ResBody> Service<Request<B>> for Trace<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    S::Error: 'static,
    ResBody: Body<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (scope, span) = match &self.provider {
            None => (Scope::Request, request_span(&request)),
            Some(provider) => (Scope::Attempt, attempt_span(&request, provider)),
        };
        let line = Line::begin(scope, Ending::new(scope, &mut request), span.clone());
        let guard = Some(Guard::new(line));
        let inner = span.in_scope(|| self.inner.call(request));
        ResponseFuture { inner, span, guard }
    }
}

fn request_span<B>(request: &Request<B>) -> Span {
    tracing::error_span!(
        "request",
        request_id = request.extensions().get().map(RequestId::as_str),
        method = method(request.method()),
        route = Empty,
        model = Empty,
        client = Empty,
        trace_id = context::trace_id(request.headers()),
        status = Empty,
        outcome = Empty,
    )
}

fn attempt_span<B>(request: &Request<B>, provider: &Label) -> Span {
    tracing::debug_span!(
        "attempt",
        attempt = request.extensions().get().map(|Attempt(number)| number.get()),
        provider = provider.as_str(),
        route = Empty,
        model = Empty,
        status = Empty,
        outcome = Empty,
    )
}

/// A client may send any word.
fn method(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS
        | Method::PATCH
        | Method::CONNECT
        | Method::TRACE => method.as_str(),
        _ => "other",
    }
}

// === impl ResponseFuture ===

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: 'static,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = this.span.in_scope(|| this.inner.poll(cx));
        let Some(line) = this.guard.as_mut().and_then(Guard::observer_mut) else { return Poll::Pending };
        // Whatever is logged from the second poll on, a retry above all, can say what it is about.
        line.name();
        match ready!(polled) {
            Err(error) => {
                line.fail(&error);
                *this.guard = None;
                Poll::Ready(Err(error))
            }
            Ok(response) => {
                let has_body = line.head(&response);
                let Some(mut guard) = this.guard.take() else { return Poll::Pending };
                if !has_body {
                    guard.finish(End::Complete);
                }
                let span = this.span.clone();
                Poll::Ready(Ok(response.map(|body| ResponseBody { inner: Observed::new(body, guard), span })))
            }
        }
    }
}

// === impl ResponseBody ===

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        this.span.in_scope(|| this.inner.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
