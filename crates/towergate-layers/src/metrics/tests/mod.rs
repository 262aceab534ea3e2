mod dropped;
mod series;

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, StreamBody};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::time::Instant;
use tower::{ServiceExt as _, service_fn};
use towergate_core::{
    Body as CoreBody, Clock, Error, ErrorKind, Facts, Outcome, Route, StreamState,
    context::{ClientName, Deadline, Downstream, Failed, Patience, RequestRecord},
    route::Reads,
    stream::AnswerKind,
};

use super::*;

static CHAT: Route = Route {
    name: "chat",
    index: 0,
    template: "/chat",
    reads: Reads::Json,
    requires_model: true,
    generates: true,
    holds_answer: true,
    bare: true,
    stateless: true,
};

/// What was recorded: `name{label=value,...}`, and the number, or the count of a histogram.
type Series = BTreeMap<String, u64>;

fn record<F: Future<Output = ()>>(run: impl FnOnce() -> F) -> Series {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(async { run().await }));
    let series = snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
        let mut labels: Vec<_> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        labels.sort();
        let value = match value {
            DebugValue::Counter(value) => value,
            DebugValue::Gauge(value) => value.into_inner() as u64,
            DebugValue::Histogram(values) => values.len() as u64,
        };
        (format!("{}{{{}}}", key.key().name(), labels.join(",")), value)
    });
    series.collect()
}

/// The outcomes recorded, each as often as it was.
fn outcomes(series: &Series, name: &str) -> Vec<String> {
    let of_name = series.iter().filter(|(key, _)| key.starts_with(&format!("{name}{{")));
    of_name
        .flat_map(|(key, count)| {
            let outcome = key.split("outcome=").nth(1).unwrap().split([',', '}']).next().unwrap();
            vec![outcome.to_owned(); usize::try_from(*count).unwrap()]
        })
        .collect()
}

/// Runs one request through both layers and says how each saw it end; all gauges must be back.
fn both<F: Future<Output = ()>>(run: impl FnOnce(MetricsLayer) -> F + Copy) -> (String, String) {
    let one = |layer: fn() -> MetricsLayer, name, in_flight: &str| {
        let series = record(|| run(layer()));
        assert_eq!(series[in_flight], 0, "{series:?}");
        let outcomes = outcomes(&series, name);
        assert_eq!(outcomes.len(), 1, "{series:?}");
        outcomes[0].clone()
    };
    let request = one(MetricsLayer::request, REQUESTS, "towergate_requests_in_flight{}");
    let attempt = one(
        || MetricsLayer::attempt(Label::new("openai")),
        ATTEMPTS,
        "towergate_attempts_in_flight{provider=openai}",
    );
    (request, attempt)
}

fn same(outcome: &str) -> (String, String) {
    (outcome.to_owned(), outcome.to_owned())
}

async fn answer<B>(
    layer: MetricsLayer,
    request: Request<()>,
    response: Response<B>,
) -> Response<ResponseBody<B>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut response = Some(response);
    let inner =
        service_fn(move |_: Request<()>| std::future::ready(Ok::<_, Infallible>(response.take().unwrap())));
    layer.layer(inner).oneshot(request).await.unwrap()
}

type Frames = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, BoxError>>>>;

fn frames(items: Vec<Result<&'static str, BoxError>>) -> Frames {
    let frames: Vec<_> = items
        .into_iter()
        .map(|item| item.map(|data| Frame::data(Bytes::from_static(data.as_bytes()))))
        .collect();
    StreamBody::new(futures_util::stream::iter(frames))
}

fn events(complete: bool) -> Response<Frames> {
    let state = Arc::new(StreamState::new(AnswerKind::Events));
    if complete {
        state.set_complete();
    }
    let mut response = Response::new(frames(vec![Ok("data: 1\n\n"), Ok("data: 2\n\n")]));
    response.extensions_mut().insert(state);
    response
}

