use std::{convert::Infallible, num::NonZeroU32, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use tower::{ServiceExt as _, service_fn};
use towergate_core::{
    Body as CoreBody, Clock, Error, ErrorKind, Facts, Outcome, Route,
    context::{ClientName, Failed, RequestRecord},
    route::Reads,
};
use tracing_subscriber::filter::LevelFilter;

use super::*;
use crate::test_log::Log;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

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

fn facts(model: &str) -> Arc<Facts> {
    Arc::new(Facts { model: Some(model.into()), ..Facts::of_route(&CHAT, Label::new("other")) })
}

fn request() -> Request<()> {
    let mut request = Request::post("/v1/chat").header("traceparent", TRACEPARENT).body(()).unwrap();
    request.extensions_mut().insert(RequestId::new(HeaderValue::from_static("req_1")).unwrap());
    request
}

async fn answer<B>(
    layer: TraceLayer,
    request: Request<()>,
    response: Response<B>,
) -> Response<ResponseBody<B>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut response = Some(response);
    let inner = service_fn(move |request: Request<()>| {
        if let Some(record) = request.extensions().get::<Arc<RequestRecord>>() {
            record.count_attempt();
            record.set_client(ClientName(Label::new("team-a")));
            record.set_facts(facts("gpt-4o"));
        }
        std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))
    });
    layer.layer(inner).oneshot(request).await.unwrap()
}

