mod stream;

use std::{collections::VecDeque, future, sync::atomic::AtomicBool, sync::atomic::Ordering::SeqCst};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tower::{ServiceExt as _, service_fn};
use towergate_core::{
    Body as CoreBody, Class, Clock, Outcome, Route,
    classify::RetryAfter,
    context::{Answered, CallerCredential, ClientName, Failed, GaveUp, Served, Withheld},
    label::Label,
};

use super::*;
use crate::test_log::Log;

const CANARY: &str = "sk-canary";

/// `status: message`, and events that begin with `event: error`.
struct Plain;

impl RenderError for Plain {
    fn body(&self, status: StatusCode, error: &Error) -> Bytes {
        format!("{}: {} {error}", status.as_u16(), error.code()).into()
    }

    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("text/plain")
    }

    fn event(&self, route: Option<&'static Route>, error: &Error) -> Bytes {
        assert!(route.is_none());
        format!("event: error\ndata: {}\n\n", error.code()).into()
    }
}

type Answer = Response<ResponseBody<CoreBody>>;

async fn answer_to(
    request: Request<()>,
    result: Result<Response<CoreBody>, BoxError>,
) -> Response<ResponseBody<CoreBody>> {
    let mut result = Some(result);
    let inner = service_fn(move |_: Request<()>| future::ready(result.take().unwrap()));
    RespondLayer::new(Plain).layer(inner).oneshot(request).await.unwrap()
}

async fn refuse(error: impl Into<BoxError>) -> Answer {
    answer_to(Request::new(()), Err(error.into())).await
}

async fn upstream(status: u16, change: impl FnOnce(&mut Response<CoreBody>)) -> Answer {
    let mut response = Response::new(CoreBody::from("upstream's text"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.extensions_mut().insert(Answered { provider: Label::new("openai") });
    change(&mut response);
    answer_to(Request::new(()), Ok(response)).await
}

fn extend(response: &mut Response<CoreBody>, extension: impl Clone + Send + Sync + 'static) {
    response.extensions_mut().insert(extension);
}

async fn text(answer: Answer) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn header<B>(answer: &Response<B>, name: &str) -> Option<String> {
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

fn failed<B>(answer: &Response<B>) -> Option<ErrorKind> {
    answer.extensions().get::<Failed>().map(|failed| failed.0)
}

#[test]
fn the_service_is_shareable() {
    fn check<T: Clone + Send + Sync + 'static>(_: &T) {}
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(CoreBody::empty())));
    check(&RespondLayer::new(Plain).layer(inner));
}

#[tokio::test]
async fn every_error_is_an_answer() {
    for (kind, status, proxy, should_retry, after) in [
        (ErrorKind::BadRequest, 400, "http_request_error", None, None),
        (ErrorKind::Unauthorized, 401, "http_request_denied", None, None),
        (ErrorKind::NotFound, 404, "http_request_error", None, None),
        (ErrorKind::PayloadTooLarge, 413, "http_request_error", None, None),
        (ErrorKind::Timeout(Clock::RequestBody), 408, "http_request_error", None, None),
        (ErrorKind::Timeout(Clock::Head), 504, "http_response_timeout", Some("false"), None),
        (ErrorKind::Timeout(Clock::ClientPatience), 504, "http_response_timeout", Some("false"), None),
        (ErrorKind::Connect, 502, "connection_refused", Some("false"), None),
        (ErrorKind::Connection, 502, "connection_terminated", Some("false"), None),
        (ErrorKind::Truncated, 502, "http_response_incomplete", Some("false"), None),
        (ErrorKind::Unavailable, 503, "destination_unavailable", None, Some("1")),
        (ErrorKind::Overloaded, 503, "connection_limit_reached", None, Some("1")),
        (ErrorKind::Draining, 503, "connection_limit_reached", None, Some("1")),
        (ErrorKind::Internal, 500, "proxy_internal_error", None, None),
    ] {
        let answer = refuse(Error::new(kind, "what happened")).await;
        assert_eq!(answer.status(), status, "{kind:?}");
        assert_eq!(failed(&answer), Some(kind));
        let code = kind.code();
        let expected = format!("towergate; error={proxy}; details=\"{code}\"");
        assert_eq!(header(&answer, "proxy-status").unwrap(), expected);
        assert_eq!(header(&answer, "x-should-retry").as_deref(), should_retry, "{kind:?}");
        assert_eq!(header(&answer, "retry-after").as_deref(), after, "{kind:?}");
        let challenge = (status == 401).then_some("Bearer");
        assert_eq!(header(&answer, "www-authenticate").as_deref(), challenge);
        assert_eq!(header(&answer, "content-type").unwrap(), "text/plain");
        let length = header(&answer, "content-length").unwrap();
        let text = text(answer).await;
        assert_eq!(text, format!("{status}: {code} what happened"));
        assert_eq!(length, text.len().to_string());
    }
}

#[tokio::test]
async fn an_answer_to_a_request_with_a_credential_is_kept_out_of_shared_caches() {
    let request = |field: Option<&'static str>| {
        let mut request = Request::new(());
        if let Some(field) = field {
            request.headers_mut().insert(field, HeaderValue::from_static("x"));
        }
        request
    };
    let cached = || {
        let mut response = Response::new(CoreBody::empty());
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
        Ok(response)
    };
    let of = |answer: &Answer| (header(answer, "cache-control"), header(answer, "vary"));
    let some = |text: &str| Some(text.to_owned());
    let read = || some("authorization, api-key, x-api-key");
    for field in ["authorization", "api-key", "x-api-key", "cookie"] {
        let answer = answer_to(request(Some(field)), cached()).await;
        assert_eq!(of(&answer), (some("private, max-age=60"), read()), "{field}");
        let refused = Error::new(ErrorKind::NotFound, "nothing is here");
        let answer = answer_to(request(Some(field)), Err(refused.into())).await;
        assert_eq!(of(&answer), (some("private"), read()), "{field}");
    }
    assert_eq!(of(&answer_to(request(None), cached()).await), (some("public, max-age=60"), None));

    // A key that came another way.
    let mut request = request(None);
    RequestRecord::of(request.extensions_mut()).set_client(ClientName(Label::new("alice")));
    assert_eq!(of(&answer_to(request, cached()).await), (some("private, max-age=60"), read()));
}

