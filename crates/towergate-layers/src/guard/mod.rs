//! Keeps web pages out that were not let in: what a browser sends for a page of another origin, and what it sends for
//! a page whose name was rebound to this service's address (DNS rebinding).
//!
//! A service on a loopback address that asks for no key trusts whoever reaches it. A browser on the same machine
//! reaches it for every page that it shows: a `POST` with `text/plain` and a WebSocket need nobody's leave, and where
//! a page's own name resolves to the loopback address, the page may even read what comes back.
//!
//! **Where.** Inside of [`Respond`](crate::respond), which makes the 403, and outside of the check of credentials, so
//! that a page learns nothing from it. CORS (`tower_http::cors`) belongs outside of both: a preflight carries no
//! credentials, and a page of an origin that is accepted must be able to read errors, too.
//!
//! **Request.** [`Rules`] say what is looked at: every request, or WebSockets alone. Nothing is changed.
//!
//! **Errors.** [`ErrorKind::Forbidden`](towergate_core::ErrorKind::Forbidden), with the setting that would let the
//! request in; the inner service is not called. Responses and bodies are not touched. Nothing is held, so a drop of
//! the future or of the body needs nothing done.
//!
//! tower-http has no such layer: its `ValidateRequestHeaderLayer` could refuse, but answers by itself, past `Respond`.
//!
//! ```
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//! use towergate_core::{BoxError, Error};
//! use towergate_layers::guard::{AllowedHosts, AllowedOrigins, GuardLayer, Rules};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let rules = Rules::for_every_request(AllowedHosts::loopback().and(["gateway.example.com".parse()?]))
//!     .allowed_origins(AllowedOrigins::new(["https://app.example.com".parse()?]));
//! let service = GuardLayer::new(rules)
//!     .layer(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(()))));
//!
//! let request = |host, origin| Request::builder().header("host", host).header("origin", origin).body(());
//! service.clone().oneshot(request("localhost:8080", "http://localhost:8080")?).await?;
//! service.clone().oneshot(request("gateway.example.com", "https://app.example.com")?).await?;
//!
//! let refused = service.clone().oneshot(request("localhost:8080", "https://evil.example")?).await;
//! assert_eq!(Error::from_boxed(refused.unwrap_err()).code(), "origin_not_allowed");
//! let rebound = service.oneshot(request("evil.example", "http://evil.example")?).await;
//! assert_eq!(Error::from_boxed(rebound.unwrap_err()).code(), "host_not_allowed");
//! # Ok(())
//! # }
//! ```

mod host;
mod origin;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::BoxError;

pub use self::{
    host::{AllowedHosts, HostPattern, InvalidHost},
    origin::{AllowedOrigins, InvalidOrigin, OriginPattern},
    rules::Rules,
};
use crate::refusable::Refusable;

/// Puts [`Guard`] around a service. See the [module](self).
#[derive(Debug, Clone)]
pub struct GuardLayer {
    rules: Arc<Rules>,
}

/// Lets in what its [`Rules`] allow. See the [module](self).
#[derive(Debug, Clone)]
pub struct Guard<S> {
    inner: S,
    rules: Arc<Rules>,
}

pin_project! {
    /// The future of [`Guard`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Refusable<F>,
    }
}

// === impl GuardLayer ===

impl GuardLayer {
    /// Holds every request to these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules: Arc::new(rules) }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guard { inner, rules: Arc::clone(&self.rules) }
    }
}

// === impl Guard ===

impl<S, B, ResBody> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = match self.rules.check(&request) {
            Ok(()) => Refusable::called(self.inner.call(request)),
            Err(error) => Refusable::refused(error),
        };
        ResponseFuture { inner }
    }
}

// === impl ResponseFuture ===

impl<F, ResBody, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<ResBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}