fn with_status(status: u16) -> Response<CoreBody> {
    let mut response = Response::new(CoreBody::from("x"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// The one line at or above info.
fn line(log: &Log) -> String {
    let text = log.text();
    let mut lines = text.lines().filter(|line| !line.starts_with("DEBUG"));
    let line = lines.next().unwrap_or_else(|| panic!("no line: {text}")).trim().to_owned();
    assert_eq!(lines.next(), None, "{text}");
    line
}

#[test]
fn the_service_is_shareable() {
    fn check<T: Clone + Send + Sync + 'static>(_: &T) {}
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(CoreBody::empty())));
    check(&TraceLayer::request().layer(inner));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_one_span_and_one_line() {
    let (log, _guard) = Log::capture();
    let layer = TraceLayer::request();
    let inner = service_fn(async |request: Request<()>| {
        let record = request.extensions().get::<Arc<RequestRecord>>().unwrap();
        record.count_attempt();
        record.set_facts(facts("gpt-4o"));
        record.set_client(ClientName(Label::new("team-a")));
        tokio::time::sleep(Duration::from_millis(250)).await;
        Ok::<_, Infallible>(Response::new(CoreBody::from("x")))
    });
    let mut body = layer.layer(inner).oneshot(request()).await.unwrap().into_body();
    assert_eq!(log.text(), "", "not before the body is over");
    tokio::time::advance(Duration::from_millis(50)).await;
    body.frame().await.unwrap().unwrap();
    drop(body);
    let line = line(&log);
    for part in [
        "INFO request{request_id=\"req_1\" method=\"POST\" trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\" route=\"chat\" \
         model=\"gpt-4o\" client=\"team-a\" status=200 outcome=\"completed\"}",
        ": request completed elapsed_ms=300 ttfb_ms=300 attempts=1",
    ] {
        assert!(line.contains(part), "{line}");
    }
}

#[tokio::test]
async fn the_end_decides_the_level() {
    for (status, failed, level, outcome) in [
        (200, None, "INFO", "completed"),
        (400, Some(ErrorKind::BadRequest), "INFO", "client_error"),
        (408, Some(ErrorKind::Timeout(Clock::RequestBody)), "INFO", "request_body_timeout"),
        (503, Some(ErrorKind::Overloaded), "WARN", "shed"),
        (504, Some(ErrorKind::Timeout(Clock::Head)), "ERROR", "head_timeout"),
        (502, Some(ErrorKind::Connect), "ERROR", "upstream_error"),
        (429, None, "ERROR", "upstream_error"),
        (500, Some(ErrorKind::Internal), "ERROR", "internal"),
    ] {
        let (log, _guard) = Log::capture();
        let mut response = with_status(status);
        if let Some(kind) = failed {
            response.extensions_mut().insert(Failed(kind));
        }
        answer(TraceLayer::request(), request(), response).await.into_body().collect().await.unwrap();
        let line = line(&log);
        assert!(line.starts_with(level), "{line}");
        assert!(line.contains(&format!("status={status} outcome=\"{outcome}\"")), "{line}");
        assert!(line.contains("request_id=\"req_1\"") && line.contains("elapsed_ms="), "{line}");
    }
}

#[tokio::test]
async fn what_is_dropped_before_its_head_has_its_line() {
    let (log, _guard) = Log::capture();
    let inner = service_fn(|_: Request<()>| std::future::pending::<Result<Response<CoreBody>, Infallible>>());
    let mut call = tokio_test::task::spawn(TraceLayer::request().layer(inner).oneshot(request()));
    assert!(call.poll().is_pending());
    drop(call);
    let line = line(&log);
    assert!(
        line.contains("outcome=\"client_gone_before_head\"") && line.contains("route=\"other\""),
        "{line}"
    );
    assert!(!line.contains("status="), "{line}");
}

#[tokio::test]
async fn an_error_passes_and_has_its_line() {
    let (log, _guard) = Log::capture();
    let error = || Error::new(ErrorKind::Connect, "refused");
    let inner = service_fn(async |_: Request<()>| Err::<Response<CoreBody>, BoxError>(error().into()));
    let error = TraceLayer::request().layer(inner).oneshot(request()).await.unwrap_err();
    assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::Connect);
    assert!(line(&log).contains("outcome=\"upstream_error\""));
}

#[tokio::test]
async fn a_body_that_fails_is_told_with_its_cause_unless_that_was_done() {
    let broken = || {
        let error = Error::new(ErrorKind::Connection, "the connection broke").with_source("os error 104");
        let frames: [Result<Frame<Bytes>, Error>; 1] = [Err(error)];
        Response::new(StreamBody::new(futures_util::stream::iter(frames)))
    };
    let (log, guard) = Log::capture();
    answer(TraceLayer::request(), request(), broken()).await.into_body().collect().await.unwrap_err();
    let told = line(&log);
    assert!(told.starts_with("ERROR") && told.contains("outcome=\"truncated\""), "{told}");
    assert!(told.contains("error=the connection broke cause=os error 104"), "{told}");
    drop(guard);

    let (log, _guard) = Log::capture();
    let mut request = request();
    let record = RequestRecord::of(request.extensions_mut());
    record.settle(Outcome::Truncated);
    answer(TraceLayer::request(), request, broken()).await.into_body().collect().await.unwrap_err();
    assert!(!line(&log).contains("os error"));
}

#[tokio::test]
async fn an_attempt_has_its_own_span_inside_the_requests() {
    let (log, _guard) = Log::capture();
    let inner = TraceLayer::attempt(Label::new("openai")).layer(service_fn(async |_: Request<()>| {
        tracing::warn!("from inside");
        let body = Full::new(Bytes::from_static(b"x")).map_frame(|frame| {
            tracing::warn!("from the body");
            frame
        });
        Ok::<_, Infallible>(Response::new(body))
    }));
    let mut request = request();
    request.extensions_mut().insert(Attempt(NonZeroU32::new(2).unwrap()));
    let record = RequestRecord::of(request.extensions_mut());
    record.set_facts(facts("gpt-4o"));
    let answer = TraceLayer::request().layer(inner).oneshot(request).await.unwrap();
    answer.into_body().collect().await.unwrap();

    let text = log.text();
    let of = |message: &str| text.lines().find(|line| line.contains(message)).unwrap().trim().to_owned();
    let attempt = "attempt{attempt=2 provider=\"openai\" route=\"chat\" model=\"gpt-4o\"";
    for message in ["from inside", "from the body", "attempt ended"] {
        let line = of(message);
        assert!(line.contains("request{request_id=\"req_1\"") && line.contains(attempt), "{line}");
    }
    assert!(of("attempt ended").contains("status=200 outcome=\"completed\"}"), "{text}");
    assert!(of("attempt ended").starts_with("DEBUG"));
    assert!(!of("request completed").contains("provider="), "{text}");
}

#[tokio::test]
async fn only_the_gravest_lines_are_left_and_they_still_say_what_they_are_about() {
    let (log, _guard) = Log::capture_at(LevelFilter::ERROR);
    for status in [200, 500] {
        answer(TraceLayer::request(), request(), with_status(status))
            .await
            .into_body()
            .collect()
            .await
            .unwrap();
    }
    let line = line(&log);
    assert!(line.contains("request_id=\"req_1\"") && line.contains("status=500"), "{line}");
}

#[tokio::test]
async fn nothing_is_needed_and_nothing_written_when_it_is_off() {
    let (log, _guard) = Log::capture_at(LevelFilter::OFF);
    let body = answer(TraceLayer::request(), Request::new(()), with_status(500)).await.into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "x");
    assert_eq!(log.text(), "");
}