#[tokio::test]
async fn a_wait_is_told_in_both_units_and_rounded_up() {
    for (wait, seconds, millis) in [(0, "1", "1"), (1_500, "2", "1500"), (45_190, "46", "45190")] {
        let error = Error::new(ErrorKind::Overloaded, "full").with_retry_after(Duration::from_millis(wait));
        let answer = refuse(error).await;
        assert_eq!(header(&answer, "retry-after").unwrap(), seconds);
        assert_eq!(header(&answer, "retry-after-ms").unwrap(), millis);
    }
}

#[tokio::test]
async fn a_foreign_error_is_ours_and_its_text_stays_inside() {
    let answer = refuse(format!("leaked {CANARY}")).await;
    assert_eq!(
        (answer.status(), failed(&answer)),
        (StatusCode::INTERNAL_SERVER_ERROR, Some(ErrorKind::Internal))
    );
    assert!(!text(answer).await.contains(CANARY));
    let wrapped = std::io::Error::other(Error::new(ErrorKind::Draining, "stopped"));
    assert_eq!(failed(&refuse(wrapped).await), Some(ErrorKind::Draining));
}

#[tokio::test]
async fn a_service_that_is_not_ready_is_an_answer_too() {
    let (service, mut handle) = tower_test::mock::pair::<Request<()>, Response<CoreBody>>();
    let mut service = RespondLayer::new(Plain).layer(service);
    handle.send_error(Error::new(ErrorKind::Unavailable, "none left"));
    let answer = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_is_no_failure_passes() {
    for status in [200, 204, 302, 400, 403, 404, 409, 422, 451] {
        let answer = upstream(status, |response| {
            response.headers_mut().insert("x-other", HeaderValue::from_static("kept"));
        })
        .await;
        assert_eq!(answer.status(), status);
        assert_eq!(failed(&answer), None);
        assert_eq!(header(&answer, "x-should-retry"), None);
        assert_eq!(header(&answer, "proxy-status"), None);
        assert_eq!(header(&answer, "x-other").unwrap(), "kept");
        assert_eq!(header(&answer, "x-towergate-provider").unwrap(), "openai");
        assert_eq!(text(answer).await, "upstream's text");
    }
    // An answer that no upstream sent is none of our business.
    let mut own = Response::new(CoreBody::from("mine"));
    *own.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let answer = answer_to(Request::new(()), Ok(own)).await;
    assert_eq!(
        (answer.status(), header(&answer, "x-towergate-provider")),
        (StatusCode::INTERNAL_SERVER_ERROR, None)
    );
    assert_eq!(text(answer).await, "mine");
}

#[tokio::test]
async fn a_refused_credential_is_the_gateways_fault_unless_it_is_the_callers() {
    let answer = upstream(401, |_| {}).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(failed(&answer), Some(ErrorKind::UpstreamAuth));
    assert_eq!(header(&answer, "x-should-retry").unwrap(), "false");
    assert!(header(&answer, "proxy-status").unwrap().ends_with("; received-status=401"));
    let body = text(answer).await;
    assert!(body.contains("upstream_auth_failed") && body.contains("openai"), "{body}");
    assert!(!body.contains("upstream's text"));

    let answer = upstream(401, |response| extend(response, CallerCredential)).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(answer).await, "upstream's text");
}

