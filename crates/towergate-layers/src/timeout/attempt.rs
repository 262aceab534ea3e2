//! The clocks of one attempt.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    Body, BoxError, Clock, Error, Facts, StreamState,
    context::{AttemptClocks, Deadline},
    label::Label,
};

use super::{
    Timeouts,
    body::{ResponseBody, Watch},
    upload::{SentBody, Upload, is_whole},
};
use crate::alarm::{Alarm, later};

/// Bounds one attempt: its head, its first event, and the gaps after it; see the [module](super).
#[derive(Debug, Clone)]
pub struct AttemptTimeoutLayer {
    timeouts: Timeouts,
    provider: Option<Label>,
}

/// The service of [`AttemptTimeoutLayer`].
#[derive(Debug, Clone)]
pub struct AttemptTimeout<S> {
    inner: S,
    timeouts: Timeouts,
    provider: Option<Label>,
}

pin_project! {
    /// The future of [`AttemptTimeout`].
    #[derive(Debug)]
    pub struct AttemptFuture<F> {
        #[pin]
        inner: F,
        limits: Limits,
        facts: Option<Arc<Facts>>,
        upload: Option<Arc<Upload>>,
        started: Instant,
        alarm: Alarm,
    }
}

/// What bounds an attempt, whatever it is waiting for.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) timeouts: Timeouts,
    pub(super) deadline: Instant,
    pub(super) provider: Option<Label>,
}

// === impl AttemptTimeoutLayer ===

impl AttemptTimeoutLayer {
    /// Takes head, first event and idle; the total only where no
    /// [`Deadline`] bounds the request already.
    #[must_use]
    pub fn new(timeouts: &Timeouts) -> Self {
        Self { timeouts: *timeouts, provider: None }
    }

    /// The provider to name in errors.
    #[must_use]
    pub fn provider(mut self, provider: Label) -> Self {
        self.provider = Some(provider);
        self
    }
}

impl<S> Layer<S> for AttemptTimeoutLayer {
    type Service = AttemptTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttemptTimeout { inner, timeouts: self.timeouts, provider: self.provider.clone() }
    }
}

// === impl AttemptTimeout ===

impl<S, B, ResBody> Service<Request<B>> for AttemptTimeout<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = BoxError;
    type Future = AttemptFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        let started = Instant::now();
        let deadline = match req.extensions().get() {
            Some(Deadline(set)) => Instant::from_std(*set),
            None => later(started, self.timeouts.total()),
        };
        let facts = req.extensions().get::<Arc<Facts>>().cloned();
        let timeouts = match req.extensions().get() {
            Some(clocks) => self.timeouts.overridden(clocks),
            None::<&AttemptClocks> => self.timeouts,
        };
        let mut upload = None;
        let req = req.map(|body| {
            if is_whole(&body) {
                return Body::new(body);
            }
            let upload = upload.insert(Upload::new(started));
            Body::new(SentBody::new(body, Arc::clone(upload)))
        });
        AttemptFuture {
            inner: self.inner.call(req),
            limits: Limits { timeouts, deadline, provider: self.provider.clone() },
            facts,
            upload,
            started,
            alarm: Alarm::default(),
        }
    }
}

// === impl AttemptFuture ===

impl<F, E, ResBody> Future for AttemptFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.inner.poll(cx) {
            let response = result.map_err(Into::into)?;
            let state = response.extensions().get::<Arc<StreamState>>().cloned();
            let is_tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            let watch = (!is_tunnel).then(|| Watch::new(this.limits.clone(), this.facts.as_deref(), state));
            let alarm = std::mem::take(this.alarm);
            return Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, watch, alarm))));
        }

        let now = Instant::now();
        let head = this.limits.timeouts.head(this.facts.as_deref()).map(|limit| {
            let since = this.upload.as_ref().map_or(*this.started, |upload| upload.upstream_since(now));
            (later(since, limit), Clock::Head, limit)
        });
        let (due, clock, after) = this.limits.earlier(head);
        ready!(this.alarm.poll_due(cx, now, due));
        Poll::Ready(Err(this.limits.error(clock, after).into()))
    }
}

// === impl Limits ===

impl Limits {
    /// A clock, or the deadline where that comes first.
    pub(super) fn earlier(&self, clock: Option<(Instant, Clock, Duration)>) -> (Instant, Clock, Duration) {
        clock
            .filter(|(due, ..)| *due <= self.deadline)
            .unwrap_or_else(|| (self.deadline, Clock::Total, self.timeouts.total()))
    }

    /// What a clock that went off says.
    pub(super) fn error(&self, clock: Clock, after: Duration) -> Error {
        let error = Error::timeout(clock, after).with_setting(self.timeouts.setting(clock));
        match &self.provider {
            Some(provider) => error.with_provider(provider.clone()),
            None => error,
        }
    }
}