#[tokio::test]
async fn the_body_passes_untouched() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    let full = || Full::new(Bytes::from_static(b"123"));
    let body = full().with_trailers(std::future::ready(Some(Ok(trailers.clone()))));
    let body = answer(TraceLayer::request(), request(), Response::new(body)).await.into_body();
    assert!(!body.is_end_stream());
    let collected = body.collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "123");
    let sized = answer(TraceLayer::request(), request(), Response::new(full())).await;
    assert_eq!(sized.body().size_hint().exact(), Some(3));
    let empty = answer(TraceLayer::request(), request(), Response::new(CoreBody::empty())).await;
    assert!(empty.body().is_end_stream());
}

#[tokio::test]
async fn the_instance_that_was_ready_is_called() {
    let (service, mut handle) = tower_test::mock::pair::<Request<()>, Response<CoreBody>>();
    let mut service = TraceLayer::request().layer(service);
    handle.allow(1);
    let answer = service.ready().await.unwrap().call(request());
    let serve = async {
        let (_, reply) = handle.next_request().await.unwrap();
        reply.send_response(Response::new(CoreBody::empty()));
    };
    let (answer, ()) = tokio::join!(answer, serve);
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn no_line_holds_what_a_client_or_an_upstream_keeps_secret() {
    const CANARY: &str = "sk-canary";
    let (log, _guard) = Log::capture();
    for status in [200, 400, 401, 500] {
        let mut request = Request::builder()
            .method("SK-CANARY")
            .uri(format!("/v1/{CANARY}?api_key={CANARY}"))
            .header("authorization", format!("Bearer {CANARY}"))
            .header("cookie", CANARY)
            .header("traceparent", CANARY)
            .header("x-request-id", CANARY)
            .body(())
            .unwrap();
        let record = RequestRecord::of(request.extensions_mut());
        record.set_facts(facts(&format!("{CANARY} with spaces")));
        let mut response = with_status(status);
        *response.body_mut() = CoreBody::from(format!("wrong key {CANARY}"));
        response.headers_mut().insert("set-cookie", HeaderValue::from_static(CANARY));
        let layers = (TraceLayer::request(), TraceLayer::attempt(Label::new("openai")));
        let mut response = Some(response);
        let inner = service_fn(move |_: Request<()>| {
            std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))
        });
        let service = layers.0.layer(layers.1.layer(inner));
        let answer = service.oneshot(request).await.unwrap();
        assert!(!format!("{:?}", answer.body()).contains(CANARY));
        answer.into_body().collect().await.unwrap();
    }
    let text = log.text();
    assert!(text.contains("attempt ended") && text.contains("method=\"other\""), "{text}");
    assert!(!text.to_lowercase().contains(CANARY), "{text}");
}