#[tokio::test]
async fn server_errors_are_ours_to_tell() {
    for status in [500, 502, 503, 504, 529, 599] {
        let answer = upstream(status, |response| {
            response.headers_mut().insert("x-request-id", HeaderValue::from_static("req_up"));
            response.headers_mut().insert("x-other", HeaderValue::from_static("gone"));
        })
        .await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        let kind = ErrorKind::UpstreamStatus(StatusCode::from_u16(status).unwrap());
        assert_eq!(failed(&answer), Some(kind));
        assert_eq!(header(&answer, "x-should-retry").unwrap(), "false");
        assert_eq!(header(&answer, "x-request-id").unwrap(), "req_up");
        assert_eq!(header(&answer, "x-other"), None);
        assert_eq!(header(&answer, "x-towergate-provider").unwrap(), "openai");
        assert!(header(&answer, "proxy-status").unwrap().ends_with(&format!("; received-status={status}")));
        assert_eq!(header(&answer, "retry-after"), None);
        let body = text(answer).await;
        assert!(body.contains(&status.to_string()) && !body.contains("upstream's text"), "{body}");
    }
}

#[tokio::test]
async fn a_503_that_asks_to_wait_stays_one() {
    let answer = upstream(503, |response| {
        response.headers_mut().insert("retry-after", HeaderValue::from_static("7"));
    })
    .await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (header(&answer, "retry-after").as_deref(), header(&answer, "retry-after-ms")),
        (Some("7"), None)
    );
    assert_eq!(header(&answer, "x-should-retry").unwrap(), "false");
    assert!(text(answer).await.starts_with("503: upstream_error"));

    let answer = upstream(503, |response| {
        response.extensions_mut().insert(RetryAfter(Duration::from_millis(2500)));
    })
    .await;
    assert_eq!(header(&answer, "retry-after").unwrap(), "3");

    // What `RetryAfter` makes of a number that no `Duration` holds.
    let answer = upstream(503, |response| extend(response, RetryAfter(Duration::MAX))).await;
    assert_eq!(header(&answer, "retry-after").unwrap(), u64::MAX.to_string());
}

#[tokio::test]
async fn who_served_is_said() {
    let answer = upstream(200, |response| {
        response.extensions_mut().insert(Served { model: Some(HeaderValue::from_static("m")), fallbacks: 2 });
    })
    .await;
    assert_eq!(header(&answer, "x-towergate-model").unwrap(), "m");
    assert_eq!(header(&answer, "x-towergate-fallbacks").unwrap(), "2");
}

