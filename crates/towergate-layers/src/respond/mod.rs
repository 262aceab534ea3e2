//! Turns every error, and every answer of an upstream that failed, into the answer the client is to
//! get. Outside of it nothing fails any more: `Error = Infallible`.
//!
//! **Where.** Outside of all layers that can fail, inside of those that look at what the client gets
//! (request id, trace, metrics). An error that reaches hyper closes the connection without a word,
//! so this stands in every stack. tower has nothing like it.
//!
//! | from below | status | `x-should-retry` |
//! |---|---|---|
//! | an error | [`ErrorKind::status`] | `false` where an upstream was tried |
//! | an upstream's 2xx, 3xx | as it is | as it is |
//! | an upstream's 401, for the gateway's own key | 500; its text goes nowhere | `false` |
//! | an upstream's 401, for the caller's own key ([`CallerCredential`]) | as it is | as it is |
//! | an upstream's 408, 429 | as it is | `false`, but not where only the wait was too long |
//! | an upstream's other 4xx | as it is | as it is |
//! | an upstream's 508 | as it is: a gateway saw its request again | `false` |
//! | an upstream's other 5xx | 502; a 503 with `Retry-After` stays one | `false` |
//! | a failing answer whose body was [`Withheld`] | as it is, with our text | `false` |
//!
//! What takes the place of an answer is an envelope made by [`RenderError`]: with `Content-Length`,
//! `Proxy-Status` (RFC 9209), `Retry-After` and `retry-after-ms` where there is something to wait
//! for (1 s for a 503 that says nothing else), and `WWW-Authenticate` on our own 401. After several
//! attempts its message says how many. Answers that no upstream sent ([`Answered`] is missing) pass
//! as they are.
//!
//! **Reads** on the request: [`Arc<RequestRecord>`](RequestRecord), made where there is none. On the
//! answer: [`Answered`], [`Class`], [`GaveUp`], [`RetryAfter`], [`CallerCredential`] and [`Withheld`].
//!
//! **Writes** [`Failed`] into the extensions of each answer of our own making, and on every answer
//! `x-towergate-provider`, `x-towergate-attempts` and `x-towergate-overhead-ms` where they are
//! known. The answer to a request that brought a credential is kept out of shared caches
//! ([`keep_private`](headers::keep_private)).
//!
//! **An error inside the body** of server-sent events is told to the client as one last event
//! ([`RenderError::event`]), unless it [has been told](towergate_core::Error::is_signalled). Then
//! the body pauses for a [grace](RespondLayer::grace), and only then fails: hyper forgets what it has
//! not yet flushed when a body fails. What was sent last decides: inside a half-sent event nothing
//! can be put, for it would be read as that event's data, so then the transport breaks without a
//! word. The outcome is noted in the record ([`settle`](RequestRecord::settle)) at once, because the
//! client may hang up in the pause. Since an event may come on top, such a body has no
//! `Content-Length`. All other bodies fail as they are, and every other frame passes untouched.
//!
//! **Silence.** With a [`keep_alive`](RespondLayer::keep_alive) the client of an event stream gets the comment
//! `: keep-alive` while nothing comes; each counts in `towergate_keep_alives_total`.
//!
//! **Dropped** before the head or in the body, it drops what is below; it keeps nothing.
//!
//! **Logs** each error: at `warn` those of the gateway and its upstreams, at `debug`, and by their
//! code alone, what clients did wrong.
//!
//! ```
//! use bytes::Bytes;
//! use http::{HeaderValue, Request, Response, StatusCode};
//! use tower::{ServiceBuilder, ServiceExt as _, service_fn};
//! use towergate_core::{Body, BoxError, Error, ErrorKind, Route, protocol::RenderError};
//! use towergate_layers::respond::RespondLayer;
//!
//! struct Plain;
//! impl RenderError for Plain {
//!     fn body(&self, _: StatusCode, error: &Error) -> Bytes { error.to_string().into() }
//!     fn content_type(&self) -> HeaderValue { HeaderValue::from_static("text/plain") }
//!     fn event(&self, _: Option<&'static Route>, error: &Error) -> Bytes {
//!         format!("event: error\ndata: {error}\n\n").into()
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let service = ServiceBuilder::new().layer(RespondLayer::new(Plain)).service(service_fn(
//!     |_: Request<Body>| async { Err::<Response<Body>, _>(Error::new(ErrorKind::Draining, "shutting down")) },
//! ));
//! let answer = service.oneshot(Request::new(Body::empty())).await?;
//! assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
//! assert_eq!(answer.headers()["retry-after"], "1");
//! # Ok(())
//! # }
//! ```

mod answer;
mod body;
mod keep_alive;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, header::CONTENT_LENGTH};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{BoxError, Error, ErrorKind, context::RequestRecord, headers, protocol::RenderError};
// Named in the module's documentation only.
#[cfg(doc)]
use towergate_core::{
    Class,
    classify::RetryAfter,
    context::{Answered, CallerCredential, Failed, GaveUp, Withheld},
};

pub use self::body::ResponseBody;
use self::{
    answer::{Exchange, Verdict},
    body::{Stream, Tail},
    keep_alive::KeepAlive,
};

/// Makes [`Respond`]. See the [module](self).
#[derive(Clone)]
pub struct RespondLayer {
    renderer: Arc<dyn RenderError>,
    grace: Duration,
    keep_alive: Option<Duration>,
}

/// Answers whatever happens. See the [module](self).
pub struct Respond<S> {
    inner: S,
    renderer: Arc<dyn RenderError>,
    grace: Duration,
    keep_alive: Option<Duration>,
    /// What `poll_ready` failed with: there is a request to answer only at `call`.
    failed: Option<BoxError>,
}

pin_project! {
    /// The inner service's future.
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        exchange: Exchange,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Failed { error: Option<BoxError> },
        Called { #[pin] future: F },
    }
}

// === impl RespondLayer ===

impl RespondLayer {
    /// 1 s.
    pub const GRACE: Duration = Duration::from_secs(1);

    /// Answers in the shape that `renderer` gives to errors.
    pub fn new(renderer: impl RenderError) -> Self {
        Self { renderer: Arc::new(renderer), grace: Self::GRACE, keep_alive: None }
    }

    /// How long a stream stays open after the event that tells of an error: the time in which that
    /// event has to reach the client. At least a millisecond; default: [`GRACE`](Self::GRACE).
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// After how long a silence of the upstream a stream's client gets the comment `: keep-alive`, so that nobody in
    /// between takes the connection for dead: event streams only, between two events only, once the head is out, and
    /// never after an event with an `id`. Default: never.
    #[must_use]
    pub fn keep_alive(mut self, every: Option<Duration>) -> Self {
        self.keep_alive = every.filter(|every| !every.is_zero());
        self
    }
}

impl fmt::Debug for RespondLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RespondLayer").field("grace", &self.grace).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Respond {
            inner,
            renderer: Arc::clone(&self.renderer),
            grace: self.grace,
            keep_alive: self.keep_alive,
            failed: None,
        }
    }
}

