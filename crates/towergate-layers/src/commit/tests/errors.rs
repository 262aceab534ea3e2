//! Answers with an error's status: read and classified.

use super::*;

/// Tells a quota from a rate by the body.
struct ByBody;

impl Classify for ByBody {
    fn classify(&self, status: StatusCode, _: &HeaderMap, body: Option<&[u8]>) -> Class {
        match body {
            Some(b"quota") => Class::QuotaExhausted,
            _ => Class::of_status(status),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_read_and_classified() {
    let body = Scripted::new(&json()).data("quo").wait(s(1)).data("ta");
    let mut response = with_status(429, body);
    response.headers_mut().insert("retry-after", "20".parse().unwrap());
    response.headers_mut().insert("retry-after-ms", "19500".parse().unwrap());
    response.headers_mut().insert("content-length", "5".parse().unwrap());
    let response = through(CommitLayer::new(ByBody), of_route(&CHAT), response).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Class::QuotaExhausted));
    assert_eq!(response.extensions().get(), Some(&RetryAfter(Duration::from_millis(19_500))));
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(response.body().as_bytes(), Some(&b"quota"[..]));
}

#[tokio::test(start_paused = true)]
async fn an_encoded_error_goes_by_its_status() {
    let mut response = with_status(429, Scripted::new(&json()).data("quota"));
    response.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    let response = through(CommitLayer::new(ByBody), of_route(&CHAT), response).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Class::RateLimited));
    assert_eq!(response.body().as_bytes(), Some(&b"quota"[..]));
}

#[tokio::test(start_paused = true)]
async fn an_error_too_long_or_too_slow_goes_by_its_status() {
    let long = Scripted::new(&json()).data(vec![b'x'; 40_000]).data(vec![b'x'; 40_000]).data("end");
    let response = commit(with_status(503, long)).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Class::Overloaded));
    assert_eq!(response.body().size_hint().exact(), Some(80_003));
    assert_eq!(text(response).await.len(), 80_003);

    let slow = Scripted::new(&json()).data("wait").wait(s(60)).data(" for it");
    let (held, response) = held_for(with_status(500, slow)).await;
    assert_eq!(held, s(15));
    assert_eq!(response.extensions().get(), Some(&Class::ServerError));
    assert_eq!(text(response).await, "wait for it");
}

#[tokio::test(start_paused = true)]
async fn an_error_whose_body_breaks_keeps_its_status() {
    let mut response = with_status(429, Scripted::new(&json()).data("quo").fail("reset"));
    response.headers_mut().insert("content-length", "5".parse().unwrap());
    let response = commit(response).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.extensions().get(), Some(&Class::RateLimited));
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(response.body().as_bytes(), Some(&[][..]));
}

#[tokio::test(start_paused = true)]
async fn an_error_without_a_body() {
    let response = commit(with_status(502, Scripted::new(&json()))).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Class::ServerError));
    assert_eq!(response.body().as_bytes(), Some(&[][..]));
}
