//! Counts requests, or the attempts at one provider: one outcome each, however it ends.
//!
//! **Where.** [`MetricsLayer::request`] stands outside of whatever answers errors, so that it sees
//! what the client gets; [`MetricsLayer::attempt`] below retry and above the layers that look at one
//! answer. `tower_http`'s metrics know requests in flight only, and a guard on the body alone misses
//! whoever goes away before the head.
//!
//! **Reads** on the request: [`Arc<RequestRecord>`](RequestRecord) (made where there is none), which
//! knows route and model even where no answer ever comes; [`Downstream`]; for attempts [`Deadline`]
//! and [`Patience`], which tell a timeout above from a client that went away. On the answer:
//! [`Failed`], and [`Arc<StreamState>`](StreamState). **Writes** nothing but, for attempts, the time
//! they waited for the head into the record.
//!
//! | what happens | outcome |
//! |---|---|
//! | the service fails | [`Outcome::of_kind`]; of an error that is not ours, [`Internal`](Outcome::Internal) |
//! | dropped before the head | [`ClientGoneBeforeHead`](Outcome::ClientGoneBeforeHead), or the clock that ran out |
//! | an answer that is a failure | that of its kind, or [`Outcome::of_status`]; whatever becomes of its body |
//! | the body is over | [`Completed`](Outcome::Completed); a stream that was not complete is [`Truncated`](Outcome::Truncated) |
//! | the body fails | [`Outcome::of_body_error`] |
//! | the body is dropped | [`ClientGoneInBody`](Outcome::ClientGoneInBody) or [`ClientStalled`](Outcome::ClientStalled); what it was told, where it was told of an error inside the stream; `Completed` where nothing was missing |
//!
//! The series are listed at [`describe`]. Labels are names from the route table, from the
//! configuration, and of outcomes: nothing that a client can choose. Each series is registered when
//! it is first used and its handle kept, so a request builds no name and no label. Frames, trailers
//! and hints pass untouched.
//!
//! ```
//! use std::convert::Infallible;
//! use http::{Request, Response};
//! use http_body_util::BodyExt as _;
//! use metrics_util::debugging::DebuggingRecorder;
//! use tower::{ServiceBuilder, ServiceExt as _, service_fn};
//! use towergate_core::Body;
//! use towergate_layers::metrics::MetricsLayer;
//!
//! let recorder = DebuggingRecorder::new();
//! let snapshotter = recorder.snapshotter();
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! metrics::with_local_recorder(&recorder, || runtime.block_on(async {
//!     let service = ServiceBuilder::new().layer(MetricsLayer::request()).service(service_fn(
//!         |_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("answer"))) },
//!     ));
//!     let answer = service.oneshot(Request::new(Body::empty())).await.unwrap();
//!     answer.into_body().collect().await.unwrap();
//! }));
//! let names: Vec<_> =
//!     snapshotter.snapshot().into_vec().into_iter().map(|(key, ..)| key.key().name().to_owned()).collect();
//! assert!(names.iter().any(|name| name == "towergate_requests_total"));
//! ```

mod names;
mod table;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    BoxError, Facts,
    body::{End, Guard, Observe, Observed},
    label::{Label, Labels},
};
// Named in the module's documentation only.
#[cfg(doc)]
use towergate_core::{
    Outcome, StreamState,
    context::{Deadline, Downstream, Failed, Patience, RequestRecord},
};

pub use self::names::{
    ATTEMPT_DURATION, ATTEMPT_FIRST_BYTE, ATTEMPTS, ATTEMPTS_IN_FLIGHT, CLIENT_REQUESTS, MALFORMED_EVENTS,
    REQUEST_DURATION, REQUEST_FIRST_BYTE, REQUESTS, REQUESTS_IN_FLIGHT, SECONDS, TOKENS, describe,
};
use self::table::{Attempts, Requests};
use crate::ending::{Ending, Scope};

/// Makes [`Metrics`]. See the [module](self). Clones, and the services made from them, share their
/// handles.
#[derive(Debug, Clone)]
pub struct MetricsLayer {
    series: Series,
}

/// Counts what passes. See the [module](self).
#[derive(Debug, Clone)]
pub struct Metrics<S> {
    inner: S,
    series: Series,
}

#[derive(Debug, Clone)]
enum Series {
    Requests(Arc<Requests>),
    Attempts(Arc<Attempts>),
}

pin_project! {
    /// The inner service's future, and the guard that goes on into the body.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        guard: Option<Guard<Recorder>>,
    }
}

/// The answer's body, watched to its end.
pub type ResponseBody<B> = Observed<B, Recorder>;

/// Records one outcome, once.
pub struct Recorder {
    ending: Ending,
    series: Series,
    /// Of an attempt: under which name the provider was asked for the model.
    facts: Option<Arc<Facts>>,
}

// === impl MetricsLayer ===

impl MetricsLayer {
    /// Counts requests: what the client gets.
    #[must_use]
    pub fn request() -> Self {
        Self { series: Series::Requests(Arc::default()) }
    }

    /// Counts the attempts at one provider.
    #[must_use]
    pub fn attempt(provider: Label) -> Self {
        Self { series: Series::Attempts(Arc::new(Attempts::new(provider))) }
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Metrics<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Metrics { inner, series: self.series.clone() }
    }
}

// === impl Metrics ===

impl<S, B, ResBody> Service<Request<B>> for Metrics<S>
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
        let guard = Guard::new(Recorder::start(&self.series, &mut request));
        ResponseFuture { inner: self.inner.call(request), guard: Some(guard) }
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
        let result = ready!(this.inner.poll(cx));
        let Some(mut guard) = this.guard.take() else { return Poll::Pending };
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                if let Some(recorder) = guard.observer_mut() {
                    recorder.ending.on_error(&error);
                }
                return Poll::Ready(Err(error));
            }
        };
        if !guard.observer_mut().is_none_or(|recorder| recorder.on_head(&response)) {
            guard.finish(End::Complete);
        }
        Poll::Ready(Ok(response.map(|body| Observed::new(body, guard))))
    }
}

