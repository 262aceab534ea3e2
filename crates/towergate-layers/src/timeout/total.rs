//! The bound on the whole request.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    Body, BoxError, Clock, Error, ErrorKind,
    context::{Deadline, Patience},
};

use super::{
    Timeouts,
    body::DeadlineBody,
    upload::{GapBody, is_whole},
};
use crate::alarm::{Alarm, later};

/// Our answer has to arrive before the client hangs up: what is taken off its patience, at most.
const MARGIN: Duration = Duration::from_millis(250);
/// And of a short patience: one part in this.
const MARGIN_PART: u32 = 20;

/// Bounds a request as a whole, from its upload to the end of its answer; see the
/// [module](super).
#[derive(Debug, Clone)]
pub struct TotalTimeoutLayer {
    timeouts: Timeouts,
    patience_headers: Arc<[HeaderName]>,
}

/// The service of [`TotalTimeoutLayer`].
#[derive(Debug, Clone)]
pub struct TotalTimeout<S> {
    inner: S,
    timeouts: Timeouts,
    patience_headers: Arc<[HeaderName]>,
}

pin_project! {
    /// The future of [`TotalTimeout`].
    #[derive(Debug)]
    pub struct TotalFuture<F> {
        #[pin]
        inner: F,
        deadline: Instant,
        total: Duration,
        patience: Option<(Instant, Duration)>,
        alarm: Alarm,
    }
}

// === impl TotalTimeoutLayer ===

impl TotalTimeoutLayer {
    /// Takes the total and the request body's gap; the other clocks are the attempt's.
    #[must_use]
    pub fn new(timeouts: &Timeouts) -> Self {
        Self { timeouts: *timeouts, patience_headers: Arc::new([]) }
    }

    /// The request headers in which clients say for how many seconds they wait for the head of an
    /// answer. Fractions are read; zero, negative numbers and junk are ignored; of several the
    /// smallest counts. None by default.
    ///
    /// One part in twenty is taken off, at most 250 ms, so that our answer is there first.
    #[must_use]
    pub fn patience_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.patience_headers = names.into_iter().collect();
        self
    }
}

impl<S> Layer<S> for TotalTimeoutLayer {
    type Service = TotalTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TotalTimeout { inner, timeouts: self.timeouts, patience_headers: Arc::clone(&self.patience_headers) }
    }
}

// === impl TotalTimeout ===

impl<S, B, ResBody> Service<Request<B>> for TotalTimeout<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    ResBody: http_body::Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = TotalFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        let now = Instant::now();
        let gap = self.timeouts.request_body();
        let mut req = req
            .map(|body| if is_whole(&body) { Body::new(body) } else { Body::new(GapBody::new(body, gap)) });

        let mut total = self.timeouts.total();
        let mut deadline = later(now, total);
        if let Some(Deadline(set)) = req.extensions().get().copied()
            && Instant::from_std(set) < deadline
        {
            deadline = Instant::from_std(set);
            total = deadline.saturating_duration_since(now);
        }
        req.extensions_mut().insert(Deadline(deadline.into_std()));

        let patience = patience(req.headers(), &self.patience_headers).map(|wait| {
            let margin = (wait / MARGIN_PART).min(MARGIN);
            (later(now, wait - margin), wait)
        });
        if let Some((until, _)) = patience {
            req.extensions_mut().insert(Patience(until.into_std()));
        }
        TotalFuture { inner: self.inner.call(req), deadline, total, patience, alarm: Alarm::default() }
    }
}

/// How long the client waits for a head, where it says so.
fn patience(headers: &HeaderMap, names: &[HeaderName]) -> Option<Duration> {
    names
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok()?.trim().parse::<f64>().ok())
        .filter_map(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|wait| !wait.is_zero())
        .min()
}

// === impl TotalFuture ===

impl<F, E, ResBody> Future for TotalFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    E: Into<BoxError>,
    ResBody: http_body::Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (deadline, total) = (*this.deadline, *this.total);
        if let Poll::Ready(result) = this.inner.poll(cx) {
            let alarm = std::mem::take(this.alarm);
            return Poll::Ready(match result {
                Ok(response) => {
                    let is_tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                    Ok(response.map(|body| {
                        if is_tunnel || is_whole(&body) {
                            Body::new(body)
                        } else {
                            Body::new(DeadlineBody::new(body, deadline, total, alarm))
                        }
                    }))
                }
                Err(error) => Err(restate(error.into(), total)),
            });
        }
        let (due, clock, after) = match *this.patience {
            Some((until, wait)) if until < deadline => (until, Clock::ClientPatience, wait),
            _ => (deadline, Clock::Total, total),
        };
        ready!(this.alarm.poll_due(cx, Instant::now(), due));
        Poll::Ready(Err(Error::timeout(clock, after).into()))
    }
}

/// An attempt knows the deadline, and not how long the request was given: says that again with the
/// right figure.
pub(super) fn restate(error: BoxError, total: Duration) -> BoxError {
    let Some(found) = Error::find(&*error).filter(|error| error.kind() == ErrorKind::Timeout(Clock::Total))
    else {
        return error;
    };
    let mut restated = Error::timeout(Clock::Total, total).with_phase(found.phase());
    if let Some(provider) = found.provider() {
        restated = restated.with_provider(provider.clone());
    }
    restated.into()
}
