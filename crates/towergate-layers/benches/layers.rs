//! What each layer costs by itself, around a service that responds at once: time and allocations, above
//! those of `no layer`.
//!
//! ```sh
//! cargo bench -p towergate-layers --features full --bench layers
//! ```

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::Full;
use tower::{Layer, Service, layer::util::Identity};
use towergate_core::{
    Body, BoxError, Error, Facts, Route,
    credentials::Credential,
    label::Label,
    protocol::{ByStatus, ReadRequest, RenderError, Routes},
    route::Reads,
};
use towergate_layers::{
    auth::AuthLayer,
    breaker::{BreakerConfig, BreakerHandle, BreakerLayer},
    catch_panic::CatchPanicLayer,
    client_auth::{ClientAuthLayer, ClientKey, ClientKeys},
    commit::CommitLayer,
    intake::IntakeLayer,
    key_ring::{KeyRing, KeyRingLayer, RingKey},
    limit::LimitLayer,
    metrics::MetricsLayer,
    request_id::RequestIdLayer,
    respond::RespondLayer,
    retry::RetryLayer,
    timeout::{AttemptTimeoutLayer, Timeouts, TotalTimeoutLayer},
    trace::TraceLayer,
};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const EVENTS: usize = 100;
const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" hello\"}}]}\n\n";

const LAYERS: [&str; 19] = [
    "no layer",
    "auth",
    "breaker",
    "catch_panic",
    "client_auth",
    "commit",
    "intake",
    "key_ring",
    "limit",
    "metrics, attempt",
    "metrics, request",
    "request_id",
    "respond",
    "retry",
    "timeout, attempt",
    "timeout, total",
    "trace, attempt",
    "trace, request",
    "trace, request, log off",
];

fn main() {
    // Without a recorder metrics would cost nothing.
    if let Err(error) = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder() {
        eprintln!("metrics are not recorded: {error}");
    }
    divan::main();
}

/// One JSON request and its response.
#[divan::bench(args = LAYERS)]
fn json(bencher: Bencher<'_, '_>, layer: &str) {
    measure_layer(bencher, layer, 0);
}

/// A request whose response is a stream of a hundred events.
#[divan::bench(args = LAYERS)]
fn stream(bencher: Bencher<'_, '_>, layer: &str) {
    measure_layer(bencher, layer, EVENTS);
}

fn measure_layer(bencher: Bencher<'_, '_>, layer: &str, events: usize) {
    let openai = Label::new("openai");
    let timeouts = Timeouts::default();
    match layer {
        "auth" => measure(bencher, events, &auth()),
        "breaker" => measure(bencher, events, &breaker()),
        "catch_panic" => measure(bencher, events, &CatchPanicLayer::new(Protocol)),
        "client_auth" => measure(bencher, events, &client_auth()),
        "commit" => measure(bencher, events, &CommitLayer::new(ByStatus)),
        "intake" => measure(bencher, events, &IntakeLayer::new(Protocol)),
        "key_ring" => measure(bencher, events, &key_ring()),
        "limit" => measure(bencher, events, &LimitLayer::new(1)),
        "metrics, attempt" => measure(bencher, events, &MetricsLayer::attempt(openai)),
        "metrics, request" => measure(bencher, events, &MetricsLayer::request()),
        "request_id" => measure(bencher, events, &RequestIdLayer::new()),
        "respond" => measure(bencher, events, &RespondLayer::new(Protocol)),
        "retry" => measure(bencher, events, &RetryLayer::new()),
        "timeout, attempt" => measure(bencher, events, &AttemptTimeoutLayer::new(&timeouts)),
        "timeout, total" => measure(bencher, events, &TotalTimeoutLayer::new(&timeouts)),
        "trace, attempt" => logged(|| measure(bencher, events, &TraceLayer::attempt(openai))),
        "trace, request" => logged(|| measure(bencher, events, &TraceLayer::request())),
        "trace, request, log off" => measure(bencher, events, &TraceLayer::request()),
        _ => measure(bencher, events, &Identity::new()),
    }
}

fn auth() -> AuthLayer {
    AuthLayer::new(Credential::try_from("sk-upstream").ok())
}

fn breaker() -> BreakerLayer {
    BreakerLayer::new(BreakerHandle::new(Label::new("openai"), BreakerConfig::default()))
}

fn client_auth() -> ClientAuthLayer {
    let key = ClientKey::new(&"sk-client".to_owned().into()).map(|key| (Label::new("client"), key));
    key.ok()
        .and_then(|key| ClientKeys::new([key]).ok())
        .map_or_else(ClientAuthLayer::off, ClientAuthLayer::new)
}

fn key_ring() -> KeyRingLayer {
    let key = |name| RingKey::new(Label::new(name), Credential::try_from("sk-upstream").ok());
    KeyRingLayer::new(KeyRing::new(Label::new("openai"), [key("a"), key("b")]))
}

/// Runs it with a subscriber that writes lines nowhere.
fn logged(run: impl FnOnce()) {
    tracing::subscriber::with_default(tracing_subscriber::fmt().with_writer(io::sink).finish(), run);
}

/// Takes requests through one layer, one after the other, to the end of their responses.
fn measure<L, B>(bencher: Bencher<'_, '_>, events: usize, layer: &L)
where
    L: Layer<Responds, Service: Service<Request<Full<Bytes>>, Response = Response<B>>>,
    B: http_body::Body<Data = Bytes>,
{
    let (mut service, items) = (layer.layer(Responds { events }), events.max(1));
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    let _runtime = runtime.enter();
    bencher.counter(ItemsCount::new(items)).with_inputs(incoming).bench_local_values(|request| {
        let mut context = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready());
        let Some(Ok(response)) = service.call(request).now_or_never() else { panic!("no response") };
        let mut body = std::pin::pin!(response.into_body());
        let mut frames = 0;
        while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut context) {
            frames += usize::from(black_box(frame).is_data());
        }
        assert_eq!(frames, items);
    });
}

/// A request as an SDK sends it.
fn incoming() -> Request<Full<Bytes>> {
    let body = br#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello."}]}"#;
    let mut request = Request::new(Full::new(Bytes::from_static(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static("/v1/json");
    let headers: &mut HeaderMap = request.headers_mut();
    for (name, value) in [
        ("host", "127.0.0.1:8080"),
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("user-agent", "OpenAI/Python 3.57.0"),
        ("authorization", "Bearer sk-client"),
        ("x-stainless-lang", "python"),
        ("x-stainless-runtime", "CPython"),
        ("x-stainless-retry-count", "0"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    request
}

/// The service under the layer: JSON, or a stream.
#[derive(Debug, Clone)]
struct Responds {
    events: usize,
}

/// A stream whose events are all there.
struct Events(usize);

impl<B> Service<Request<B>> for Responds {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Ready<Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let (content_type, body) = match self.events {
            0 => ("application/json", Body::from(Bytes::from_static(b"{}"))),
            events => ("text/event-stream", Body::new(Events(events))),
        };
        let mut response = Response::new(body);
        response.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
        ready(Ok(response))
    }
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(EVENT.as_bytes())))))
    }
}

/// A protocol with one route, of JSON.
#[derive(Clone)]
struct Protocol;

static ROUTE: Route = Route {
    name: "json",
    index: 0,
    template: "/json",
    reads: Reads::Json,
    requires_model: false,
    generates: false,
    holds_answer: false,
    bare: false,
    stateless: true,
};

impl Routes for Protocol {
    fn route(&self, _: &Method, _: &str) -> &'static Route {
        &ROUTE
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
