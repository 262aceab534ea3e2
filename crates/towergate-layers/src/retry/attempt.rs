//! What sits between tower's retry and the inner service: it sees each attempt begin.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Request;
use pin_project_lite::pin_project;
use tower_service::Service;
use towergate_core::{
    Body, BoxError, Facts,
    context::{Attempt, RequestId, RequestRecord},
};

use super::layer::Shared;

/// Counts and logs an attempt, and widens the inner error so that the policy can look into it.
#[derive(Debug, Clone)]
pub(super) struct Attempts<S> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
}

pin_project! {
    #[derive(Debug)]
    pub(super) struct AttemptFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<S> Service<Request<Body>> for Attempts<S>
where
    S: Service<Request<Body>>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = AttemptFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let extensions = request.extensions();
        if let Some(record) = extensions.get::<Arc<RequestRecord>>() {
            record.count_attempt();
        }
        tracing::debug!(
            attempt = extensions.get::<Attempt>().map(|Attempt(number)| number.get()),
            max_attempts = self.shared.max_attempts(extensions),
            request_id = extensions.get::<RequestId>().map(RequestId::as_str),
            model = extensions.get::<Arc<Facts>>().map(|facts| facts.shown_model()),
            provider = self.shared.counters.provider().as_str(),
            "attempt",
        );
        AttemptFuture { inner: self.inner.call(request) }
    }
}

impl<F, R, E> Future for AttemptFuture<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<BoxError>,
{
    type Output = Result<R, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.project().inner.poll(cx)).map_err(Into::into))
    }
}
