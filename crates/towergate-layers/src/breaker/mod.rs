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

mod config;
mod machine;
#[cfg(test)]
mod tests;
mod window;

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::SystemTime,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    BoxError, Class, Clock, Error, ErrorKind, Outcome, Sent,
    body::{End, Guard, Observe, Observed},
    context::LastResort,
    label::Label,
};

use self::machine::{Admission, Change, Machine};
pub use self::{config::BreakerConfig, machine::BreakerState};

/// The breaker of one provider. Clones are the same one.
#[derive(Debug, Clone)]
pub struct BreakerHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    provider: Label,
    config: BreakerConfig,
    machine: Mutex<Machine>,
    last_failure: Mutex<Option<(SystemTime, String)>>,
}

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

/// An attempt that was let pass, until it is known what came of it.
pub struct Attempt {
    breaker: BreakerHandle,
    admission: Option<Admission>,
    has_head: bool,
}

// === impl BreakerHandle ===

impl BreakerHandle {
    /// A closed breaker. The provider's name is for metrics, log and errors.
    #[must_use]
    pub fn new(provider: Label, config: BreakerConfig) -> Self {
        let machine = Mutex::new(Machine::new(&config, Instant::now()));
        Self(Arc::new(Inner { provider, config, machine, last_failure: Mutex::new(None) }))
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.lock().state()
    }

    /// When its state last changed, if ever.
    #[must_use]
    pub fn changed_at(&self) -> Option<Instant> {
        self.lock().changed_at()
    }

    /// The last failure that counted, and when it was. Says a status or what broke; nothing that was asked or answered.
    #[must_use]
    pub fn last_failure(&self) -> Option<(SystemTime, String)> {
        self.0.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When an attempt would be let pass; `None`: now.
    #[must_use]
    pub fn available_at(&self) -> Option<Instant> {
        self.lock().available_at(&self.0.config, Instant::now())
    }

    fn admit(&self, insist: bool) -> Result<Admission, Instant> {
        let (admission, change) = self.lock().admit(&self.0.config, Instant::now(), insist);
        self.tell(change);
        admission
    }

    fn succeed(&self, admission: Admission) {
        let change = self.lock().succeed(admission, Instant::now());
        self.tell(change);
    }

    fn fail(&self, admission: Admission) {
        let change = self.lock().fail(&self.0.config, admission, Instant::now(), fastrand::f64());
        self.tell(change);
    }

    fn note(&self, failure: String) {
        let noted = Some((SystemTime::now(), failure));
        *self.0.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = noted;
    }

    fn release(&self, admission: Admission) {
        self.lock().release(admission);
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: Option<Change>) {
        let Some(Change { to, open_for, failures, attempts }) = change else { return };
        let provider = self.0.provider.as_str();
        let (name, level) = match to {
            BreakerState::Closed => ("closed", 0.0),
            BreakerState::HalfOpen => ("half_open", 1.0),
            BreakerState::Open => ("open", 2.0),
        };
        match open_for {
            Some(time) => {
                let open_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(
                    provider,
                    open_ms,
                    failures,
                    attempts,
                    "the breaker opens: the provider is set aside"
                );
            }
            None if to == BreakerState::Closed => {
                tracing::info!(provider, "the breaker closes: the provider is well again");
            }
            None => tracing::info!(provider, "the breaker is half open: the provider is tried again"),
        }
        let label = || self.0.provider.to_shared();
        metrics::describe_gauge!("towergate_breaker_state", "0 closed, 1 half open, 2 open");
        metrics::gauge!("towergate_breaker_state", "provider" => label()).set(level);
        metrics::describe_counter!("towergate_breaker_changes_total", "Changes of a breaker's state");
        metrics::counter!("towergate_breaker_changes_total", "provider" => label(), "to" => name)
            .increment(1);
    }

    fn refusal(&self, until: Instant) -> Error {
        let provider = &self.0.provider;
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "the provider {provider} is set aside after failures, and nobody else serves this request"
            ),
        )
        .with_provider(provider.clone())
        .with_setting("breaker")
        .with_sent(Sent::Nothing)
        .with_retry_after(until.saturating_duration_since(Instant::now()))
    }
}

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
                let attempt =
                    Attempt { breaker: self.breaker.clone(), admission: Some(admission), has_head: false };
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

// === impl Attempt ===

impl Attempt {
    fn on_result<B>(&mut self, result: &Result<Response<B>, BoxError>) {
        self.has_head = result.is_ok();
        let said = match result {
            Ok(response) => {
                let class = response.extensions().get().copied();
                of_class(class.unwrap_or_else(|| Class::of_status(response.status())))
            }
            Err(error) => of_error(error),
        };
        if said == Said::Failing {
            self.breaker.note(match result {
                Ok(response) => format!("it answered {}", response.status().as_u16()),
                Err(error) => told(&**error),
            });
        }
        match (said, self.admission) {
            // Whether the rest comes is seen at the end; that it answers at all is known now.
            (Said::Well, Some(admission)) if admission.probe => self.settle(said),
            (Said::Well, _) => {}
            _ => self.settle(said),
        }
    }

    fn settle(&mut self, said: Said) {
        let Some(admission) = self.admission.take() else { return };
        match said {
            Said::Well => self.breaker.succeed(admission),
            Said::Failing => self.breaker.fail(admission),
            Said::Nothing => self.breaker.release(admission),
        }
    }
}

impl Observe for Attempt {
    fn on_end(mut self, end: End<'_>) {
        let said = match end {
            End::Error(error) => match Outcome::of_body_error(error) {
                Outcome::Truncated
                | Outcome::UpstreamError
                | Outcome::Timeout(Clock::FirstEvent | Clock::Idle) => Said::Failing,
                _ => Said::Nothing,
            },
            End::Complete | End::Dropped if self.has_head => Said::Well,
            End::Complete | End::Dropped => Said::Nothing,
        };
        if let (Said::Failing, End::Error(error)) = (said, end) {
            self.breaker.note(told(&**error));
        }
        self.settle(said);
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

/// An error in words that may be shown: a stranger's may hold anything.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    Error::find(error).map_or_else(|| "it failed".to_owned(), ToString::to_string)
}

/// What an attempt says of its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Well,
    Failing,
    Nothing,
}

fn of_class(class: Class) -> Said {
    match class {
        Class::ServerError | Class::Overloaded | Class::RequestTimeout => Said::Failing,
        Class::RateLimited | Class::QuotaExhausted | Class::AuthRefused => Said::Nothing,
        // It did look at the request.
        _ => Said::Well,
    }
}

fn of_error(error: &BoxError) -> Said {
    // A foreign error is a connection that broke, for all that is known.
    let Some(error) = Error::find(&**error) else { return Said::Failing };
    match error.kind() {
        ErrorKind::UpstreamStatus(status) => of_class(Class::of_status(status)),
        ErrorKind::Connect
        | ErrorKind::Connection
        | ErrorKind::BadAnswer
        | ErrorKind::Truncated
        | ErrorKind::Timeout(Clock::Connect | Clock::Head | Clock::FirstEvent | Clock::Idle) => Said::Failing,
        _ => Said::Nothing,
    }
}