/// Polls a request whose answer never comes, waits, and drops it.
async fn dropped_before_the_head(layer: MetricsLayer, request: Request<()>) {
    let inner = service_fn(|_: Request<()>| std::future::pending::<Result<Response<CoreBody>, Infallible>>());
    let call = layer.layer(inner).oneshot(request);
    tokio::time::timeout(Duration::from_secs(2), call).await.unwrap_err();
}

#[test]
fn the_service_is_shareable() {
    fn check<T: Clone + Send + Sync + 'static>(_: &T) {}
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(CoreBody::empty())));
    check(&MetricsLayer::request().layer(inner));
}

#[test]
fn a_whole_answer_is_completed_and_timed() {
    let series = record(async || {
        let mut request = Request::new(());
        let record = RequestRecord::of(request.extensions_mut());
        record.set_route(&CHAT);
        record.set_facts(Arc::new(Facts::of_route(&CHAT, Label::new("gpt-4o"))));
        let body = answer(MetricsLayer::request(), request, events(true)).await.into_body();
        body.collect().await.unwrap();
    });
    let expected = [
        ("towergate_requests_total{model=gpt-4o,outcome=completed,route=chat}", 1),
        ("towergate_requests_in_flight{}", 0),
        ("towergate_request_duration_seconds{outcome=completed,route=chat}", 1),
        ("towergate_request_ttfb_seconds{route=chat}", 1),
    ];
    assert_eq!(series, expected.map(|(name, value)| (name.to_owned(), value)).into());
}

#[test]
fn an_attempt_is_named_by_its_provider() {
    let series = record(async || {
        let response = events(true);
        response.extensions().get::<Arc<StreamState>>().unwrap().count_malformed();
        let layer = MetricsLayer::attempt(Label::new("openai"));
        answer(layer, Request::new(()), response).await.into_body().collect().await.unwrap();
    });
    let expected = [
        ("towergate_attempts_total{outcome=completed,provider=openai}", 1),
        ("towergate_attempts_in_flight{provider=openai}", 0),
        ("towergate_attempt_duration_seconds{outcome=completed,provider=openai}", 1),
        ("towergate_attempt_ttfb_seconds{provider=openai}", 1),
        ("towergate_malformed_events_total{provider=openai}", 1),
    ];
    assert_eq!(series, expected.map(|(name, value)| (name.to_owned(), value)).into());
}

#[test]
fn a_tunnel_is_over_when_its_body_is() {
    // Far behind the deadline, which does not bound it.
    let switched = async |layer, end: Option<ErrorKind>, stalled: bool| {
        let downstream = Downstream::default();
        let mut request = Request::new(());
        request.extensions_mut().insert(Deadline(Instant::now().into_std()));
        request.extensions_mut().insert(downstream.clone());
        let frames = frames(end.map(|kind| Err(Error::new(kind, "over").into())).into_iter().collect());
        let mut response = Response::new(frames);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let mut body = answer(layer, request, response).await.into_body();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if stalled {
            downstream.set_stalled();
        }
        if end != Some(ErrorKind::Internal) {
            let _ = body.frame().await;
        }
    };
    assert_eq!(both(async |layer| switched(layer, None, false).await), same("completed"));
    let gone = Some(ErrorKind::ClientGone);
    assert_eq!(both(async |layer| switched(layer, gone, false).await), same("client_gone_in_body"));
    assert_eq!(both(async |layer| switched(layer, gone, true).await), same("client_stalled"));
    let cut = Some(ErrorKind::Truncated);
    assert_eq!(both(async |layer| switched(layer, cut, false).await), same("truncated"));
    // Dropped without a word: the gateway itself was in a hurry to end.
    let dropped = Some(ErrorKind::Internal);
    assert_eq!(both(async |layer| switched(layer, dropped, false).await), same("client_gone_in_body"));
}

