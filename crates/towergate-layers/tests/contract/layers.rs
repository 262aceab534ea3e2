//! Every layer of this crate, held to the contract: a line or two for each.
//!
//! The expectations say what a layer does by design: which header it consumes, that it collects the
//! request, that it answers errors itself, and how to see that it holds nothing.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use towergate_core::{
    Error, Facts, Route,
    label::Label,
    protocol::{ReadRequest, RenderError, Routes},
    route::Reads,
};

#[allow(unused_imports, reason = "which of them are used depends on the features under test")]
use super::{
    expect::{Clause, Expect},
    probe::holds,
};

/// A provider's protocol with one route that is read and one that is not.
#[derive(Clone)]
struct Protocol;

static JSON: Route = Route { name: "json", template: "/json", reads: Reads::Json, ..ROUTE };
const ROUTE: Route = Route {
    name: "other",
    index: 0,
    template: "",
    reads: Reads::Nothing,
    requires_model: false,
    generates: false,
    holds_answer: false,
    bare: false,
    stateless: true,
};
static OTHER: Route = ROUTE;

impl Routes for Protocol {
    fn route(&self, _: &Method, path: &str) -> &'static Route {
        if path == JSON.template { &JSON } else { &OTHER }
    }

    fn base_path(&self) -> &str {
        "/v1"
    }
}

impl ReadRequest for Protocol {
    fn facts(&self, route: &'static Route) -> Facts {
        Facts::of_route(route, Label::new("other"))
    }

    fn read(&self, route: &'static Route, _: &Bytes) -> Result<Facts, Error> {
        Ok(self.facts(route))
    }
}

impl RenderError for Protocol {
    fn body(&self, _: StatusCode, error: &Error) -> Bytes {
        error.to_string().into()
    }

    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("text/plain")
    }

    fn event(&self, _: Option<&'static Route>, _: &Error) -> Bytes {
        Bytes::new()
    }
}

#[cfg(feature = "request-id")]
#[tokio::test(start_paused = true)]
async fn request_id() {
    use towergate_layers::request_id::RequestIdLayer;
    holds(RequestIdLayer::new, Expect::default()).await;
}

#[cfg(feature = "auth")]
#[tokio::test(start_paused = true)]
async fn auth() {
    use towergate_layers::auth::AuthLayer;
    let expect = || Expect::default().header("cookie", "a=b").consumes("cookie");
    holds(|| AuthLayer::new(None), expect()).await;
    holds(AuthLayer::pass_through, expect().header("authorization", "Bearer caller")).await;
}

#[cfg(feature = "breaker")]
#[tokio::test(start_paused = true)]
async fn breaker() {
    use towergate_layers::breaker::{BreakerConfig, BreakerHandle, BreakerLayer};
    let layer = || BreakerLayer::new(BreakerHandle::new(Label::new("openai"), BreakerConfig::never()));
    holds(layer, Expect::default()).await;
}

#[cfg(feature = "key-ring")]
#[tokio::test(start_paused = true)]
async fn key_ring() {
    use towergate_core::credentials::Credential;
    use towergate_layers::key_ring::{KeyRing, KeyRingLayer, RingKey};
    let key = |name| RingKey::new(Label::new(name), None::<Credential>);
    let layer = || KeyRingLayer::new(KeyRing::new(Label::new("openai"), [key("a"), key("b")]));
    holds(layer, Expect::default()).await;
}

#[cfg(feature = "client-auth")]
#[tokio::test(start_paused = true)]
async fn client_auth() {
    use towergate_layers::client_auth::{ClientAuthLayer, ClientKey, ClientKeys};
    let key = ClientKey::new(&secrecy::SecretString::from("tg-alice")).unwrap();
    let keys = ClientKeys::new([(Label::new("alice"), key)]).unwrap();
    let expect = Expect::default().header("x-api-key", "tg-alice").consumes("x-api-key");
    holds(|| ClientAuthLayer::new(keys.clone()), expect).await;
    holds(ClientAuthLayer::off, Expect::default().header("x-api-key", "tg-alice")).await;
}

#[cfg(feature = "guard")]
#[tokio::test(start_paused = true)]
async fn guard() {
    use towergate_layers::guard::{AllowedHosts, GuardLayer, Rules};
    let expect =
        || Expect::default().header("host", "localhost:8080").header("origin", "http://localhost:8080");
    holds(|| GuardLayer::new(Rules::for_websockets()), expect()).await;
    holds(|| GuardLayer::new(Rules::for_every_request(AllowedHosts::loopback())), expect()).await;
}

#[cfg(feature = "limit")]
#[tokio::test(start_paused = true)]
async fn limit() {
    use towergate_layers::limit::LimitLayer;
    let layer = LimitLayer::new(2);
    let in_flight = layer.in_flight();
    holds(|| layer.clone(), Expect::default().released(move || in_flight.count() == 0)).await;
}

#[cfg(feature = "catch-panic")]
#[tokio::test(start_paused = true)]
async fn catch_panic() {
    use towergate_layers::catch_panic::CatchPanicLayer;
    holds(|| CatchPanicLayer::new(Protocol), Expect::default()).await;
}

#[cfg(feature = "respond")]
#[tokio::test(start_paused = true)]
async fn respond() {
    use towergate_layers::respond::RespondLayer;
    holds(|| RespondLayer::new(Protocol), Expect::default().answers_errors()).await;
}

#[cfg(feature = "intake")]
#[tokio::test(start_paused = true)]
async fn intake() {
    use towergate_layers::intake::IntakeLayer;
    holds(|| IntakeLayer::new(Protocol), Expect::default()).await;
    let json = Expect::default().post("/v1/json").json(r#"{"model": "m"}"#).collects_request();
    holds(|| IntakeLayer::new(Protocol), json).await;
}

#[cfg(feature = "retry")]
#[tokio::test(start_paused = true)]
async fn retry() {
    use towergate_layers::retry::RetryLayer;
    holds(RetryLayer::new, Expect::default()).await;
}

#[cfg(feature = "timeout")]
#[tokio::test(start_paused = true)]
async fn timeout() {
    use towergate_layers::timeout::{AttemptTimeoutLayer, Timeouts, TotalTimeoutLayer};
    holds(|| TotalTimeoutLayer::new(&Timeouts::default()), Expect::default()).await;
    holds(|| AttemptTimeoutLayer::new(&Timeouts::default()), Expect::default()).await;
}

#[cfg(feature = "commit")]
#[tokio::test(start_paused = true)]
async fn commit() {
    use towergate_core::protocol::ByStatus;
    use towergate_layers::commit::CommitLayer;
    holds(|| CommitLayer::new(ByStatus), Expect::default()).await;
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn metrics() {
    use towergate_layers::metrics::MetricsLayer;
    holds(MetricsLayer::request, Expect::default()).await;
    holds(|| MetricsLayer::attempt(Label::new("openai")), Expect::default()).await;
}

#[cfg(feature = "trace")]
#[tokio::test(start_paused = true)]
async fn trace() {
    use towergate_layers::trace::TraceLayer;
    holds(TraceLayer::request, Expect::default()).await;
    holds(|| TraceLayer::attempt(Label::new("openai")), Expect::default()).await;
}
