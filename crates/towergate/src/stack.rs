//! The order of the layers: here, and nowhere else. `docs/stack.md` draws it and says why.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_layer::Layer as _;
use tower_service::Service;
use towergate_core::{Body, BoxError, label::Label};
use towergate_layers::{
    auth::AuthLayer,
    breaker::{BreakerHandle, BreakerLayer},
    catch_panic::CatchPanicLayer,
    client_auth::ClientAuthLayer,
    commit::CommitLayer,
    guard::GuardLayer,
    intake::IntakeLayer,
    key_ring::{KeyRing, KeyRingLayer},
    limit::LimitLayer,
    metrics::MetricsLayer,
    request_id::RequestIdLayer,
    respond::RespondLayer,
    retry::RetryLayer,
    timeout::{AttemptTimeoutLayer, TotalTimeoutLayer},
    trace::TraceLayer,
};

use crate::{
    GatewayBuilder,
    gateway::GatewayService,
    provider::{Parts, ProviderService},
    router::Router,
    tunnel::{CloseTunnels, TunnelLayer},
};

/// The seconds for which an SDK says it will wait.
const PATIENCE: [HeaderName; 2] =
    [HeaderName::from_static("x-stainless-timeout"), HeaderName::from_static("x-stainless-read-timeout")];

/// How often an SDK has tried already: such a request does not fund the retry budget.
const RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");

/// What every request passes, outermost first.
pub(crate) fn gateway(
    router: Router,
    settings: &GatewayBuilder,
    close: &Arc<CloseTunnels>,
) -> GatewayService {
    let respond = RespondLayer::new(settings.protocol.clone()).keep_alive(settings.stream_keep_alive);
    let inside = respond.layer(fallible(router, settings));
    // Without it nothing of it is there, not even room in the future.
    match settings.guard.cors() {
        Some(cors) => edge(cors.layer(inside), settings, close),
        None => edge(inside, settings, close),
    }
}

/// The part of [`gateway`] that looks at what the client gets.
fn edge<S, B>(inside: S, settings: &GatewayBuilder, close: &Arc<CloseTunnels>) -> GatewayService
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    let stack = ServiceBuilder::new()
        .layer(TunnelLayer::new(Arc::clone(close)))
        .map_response(boxed)
        .layer(RequestIdLayer::new())
        .layer(TraceLayer::request())
        .layer(MetricsLayer::request())
        .layer(CatchPanicLayer::new(settings.protocol.clone()))
        .service(inside);
    BoxCloneSyncService::new(stack)
}

/// The part of [`gateway`] that may fail. A function of its own, whose type says what is known of it: the compiler looks
/// into every layer of a stack several times for each layer around it.
fn fallible(
    router: Router,
    settings: &GatewayBuilder,
) -> impl Service<
    Request<Body>,
    Response = Response<impl http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static>,
    Error = BoxError,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    let protocol = settings.protocol.clone();
    let client_auth = match &settings.client_keys {
        Some(keys) => ClientAuthLayer::new(keys.clone()),
        None => ClientAuthLayer::off(),
    };
    let limit = settings.max_in_flight.map_or_else(LimitLayer::unlimited, LimitLayer::new);
    let intake = IntakeLayer::new(protocol.clone())
        .max_body(settings.max_body)
        .max_upload(settings.max_upload)
        .memory(settings.memory.clone());
    ServiceBuilder::new()
        .layer(CatchPanicLayer::new(protocol))
        .layer(GuardLayer::new(settings.guard.rules(settings.client_keys.is_some())))
        .layer(client_auth)
        .layer(limit)
        .layer(TotalTimeoutLayer::new(&settings.timeouts).patience_headers(PATIENCE))
        .layer(intake)
        .service(router)
}

/// What every attempt at one provider passes, outermost first; what is above the retries is passed
/// once.
pub(crate) fn provider<S>(
    leaf: S,
    name: &Label,
    auth: AuthLayer,
    breaker: BreakerHandle,
    keys: KeyRing,
    parts: Parts,
) -> ProviderService
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    let stack = ServiceBuilder::new()
        .map_response(boxed)
        .layer(parts.retry.provider(name.clone()).replay_memory(parts.memory.clone()))
        .layer(BreakerLayer::new(breaker))
        .layer(KeyRingLayer::new(keys))
        .layer(TraceLayer::attempt(name.clone()))
        .layer(MetricsLayer::attempt(name.clone()))
        .layer(CommitLayer::new(parts.protocol).budget(parts.memory))
        .layer(AttemptTimeoutLayer::new(&parts.timeouts).provider(name.clone()))
        .layer(auth)
        .service(leaf);
    BoxCloneSyncService::new(stack)
}

/// What a health check passes: neither retries nor breaker, so that it sees the provider as it is. It counts in no
/// metric of the traffic.
pub(crate) fn check<S>(leaf: S, name: &Label, auth: AuthLayer, keys: KeyRing, parts: Parts) -> ProviderService
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    let stack = ServiceBuilder::new()
        .map_response(boxed)
        .layer(KeyRingLayer::new(keys))
        .layer(CommitLayer::new(parts.protocol).budget(parts.memory))
        .layer(AttemptTimeoutLayer::new(&parts.timeouts).provider(name.clone()))
        .layer(auth)
        .service(leaf);
    BoxCloneSyncService::new(stack)
}

/// One body type at the seams where the stack is erased.
fn boxed<B>(response: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    response.map(Body::new)
}

/// Retries as the SDKs above expect them.
pub(crate) fn default_retry() -> RetryLayer {
    RetryLayer::new().unfunded_when(RETRY_COUNT)
}
