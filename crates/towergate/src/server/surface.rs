//! The operators' surface: `/healthz`, `/readyz`, `/health` and `/metrics`, in front of the API.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_service::Service;
use towergate_core::{Body, Error, headers::X_REQUEST_ID, protocol::RenderError as _};
use towergate_layers::request_id;
use towergate_openai::protocol::OpenAiProtocol;

use super::drain::Drain;
use crate::Gateway;

/// Answers the operators' paths itself and hands the rest on.
#[derive(Clone)]
pub(super) struct Surface<S> {
    inner: S,
    drain: Drain,
    shown: Shown,
    /// Whose rules hold for who may see them.
    gateway: Option<Gateway>,
    /// Where the operators have a listener of their own. Among clients nothing is shown while the gateway asks for keys.
    own_listener: Option<SocketAddr>,
}

/// What operators see beside whether the process lives and is ready; what is not there is a path like any other.
#[derive(Clone, Default)]
pub(super) struct Shown {
    pub(super) metrics: Option<PrometheusHandle>,
    pub(super) health: Option<Gateway>,
}

/// What is behind the operators' own listener: nothing.
#[derive(Debug, Clone)]
pub(super) struct Nothing;

// === impl Surface ===

impl<S> Surface<S> {
    pub(super) fn new(inner: S, drain: Drain, shown: Shown, gateway: Option<Gateway>) -> Self {
        Self { inner, drain, shown, gateway, own_listener: None }
    }

    /// Asked anew each time: a reload may bring keys, or take them away.
    fn is_hidden(&self) -> bool {
        self.own_listener.is_none() && self.shown.health.as_ref().is_some_and(Gateway::asks_for_keys)
    }

    fn answer<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let of_api = match request.uri().path() {
            "/healthz" | "/readyz" => false,
            "/metrics" => self.shown.metrics.is_none() || self.is_hidden(),
            "/health" => self.shown.health.is_none() || self.is_hidden(),
            _ => true,
        };
        if of_api {
            return None;
        }
        if let Some(Err(error)) =
            self.gateway.as_ref().map(|gateway| gateway.check_operator(request, self.own_listener))
        {
            return Some(refused(&error));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
            response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(response);
        }
        Some(match (request.uri().path(), &self.shown) {
            ("/metrics", Shown { metrics: Some(metrics), .. }) => {
                of_type("text/plain; version=0.0.4; charset=utf-8", metrics.render())
            }
            // Always 200: whoever takes it for a probe would end every gateway while an upstream is down.
            ("/health", Shown { health: Some(gateway), .. }) => {
                // Texts, numbers and options of them: nothing that JSON cannot hold.
                of_type("application/json", serde_json::to_vec(&gateway.health()).unwrap_or_default())
            }
            ("/readyz", _) if self.drain.is_draining() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            _ => text(StatusCode::OK, "ok\n"),
        })
    }
}

impl Surface<Nothing> {
    pub(super) fn admin(listener: SocketAddr, drain: Drain, shown: Shown, gateway: Option<Gateway>) -> Self {
        Self { inner: Nothing, drain, shown, gateway, own_listener: Some(listener) }
    }
}

/// As the API refuses.
fn refused(error: &Error) -> Response<Body> {
    let (protocol, status) = (OpenAiProtocol::default(), error.kind().status());
    let mut response = Response::new(Body::from(protocol.body(status, error)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, protocol.content_type());
    response
}

fn of_type(content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// With an id, as every answer has one. What is handed on gets its own from the gateway.
fn identified<B>(request: &Request<B>, mut response: Response<Body>) -> Response<Body> {
    if let Some(id) = request_id::id_for(request.headers()) {
        response.headers_mut().insert(X_REQUEST_ID, id.header().clone());
    }
    response
}

fn text(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

impl<S> Service<Request<Body>> for Surface<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response<Body>, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.answer(&request) {
            Some(response) => Either::Left(ready(Ok(identified(&request, response)))),
            None => Either::Right(self.inner.call(request)),
        }
    }
}

// === impl Nothing ===

impl Service<Request<Body>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let response = text(StatusCode::NOT_FOUND, "here are /healthz, /readyz, /health and /metrics\n");
        ready(Ok(identified(&request, response)))
    }
}
