//! Breaker: sets a provider aside that fails, and finds out when it is well again.
//!
//! **Place.** Around the attempts at one provider: inside retry, so that each attempt counts, and outside
//! of commit, so that a 200 that is no answer counts as the failure it is.
//!
//! **What counts.** A failure is an answer of the classes [`ServerError`](Class::ServerError),
//! [`Overloaded`](Class::Overloaded) or [`RequestTimeout`](Class::RequestTimeout), an error of the connection,
//! a clock of the attempt that ran out, an answer that is none, and a body that breaks off. A success is an
//! answer whose body ends, or whose reader leaves. Of what is the caller's own making, of a 429, a refused
//! credential and a used-up quota it learns nothing: these belong to the request or to the key.
//!
//! **States.** *Closed*: everything passes. It opens after a number of failures in a row, or where the share of
//! failures in a sliding window is too high. *Open*: nothing passes; the call ends with
//! [`ErrorKind::Unavailable`], with the time until then, and the inner service is not called. *Half open*,
//! after that time: a few attempts pass. The first that gets a good head closes it; a failure opens it again,
//! for twice as long. What becomes of attempts from before a change does not count after it.
//!
//! **Reads** the request's [`LastResort`] (it passes in any state: nobody else is left) and the answer's
//! [`Class`], else its status. **Writes** nothing. Frames, trailers and hints pass untouched.
//!
//! **Dropped** before the head or in the body, or never read: what was let pass is given back, so that
//! probes cannot run out.
//!
//! Each change of state is one line in the log (a warning where it opens) and one count:
//!
//! | metric | labels | |
//! |---|---|---|
//! | `towergate_breaker_state` | `provider` | 0 closed, 1 half open, 2 open |
//! | `towergate_breaker_changes_total` | `provider`, `to` | |
//!
//! tower has none. Of the crates that have one, none knows bodies or lets a router ask.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use tower::{Service as _, ServiceBuilder, ServiceExt as _, service_fn};
//! use towergate_core::{Body, BoxError, label::Label};
//! use towergate_layers::breaker::{BreakerConfig, BreakerHandle, BreakerLayer, BreakerState};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let mut config = BreakerConfig::default();
//! config.consecutive_failures = 1;
//! let breaker = BreakerHandle::new(Label::new("openai"), config);
//! let mut service = ServiceBuilder::new().layer(BreakerLayer::new(breaker.clone())).service(service_fn(
//!     async |_: Request<Body>| {
//!         let mut answer = Response::new(Body::empty());
//!         *answer.status_mut() = StatusCode::BAD_GATEWAY;
//!         Ok::<_, BoxError>(answer)
//!     },
//! ));
//! service.ready().await?.call(Request::new(Body::empty())).await?;
//! assert_eq!(breaker.state(), BreakerState::Open);
//! assert!(service.ready().await?.call(Request::new(Body::empty())).await.is_err());
//! # Ok(())
//! # }
//! ```

mod attempt;
mod config;
mod handle;
mod machine;
#[cfg(test)]
mod tests;
mod window;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    BoxError, Error,
    body::{Guard, Observed},
    context::LastResort,
};
// Named in the module's documentation only.
#[cfg(doc)]
use towergate_core::{Class, ErrorKind};

pub use self::{attempt::Attempt, config::BreakerConfig, handle::BreakerHandle, machine::BreakerState};

/// Puts a breaker around a service. See the [module](self).
#[derive(Debug, Clone)]
pub struct BreakerLayer {
    breaker: BreakerHandle,
}

/// The service of [`BreakerLayer`].
#[derive(Debug, Clone)]
pub struct Breaker<S> {
    inner: S,
    breaker: BreakerHandle,
}

pin_project! {
    /// The future of [`Breaker`].
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Called { #[pin] inner: F, guard: Option<Guard<Attempt>> },
        Refused { error: Option<Error> },
    }
}

/// The answer's body, watched to its end.
pub type ResponseBody<B> = Observed<B, Attempt>;

// === impl BreakerLayer ===

impl BreakerLayer {
    /// Services made by this layer, and by its clones, share the breaker.
    #[must_use]
    pub fn new(breaker: BreakerHandle) -> Self {
        Self { breaker }
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Breaker<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Breaker { inner, breaker: self.breaker.clone() }
    }
}

// === impl Breaker ===

impl<S, B, ResBody> Service<Request<B>> for Breaker<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    ResBody: Body<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let insist = request.extensions().get::<LastResort>().is_some();
        let state = match self.breaker.admit(insist) {
            Ok(admission) => {
                let attempt = Attempt::new(self.breaker.clone(), admission);
                // Armed before the call: one that panics gives back what it was let pass with.
                let guard = Some(Guard::new(attempt));
                State::Called { inner: self.inner.call(request), guard }
            }
            Err(until) => State::Refused { error: Some(self.breaker.refusal(until)) },
        };
        ResponseFuture { state }
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
    type Output = Result<Response<ResponseBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            // Polled again after its end it has nothing more to say.
            StateProj::Refused { error } => {
                error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error.into())))
            }
            StateProj::Called { inner, guard } => {
                let result = ready!(inner.poll(cx)).map_err(Into::into);
                let Some(mut guard) = guard.take() else { return Poll::Pending };
                if let Some(attempt) = guard.observer_mut() {
                    attempt.on_result(&result);
                }
                Poll::Ready(result.map(|response| response.map(|body| Observed::new(body, guard))))
            }
        }
    }
}
