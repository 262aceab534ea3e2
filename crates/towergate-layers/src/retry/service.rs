//! [`Retry`]: the service around tower's own.

use std::{
    fmt,
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;
use towergate_core::{
    Body, BoxError,
    context::{Attempt, RequestRecord},
};

use super::{attempt::Attempts, layer::Shared, replay::replayable, session::Session};

/// Repeats what failed in a way that may pass. Made by [`RetryLayer`](super::RetryLayer).
#[derive(Debug, Clone)]
pub struct Retry<S> {
    inner: tower::retry::Retry<Session, Attempts<S>>,
}

pin_project! {
    /// The future of [`Retry`].
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<Body>, Response = Response<B>>,
        S::Error: Into<BoxError>,
    {
        #[pin]
        inner: tower::retry::future::ResponseFuture<Session, Attempts<S>, Request<Body>>,
    }
}

// === impl Retry ===

impl<S> Retry<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        let attempts = Attempts { inner, shared: Arc::clone(&shared) };
        Self { inner: tower::retry::Retry::new(Session::new(shared), attempts) }
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner.get_ref().inner
    }

    /// The service inside.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner.get_mut().inner
    }

    /// The service inside.
    pub fn into_inner(self) -> S {
        self.inner.into_inner().inner
    }
}

impl<S, B, ReqBody> Service<Request<ReqBody>> for Retry<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    ReqBody: http_body::Body<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<BoxError>,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let mut request = request.map(Body::new);
        let shared = &self.inner.get_ref().shared;
        if shared.is_funding(request.headers()) {
            shared.budget.deposit();
        }
        // All attempts share the record that is there when the first of them begins.
        let record = RequestRecord::of(request.extensions_mut());
        request.extensions_mut().insert(Attempt(NonZeroU32::MIN));
        if shared.max_attempts(request.extensions()) > 1 {
            let settings = &shared.settings;
            let memory = record.memory().or(settings.replay_memory.as_ref());
            let reservation = memory.map(|memory| record.reservation(memory));
            request = request.map(|body| replayable(body, settings.replay_cap, reservation));
        }
        ResponseFuture { inner: self.inner.call(request) }
    }
}

// === impl ResponseFuture ===

impl<S, B> Future for ResponseFuture<S, B>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<B>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