#[test]
fn statuses_and_kinds_have_their_outcomes() {
    for (status, outcome) in [
        (200, "completed"),
        (302, "completed"),
        (404, "client_error"),
        (429, "upstream_error"),
        (502, "upstream_error"),
    ] {
        let run = async |layer| {
            let mut response = Response::new(Full::new(Bytes::from_static(b"x")));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            answer(layer, Request::new(()), response).await.into_body().collect().await.unwrap();
        };
        assert_eq!(both(run), same(outcome), "{status}");
    }
    for kind in
        [ErrorKind::Overloaded, ErrorKind::Timeout(Clock::Head), ErrorKind::Internal, ErrorKind::BadRequest]
    {
        let outcome = Outcome::of_kind(kind).as_str();
        let run = async |layer| {
            let mut response = Response::new(CoreBody::from("x"));
            *response.status_mut() = kind.status();
            response.extensions_mut().insert(Failed(kind));
            // Whoever drops it: a failure stays what it is.
            drop(answer(layer, Request::new(()), response).await);
        };
        assert_eq!(both(run), same(outcome), "{kind:?}");
        let run = async |layer: MetricsLayer| {
            let inner = service_fn(async |_: Request<()>| {
                Err::<Response<CoreBody>, BoxError>(Error::new(kind, "failed").into())
            });
            layer.layer(inner).oneshot(Request::new(())).await.unwrap_err();
        };
        assert_eq!(both(run), same(outcome), "{kind:?}");
    }
}

#[test]
fn a_foreign_error_is_internal_and_our_own_type_is_known_unboxed() {
    let foreign = async |layer: MetricsLayer| {
        let inner = service_fn(async |_: Request<()>| Err::<Response<CoreBody>, _>(std::fmt::Error));
        layer.layer(inner).oneshot(Request::new(())).await.unwrap_err();
    };
    assert_eq!(both(foreign), same("internal"));
    let ours = async |layer: MetricsLayer| {
        let error = || Error::new(ErrorKind::Draining, "stopped");
        let inner = service_fn(async |_: Request<()>| Err::<Response<CoreBody>, _>(error()));
        layer.layer(inner).oneshot(Request::new(())).await.unwrap_err();
    };
    assert_eq!(both(ours), same("shed"));
}

#[test]
fn a_stream_that_ends_early_is_truncated() {
    let run = async |layer| {
        answer(layer, Request::new(()), events(false)).await.into_body().collect().await.unwrap();
    };
    assert_eq!(both(run), same("truncated"));
    let run = async |layer| {
        let error = Error::timeout(Clock::Idle, Duration::from_secs(1));
        let response = Response::new(frames(vec![Ok("x"), Err(error.into())]));
        answer(layer, Request::new(()), response).await.into_body().collect().await.unwrap_err();
    };
    assert_eq!(both(run), same("idle_timeout"));
    let run = async |layer| {
        let response = Response::new(frames(vec![Ok("x"), Err("reset".into())]));
        answer(layer, Request::new(()), response).await.into_body().collect().await.unwrap_err();
    };
    assert_eq!(both(run), same("truncated"));
}

#[test]
fn the_body_passes_untouched() {
    record(async || {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        let body = Full::new(Bytes::from_static(b"123"))
            .with_trailers(std::future::ready(Some(Ok(trailers.clone()))));
        let body = answer(MetricsLayer::request(), Request::new(()), Response::new(body)).await.into_body();
        assert!(!body.is_end_stream());
        let collected = body.collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "123");

        let full = Response::new(Full::new(Bytes::from_static(b"123")));
        let full = answer(MetricsLayer::request(), Request::new(()), full).await;
        assert_eq!(full.body().size_hint().exact(), Some(3));
    });
}

#[test]
fn the_upstreams_time_goes_into_the_record() {
    record(async || {
        let mut request = Request::new(());
        let record = RequestRecord::of(request.extensions_mut());
        let inner = service_fn(async |_: Request<()>| {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok::<_, Infallible>(Response::new(CoreBody::empty()))
        });
        MetricsLayer::attempt(Label::new("openai")).layer(inner).oneshot(request).await.unwrap();
        assert_eq!(record.upstream_time(), Duration::from_secs(3));

        let mut request = Request::new(());
        let record = RequestRecord::of(request.extensions_mut());
        dropped_before_the_head(MetricsLayer::attempt(Label::new("openai")), request).await;
        assert_eq!(record.upstream_time(), Duration::from_secs(2));
    });
}