#[tokio::test]
async fn limits_pass_and_are_final_unless_only_the_wait_was_too_long() {
    for status in [408, 429] {
        let answer = upstream(status, |response| {
            response.headers_mut().insert("retry-after", HeaderValue::from_static("20"));
            response.extensions_mut().insert(GaveUp::Exhausted);
        })
        .await;
        assert_eq!(answer.status(), status);
        assert_eq!(header(&answer, "x-should-retry").unwrap(), "false");
        assert_eq!(header(&answer, "retry-after").unwrap(), "20");
        assert_eq!(text(answer).await, "upstream's text");

        let wait = upstream(status, |response| extend(response, GaveUp::WaitTooLong));
        assert_eq!(header(&wait.await, "x-should-retry"), None);
        let said = upstream(status, |response| {
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("true"));
        });
        assert_eq!(header(&said.await, "x-should-retry").unwrap(), "true");
    }
    let quota = upstream(403, |response| extend(response, Class::QuotaExhausted)).await;
    assert_eq!(
        (quota.status(), header(&quota, "x-should-retry").as_deref()),
        (StatusCode::FORBIDDEN, Some("false"))
    );
}

#[tokio::test]
async fn a_body_that_was_withheld_is_told_of() {
    for (status, replaced) in [(400, true), (429, true), (302, false)] {
        let answer = upstream(status, |response| {
            *response.body_mut() = CoreBody::empty();
            extend(response, Withheld);
        })
        .await;
        assert_eq!(answer.status(), status);
        assert_eq!(failed(&answer).is_some(), replaced);
        assert_eq!(text(answer).await.contains("withheld"), replaced);
    }
}

#[tokio::test(start_paused = true)]
async fn the_way_is_told_in_headers_and_text() {
    let mut request = Request::new(());
    let record = RequestRecord::of(request.extensions_mut());
    (0..3).for_each(|_| record.count_attempt());
    let inner = service_fn(move |_: Request<()>| {
        let record = Arc::clone(&record);
        async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            record.add_upstream_time(Duration::from_millis(400));
            let error = Error::new(ErrorKind::Connect, "no connection").with_provider(Label::new("openai"));
            Err::<Response<CoreBody>, BoxError>(error.with_code("special").into())
        }
    });
    let answer = RespondLayer::new(Plain).layer(inner).oneshot(request).await.unwrap();
    assert_eq!(header(&answer, "x-towergate-attempts").unwrap(), "3");
    let overhead: f64 = header(&answer, "x-towergate-overhead-ms").unwrap().parse().unwrap();
    assert!((99.0..110.0).contains(&overhead), "{overhead}");
    let body = text(answer).await;
    assert_eq!(body, "502: special provider \"openai\": no connection (after 3 attempts)");
}

#[tokio::test]
async fn head_gets_the_headers_without_the_body() {
    let request = Request::head("/").body(()).unwrap();
    let answer = answer_to(request, Err(Error::new(ErrorKind::NotFound, "nothing here").into())).await;
    assert_eq!(header(&answer, "content-length").unwrap(), "27");
    assert!(answer.body().is_end_stream());
    assert_eq!(text(answer).await, "");
}

#[tokio::test]
async fn no_log_line_quotes_a_client_or_an_upstream() {
    let (log, _guard) = Log::capture();
    for status in [400, 401, 429, 500] {
        let answer = upstream(status, |response| {
            *response.body_mut() = CoreBody::from(format!("wrong key {CANARY}"));
        })
        .await;
        assert!(!format!("{answer:?}").contains(CANARY));
    }
    refuse(Error::new(ErrorKind::NotFound, format!("nothing at /{CANARY}"))).await;
    refuse(Error::new(ErrorKind::BadAnswer, "no JSON").with_source(format!("invalid {CANARY}"))).await;
    refuse(Error::new(ErrorKind::Connect, "refused").with_source("os error 111")).await;
    let log = log.text();
    assert!(!log.contains(CANARY), "{log}");
    assert!(log.contains("os error 111") && log.contains("status=401"), "{log}");
}