// === impl Recorder ===

impl Recorder {
    fn start<B>(series: &Series, request: &mut Request<B>) -> Self {
        let (scope, facts) = match series {
            Series::Requests(series) => {
                series.in_flight().increment(1);
                (Scope::Request, None)
            }
            Series::Attempts(series) => {
                series.in_flight().increment(1);
                (Scope::Attempt, request.extensions().get().cloned())
            }
        };
        Self { ending: Ending::new(scope, request), series: series.clone(), facts }
    }

    fn on_head<B: Body>(&mut self, response: &Response<B>) -> bool {
        if let Series::Attempts(_) = self.series {
            self.ending.record.add_upstream_time(self.ending.elapsed());
        }
        self.ending.on_head(response)
    }
}

impl Observe for Recorder {
    fn on_data(&mut self, data: &Bytes) {
        self.ending.on_data(data.len());
    }

    fn on_end(self, end: End<'_>) {
        let Self { ending, series, facts } = self;
        let outcome = ending.outcome(&end);
        let (elapsed, first_byte) = (ending.elapsed(), ending.first_byte());
        match series {
            Series::Requests(series) => {
                let route = ending.record.route().map_or(Labels::OTHER, |route| route.name);
                let model = ending.record.facts().map(|facts| &facts.model_label);
                series.record(route, model, outcome, elapsed, first_byte);
                if let Some(client) = ending.record.client() {
                    series.count_client(&client.0, outcome);
                }
                series.in_flight().decrement(1);
            }
            Series::Attempts(series) => {
                if !ending.has_head() {
                    ending.record.add_upstream_time(elapsed);
                }
                series.record(outcome, elapsed, first_byte, ending.malformed_events());
                if let Some(usage) = ending.usage() {
                    series.count_tokens(facts.as_deref().map(|facts| &facts.model_label), &usage);
                }
                series.in_flight().decrement(1);
            }
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}
