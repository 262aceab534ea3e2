//! Heap allocations of the gateway above a bare hyper proxy, with the same client, upstream and requests.
//!
//! Everything that is counted runs on the thread of the test: the gateway (or the bare proxy) as a service, and
//! its connections to the upstream. The upstream has a thread of its own, which is not counted. The
//! constants are a little above what was measured. They may only go down.
//!
//! `cargo test -p towergate-benches --test allocations -- --nocapture` prints the figures.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt as _};
use towergate::core::label::Label;
use towergate::layers::client_auth::{ClientKey, ClientKeys};
use towergate::{Gateway, OpenAiProvider, server::telemetry};
use towergate_benches::{
    Error,
    bare::Bare,
    request::{self, Template},
    upstream::{Behaviour, Content, Pace, Upstream},
};

/// For a small JSON request, above the bare proxy: 68 when it was last measured. The aim is 12.
const JSON_REQUEST: i64 = 75;

/// For a hundred events of a stream whose client asked for usage, above the bare proxy. The aim is 0.
const HUNDRED_EVENTS: i64 = 0;

/// The same where the client did not ask, so that usage is taken out of each event. The aim is 0.
const HUNDRED_EVENTS_WITHOUT_USAGE: i64 = 0;

const KEY: &str = "sk-client";

/// Requests, or events, before anything is counted: pools fill, and metrics are registered.
const WARM_UP: usize = 20;

const COUNTED: usize = 100;

/// Metrics are recorded as the proxy records them.
static METRICS: LazyLock<()> = LazyLock::new(|| drop(telemetry::install_metrics()));

fn upstream(content: Content) -> Upstream {
    let behaviour = Behaviour { delay: Duration::ZERO, content };
    Upstream::start(([127, 0, 0, 1], 0).into(), behaviour).unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The gateway as the proxy serves it in front of one provider, with keys for its clients.
fn gateway(upstream: &Upstream) -> Gateway {
    LazyLock::force(&METRICS);
    let provider = OpenAiProvider::builder().base_url(&upstream.base_url()).api_key("sk-upstream").unwrap();
    // As for OpenAI itself.
    let provider = provider.leaf(|leaf| leaf.usage_in_streams(true));
    let key = ClientKey::new(&KEY.to_owned().into()).unwrap();
    let keys = ClientKeys::new([(Label::new("client"), key)]).unwrap();
    Gateway::builder().provider(provider.build().unwrap()).client_keys(keys).build().unwrap()
}

fn bare(upstream: &Upstream) -> Bare<Full<Bytes>> {
    Bare::new(upstream.address()).unwrap()
}

/// The request as the server hands it to a service.
fn request(body: &Bytes) -> Request<Full<Bytes>> {
    let template = Template::new("http://localhost/v1", KEY, body.clone()).unwrap();
    let mut request = Request::post(template.path).body(Full::new(template.body)).unwrap();
    *request.headers_mut() = template.headers;
    request
}

/// Sends one request, and waits for the head of its response.
async fn head<S, B>(service: &mut S, request: Request<Full<Bytes>>) -> Response<B>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: Into<Error>,
{
    let response = async { service.ready().await?.call(request).await }.await.map_err(Into::into).unwrap();
    assert_eq!(response.status(), 200);
    response
}

/// Waits until an event is whole.
async fn event<B>(body: &mut B)
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    while let Some(frame) = body.frame().await {
        if frame.unwrap().data_ref().is_some_and(|data| data.ends_with(b"\n\n")) {
            return;
        }
    }
    panic!("the stream ended");
}

/// Allocations of one JSON request, from the head of the request to the end of the response.
fn of_json<S, B>(make: impl FnOnce(&Upstream) -> S) -> i64
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: Into<Error>,
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let (upstream, runtime) = (upstream(Content::Json { size: 1024 }), runtime());
    let mut service = runtime.block_on(async { make(&upstream) });
    let body = request::chat_completion(1024, false);
    let mut counts: Vec<u64> = Vec::with_capacity(COUNTED);
    for number in 0..WARM_UP + COUNTED {
        let request = request(&body);
        let counted = allocation_counter::measure(|| {
            runtime.block_on(async {
                let mut body = head(&mut service, request).await.into_body();
                while let Some(frame) = body.frame().await {
                    drop(frame.unwrap());
                }
            });
        });
        if number >= WARM_UP {
            counts.push(counted.count_total);
        }
    }
    counts.sort_unstable();
    counts[COUNTED / 2] as i64
}

/// Allocations of a hundred events of a stream, and whether the gateway says that it changes something.
fn of_events<S, B>(body: &Bytes, make: impl FnOnce(&Upstream) -> S) -> (i64, bool)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: Into<Error>,
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let content = Content::Events { count: WARM_UP + 2 * COUNTED, pace: Pace::Granted };
    let (upstream, runtime) = (upstream(content), runtime());
    let mut service = runtime.block_on(async { make(&upstream) });
    upstream.grant(1);
    let response = runtime.block_on(head(&mut service, request(body)));
    let is_modified = response.headers().contains_key("x-towergate-modified");
    let mut body = response.into_body();
    runtime.block_on(event(&mut body));
    let mut count = 0;
    for number in 0..WARM_UP + COUNTED {
        upstream.grant(1);
        let counted = allocation_counter::measure(|| runtime.block_on(event(&mut body)));
        if number >= WARM_UP {
            count += counted.count_total;
        }
    }
    (count as i64, is_modified)
}

/// The measurement itself: a copy of each event is seen.
#[test]
fn allocations_of_events_are_counted() {
    let body = request::chat_completion(1024, true);
    let copying = |upstream: &Upstream| {
        bare(upstream).map_response(|response: Response<Incoming>| {
            response.map(|body| body.map_frame(|frame| frame.map_data(|data| Bytes::from(data.to_vec()))))
        })
    };
    assert_eq!(of_events(&body, copying).0 - of_events(&body, bare).0, COUNTED as i64);
}

#[test]
fn a_json_request() {
    let (bare, gateway) = (of_json(bare), of_json(gateway));
    println!("allocations of a JSON request: bare {bare}, gateway {gateway}, above {}", gateway - bare);
    assert!(gateway - bare <= JSON_REQUEST, "bare {bare}, gateway {gateway}");
}

#[test]
fn events_with_usage() {
    let body = request::chat_completion(1024, true);
    let ((bare, _), (gateway, is_modified)) = (of_events(&body, bare), of_events(&body, gateway));
    assert!(!is_modified);
    println!("allocations of 100 events: bare {bare}, gateway {gateway}, above {}", gateway - bare);
    assert!(gateway - bare <= HUNDRED_EVENTS, "bare {bare}, gateway {gateway}");
}

#[test]
fn events_without_usage() {
    let body = br#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Hello."}]}"#;
    let body = Bytes::from_static(body);
    let ((bare, _), (gateway, is_modified)) = (of_events(&body, bare), of_events(&body, gateway));
    assert!(is_modified);
    println!(
        "allocations of 100 events, usage taken out: bare {bare}, gateway {gateway}, above {}",
        gateway - bare
    );
    assert!(gateway - bare <= HUNDRED_EVENTS_WITHOUT_USAGE, "bare {bare}, gateway {gateway}");
}