// === impl Respond ===

impl<S: Clone> Clone for Respond<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            renderer: Arc::clone(&self.renderer),
            grace: self.grace,
            keep_alive: self.keep_alive,
            failed: None,
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Respond<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Respond")
            .field("inner", &self.inner)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

impl<S, B, ResBody> Service<Request<B>> for Respond<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    ResBody: Body<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.failed.is_none()
            && let Err(error) = ready!(self.inner.poll_ready(cx))
        {
            self.failed = Some(error.into());
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let exchange = Exchange {
            renderer: Arc::clone(&self.renderer),
            record: RequestRecord::of(request.extensions_mut()),
            grace: self.grace,
            keep_alive: self.keep_alive,
            head_only: request.method() == Method::HEAD,
            credentialed: headers::has_credentials(request.headers()),
            started: Instant::now(),
        };
        let state = match self.failed.take() {
            Some(error) => State::Failed { error: Some(error) },
            None => State::Called { future: self.inner.call(request) },
        };
        ResponseFuture { state, exchange }
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
    E: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(Ok(match this.state.project() {
            StateProj::Called { future } => match ready!(future.poll(cx)) {
                Ok(response) => this.exchange.answer(response),
                Err(error) => this.exchange.refuse_boxed(error.into()),
            },
            StateProj::Failed { error } => match error.take() {
                Some(error) => this.exchange.refuse_boxed(error),
                None => return Poll::Pending,
            },
        }))
    }
}

// === impl Exchange ===

impl Exchange {
    fn refuse_boxed<B>(&self, error: BoxError) -> Response<ResponseBody<B>> {
        match Error::find(&*error) {
            Some(error) => self.refuse(error),
            None => {
                let error = Error::new(ErrorKind::Internal, "the gateway failed inside").with_source(error);
                self.refuse(&error)
            }
        }
    }

    /// The answer to what came from below.
    fn answer<B>(&self, response: Response<B>) -> Response<ResponseBody<B>> {
        let (mut parts, body) = response.into_parts();
        match Verdict::of(&parts) {
            Verdict::Replace(error, status) => return self.replace(parts, error, status),
            Verdict::PassForGood => answer::tell_not_to_retry(&mut parts.headers),
            Verdict::Pass => {}
        }
        let is_stream = !self.head_only && body::is_event_stream(&parts.headers);
        let stream = is_stream.then(|| {
            // An event may come on top of it.
            parts.headers.remove(CONTENT_LENGTH);
            Stream {
                renderer: Arc::clone(&self.renderer),
                record: Arc::clone(&self.record),
                grace: self.grace,
                tail: Tail::default(),
                keep_alive: self
                    .keep_alive
                    .map(|every| KeepAlive::new(every, parts.extensions.get().cloned())),
            }
        });
        let mut response = Response::from_parts(parts, ResponseBody::passing(body, stream));
        self.stamp(&mut response);
        response
    }
}
