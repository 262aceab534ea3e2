//! Every request has an id, and every answer carries it.
//!
//! **Place.** Outside of everything that can answer by itself: then refusals and errors of our own
//! carry the id too, and the spans and log lines inside can name it.
//!
//! **Request.** One valid `x-request-id` of the client is kept ([`RequestId::new`]: visible ASCII,
//! at most 128 bytes). None, a bad one, or more than one, and a UUID v7 takes its place. The inner
//! service sees the id as the header and as the [`RequestId`] extension.
//!
//! **Response.** `x-request-id` is ours. One that came from inside, the upstream's own, becomes
//! `x-upstream-request-id`, unless it is the same.
//!
//! **Errors** of the inner service pass as they are; an error has no headers. Nothing is held, so a
//! drop of the future or of the body needs nothing done. The body is not touched.
//!
//! `tower_http::request_id` has the same two halves, but keeps an `x-request-id` that the response
//! has already: the upstream's would win over the one in our logs. It also trusts any id.
//!
//! ```
//! # use std::convert::Infallible;
//! use http::{Request, Response};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use towergate_core::context::RequestId;
//! use towergate_layers::request_id::RequestIdLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Infallible> {
//! let mut service = RequestIdLayer::new().layer(service_fn(async |request: Request<()>| {
//!     assert!(request.extensions().get::<RequestId>().is_some());
//!     let answer = Response::builder().header("x-request-id", "req_of_upstream").body("hi");
//!     Ok::<_, Infallible>(answer.unwrap())
//! }));
//!
//! let response = service.ready().await?.call(Request::new(())).await?;
//! assert_eq!(response.headers()["x-request-id"].len(), 36);
//! assert_eq!(response.headers()["x-upstream-request-id"], "req_of_upstream");
//! # Ok(())
//! # }
//! ```

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    context::RequestId,
    headers::{X_REQUEST_ID, X_UPSTREAM_REQUEST_ID},
};
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// Puts [`SetRequestId`] around a service.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestIdLayer(());

/// Gives every request and every answer an id.
#[derive(Debug, Clone)]
pub struct SetRequestId<S> {
    inner: S,
}

pin_project! {
    /// The future of [`SetRequestId`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        id: Option<RequestId>,
    }
}

// === impl RequestIdLayer ===

impl RequestIdLayer {
    /// The layer; it has no settings.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for RequestIdLayer {
    type Service = SetRequestId<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SetRequestId { inner }
    }
}

// === impl SetRequestId ===

impl<S, B, ResBody> Service<Request<B>> for SetRequestId<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = match inbound(request.headers()) {
            Some(id) => Some(id),
            None => {
                let made = fresh();
                if let Some(id) = &made {
                    // Replaces all of them, where the client sent several.
                    request.headers_mut().insert(X_REQUEST_ID, id.header().clone());
                }
                made
            }
        };
        if let Some(id) = &id {
            request.extensions_mut().insert(id.clone());
        }
        ResponseFuture { inner: self.inner.call(request), id }
    }
}

/// The id of a request: the client's own where it sent a valid one, else a new one. For answers that are given without
/// a service around which the layer could be.
#[must_use]
pub fn id_for(headers: &HeaderMap) -> Option<RequestId> {
    inbound(headers).or_else(fresh)
}

/// The client's id, where it sent exactly one and that one is valid.
fn inbound(headers: &HeaderMap) -> Option<RequestId> {
    let mut values = headers.get_all(X_REQUEST_ID).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    RequestId::new(only.clone())
}

/// A new id, which sorts by time. Hyphens and hex digits are always a valid one: it is never `None`.
fn fresh() -> Option<RequestId> {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).ok().and_then(RequestId::new)
}

// === impl ResponseFuture ===

impl<F, ResBody, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if let Some(id) = this.id.take() {
            let headers = response.headers_mut();
            let from_inside = headers.insert(X_REQUEST_ID, id.header().clone());
            if let Some(theirs) = from_inside.filter(|theirs| theirs != id.header()) {
                headers.insert(X_UPSTREAM_REQUEST_ID, theirs);
            }
        }
        Poll::Ready(Ok(response))
    }
}
