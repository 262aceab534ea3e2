//! Every fault does what it says.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;
use towergate_sim::{Broken, Fault, Sim};

use crate::support::{Ended, ask, ask_events, broken, call, chat, events, post, whole};

const CHAT: &str = "/v1/chat/completions";

fn faulty(fault: &str, stream: bool) -> Value {
    chat(&format!("{}{fault}", Fault::MODEL_PREFIX), stream)
}

#[tokio::test]
async fn a_status_has_its_envelope() {
    for (fault, status, kind, code) in [
        ("429;retry-after=2", 429, "requests", json!("rate_limit_exceeded")),
        ("status=429;code=insufficient_quota", 429, "insufficient_quota", json!("insufficient_quota")),
        ("status=500", 500, "server_error", Value::Null),
        ("status=503", 503, "service_unavailable_error", json!("server_is_overloaded")),
        ("status=400;type=t;code=c;message=m", 400, "t", json!("c")),
    ] {
        let answer = call(&Sim::new(), post(CHAT, &faulty(fault, true))).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers().contains_key("retry-after"), fault.contains("retry-after"));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let error = &serde_json::from_slice::<Value>(&body).unwrap()["error"];
        assert_eq!((&error["type"], &error["code"]), (&json!(kind), &code), "{fault}");
    }
}

#[tokio::test]
async fn errors_have_the_shapes_of_others() {
    for (shape, begin) in [
        ("array", "[{\"error\":{"),
        ("flat", "{\"object\":\"error\""),
        ("string", "{\"error\":\""),
        ("html", "<html>"),
        ("empty", ""),
    ] {
        let (status, body) = ask(&Sim::new(), CHAT, &faulty(&format!("500;error-body={shape}"), false)).await;
        assert_eq!(status, 500);
        assert!(body.starts_with(begin.as_bytes()), "{body:?}");
        assert_eq!(body.is_empty(), shape == "empty");
    }
    let (_, body) = ask(&Sim::new(), CHAT, &faulty("500;error-body=int-code", false)).await;
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["error"]["code"], 500);
    let (status, body) = ask(&Sim::new(), CHAT, &faulty("307;header=location:/elsewhere", false)).await;
    assert_eq!((status, body), (307, Bytes::new()));
    let (status, body) = ask(&Sim::new(), CHAT, &faulty("201", false)).await;
    assert!(status == 201 && body.starts_with(b"{\"id\""));
}

#[tokio::test]
async fn a_200_that_is_no_answer() {
    let (status, headers, body) = whole("empty-200", CHAT, &chat("x", false)).await;
    assert_eq!((status, body.len()), (200, 0));
    assert_eq!(headers["content-length"], "0");
    let (_, headers, body) = whole("html-200", CHAT, &chat("x", true)).await;
    assert_eq!(headers["content-type"], "text/html");
    assert!(body.starts_with(b"<html>"));
    let (_, headers, body) = whole("wrong-content-type", CHAT, &chat("x", true)).await;
    assert_eq!(headers["content-type"], "text/plain");
    assert!(body.ends_with(b"[DONE]\n\n"));
    let (_, headers, _) = whole("gzip; header=x-one: two", CHAT, &chat("x", false)).await;
    assert_eq!(
        (&headers["content-encoding"], &headers["x-one"]),
        (&"gzip".parse().unwrap(), &"two".parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn delays_take_their_time() {
    let sim = Sim::new().token_delay(Duration::from_secs(1));
    let begin = Instant::now();
    ask(&sim, CHAT, &faulty("delay-head=500ms", false)).await;
    assert_eq!(begin.elapsed(), Duration::from_millis(500));

    let begin = Instant::now();
    let body = faulty("tokens=5", true);
    let count = ask_events(&sim, CHAT, &body).await.len();
    // A role, five tokens, a finish and the end mark.
    assert_eq!(count, 8);
    assert_eq!(begin.elapsed().as_secs(), 8);

    let begin = Instant::now();
    let mut body = call(&Sim::new(), post(CHAT, &faulty("delay-at=1:20s", true))).await.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    body.frame().await.unwrap().unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(20));
    body.collect().await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(20));

    let begin = Instant::now();
    let (_, body) = ask(&Sim::new(), CHAT, &faulty("split=100;slow-chunks=10ms", false)).await;
    assert_eq!(
        begin.elapsed(),
        Duration::from_millis(10) * u32::try_from(body.len() / 2).unwrap().div_ceil(100) * 2
    );
}

#[tokio::test(start_paused = true)]
async fn what_stalls_stalls_for_ever() {
    for (fault, events) in [("stall-head", None), ("stall-after=0", Some(0)), ("stall-after=3", Some(3))] {
        let sim = Sim::new();
        let answering = call(&sim, post(CHAT, &faulty(fault, true)));
        let hour = Duration::from_secs(3600);
        let Some(events) = events else {
            assert!(tokio::time::timeout(hour, answering).await.is_err());
            continue;
        };
        let mut body = answering.await.into_body();
        for _ in 0..events {
            body.frame().await.unwrap().unwrap();
        }
        assert!(tokio::time::timeout(hour, body.frame()).await.is_err());
    }
}

#[tokio::test]
async fn before_the_head_the_connection_breaks() {
    let (answer, ended) = broken("reset-before-head", CHAT, &chat("x", true)).await;
    assert_eq!((answer.as_str(), ended), ("", Ended::Reset));
    for fault in ["close-before-head", "refuse-stream"] {
        let (answer, ended) = broken(fault, CHAT, &chat("x", true)).await;
        assert_eq!((answer.as_str(), ended), ("", Ended::Closed));
    }
    let answer = call(&Sim::new(), post(CHAT, &faulty("refuse-stream", false))).await;
    assert_eq!(answer.extensions().get(), Some(&Broken::Refuse));
    assert!(answer.into_body().collect().await.is_err());
}

#[tokio::test]
async fn in_the_body_the_connection_breaks() {
    let (answer, ended) = broken("reset-after=3", CHAT, &chat("x", true)).await;
    assert_eq!((answer.matches("data: ").count(), ended), (3, Ended::Reset));
    let (answer, ended) = broken("cut-after=3", CHAT, &chat("x", true)).await;
    assert_eq!((answer.matches("data: ").count(), ended), (3, Ended::Closed));
    assert!(!answer.contains("\r\n0\r\n"));
    let (answer, ended) = broken("reset-after=0", CHAT, &chat("x", true)).await;
    assert_eq!(ended, Ended::Reset);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"));
}

#[tokio::test]
async fn json_is_cut() {
    let (_, _, full) = whole("ok", CHAT, &chat("x", false)).await;
    let (answer, ended) = broken("cut-json=half", CHAT, &chat("x", false)).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(ended, Ended::Closed);
    assert!(head.contains(&format!("content-length: {}", full.len())), "{head}");
    assert_eq!(body.as_bytes(), &full[..full.len() / 2]);
    let (answer, ended) = broken("cut-json=chunked", CHAT, &chat("x", false)).await;
    assert_eq!(ended, Ended::Closed);
    assert!(answer.contains("transfer-encoding: chunked") && !answer.contains("\r\n0\r\n"));
    let (_, _, body) = whole("truncate-after=1", CHAT, &chat("x", false)).await;
    assert_eq!(body, full[..full.len() / 2]);
}

#[tokio::test]
async fn a_stream_ends_early_in_good_order() {
    let sim = Sim::new();
    assert_eq!(ask_events(&sim, CHAT, &faulty("truncate-after=3", true)).await.len(), 3);
    let events = ask_events(&sim, CHAT, &faulty("no-done", true)).await;
    assert!(events.last().unwrap().contains("\"finish_reason\":\"stop\""));
    let events = ask_events(&sim, CHAT, &faulty("no-finish", true)).await;
    assert!(!events.iter().any(|data| data == "[DONE]" || data.contains("\"stop\"")));
    let request = json!({"model": "fault:no-finish", "input": "hi", "stream": true});
    let events = ask_events(&sim, "/v1/responses", &request).await;
    assert!(events.last().unwrap().contains("response.output_item.done"));
}

#[tokio::test]
async fn what_is_wrong_inside_a_stream() {
    let sim = Sim::new();
    let events = ask_events(&sim, CHAT, &faulty("tokens=5;bad-json-at=3", true)).await;
    assert_eq!(events.len(), 9);
    let bad: Vec<usize> = (0..8).filter(|at| serde_json::from_str::<Value>(&events[*at]).is_err()).collect();
    assert_eq!(bad, [3]);

    let events = ask_events(&sim, CHAT, &faulty("error-at=2:server_is_overloaded", true)).await;
    assert_eq!(events.len(), 3);
    let error: Value = serde_json::from_str(&events[2]).unwrap();
    assert_eq!(error["error"]["code"], "server_is_overloaded");
    assert_eq!(error["error"]["type"], "service_unavailable_error");

    for (fault, kind) in [("error-at=0", "error"), ("failed-at=0:x", "response.failed")] {
        let request = json!({"model": format!("fault:{fault}"), "input": "hi", "stream": true});
        let (_, body) = ask(&sim, "/v1/responses", &request).await;
        assert!(body.starts_with(format!("event: {kind}\n").as_bytes()), "{body:?}");
    }
}

#[tokio::test]
async fn much_is_much() {
    let sim = Sim::new();
    let events = ask_events(&sim, CHAT, &faulty("tokens=3;huge-event=4MiB", true)).await;
    assert_eq!(events.len(), 7);
    let huge: Value = serde_json::from_str(&events[1]).unwrap();
    assert_eq!(huge["choices"][0]["delta"]["content"].as_str().unwrap().len(), 4 << 20);

    let (_, body) = ask(&sim, CHAT, &faulty("comments=5", true)).await;
    assert!(body.starts_with(": keep-alive\n\n".repeat(5).as_bytes()));
    assert!(!body.starts_with(": keep-alive\n\n".repeat(6).as_bytes()));
    let (_, headers, body) = whole("comments=5", CHAT, &chat("x", false)).await;
    assert!(body.starts_with(b"\n\n\n\n\n{") && body.ends_with(b"}"));
    assert!(!headers.contains_key("content-length"));
    let mut endless = call(&sim, post(CHAT, &faulty("comments=endless", true))).await.into_body();
    for _ in 0..10_000 {
        let frame = endless.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), ": keep-alive\n\n");
    }

    let (_, body) = ask(&sim, CHAT, &faulty("bytes=1MiB", false)).await;
    assert_eq!(body.len(), 1 << 20);
    serde_json::from_slice::<Value>(&body).unwrap();
    let request = json!({"model": "fault:bytes=1MiB", "input": "hi", "voice": "alloy"});
    assert_eq!(ask(&sim, "/v1/audio/speech", &request).await.1.len(), 1 << 20);
}

/// The largest frame is a measure of what a stream of a gigabyte holds at any time.
#[tokio::test]
async fn a_gigabyte_is_made_as_it_is_read() {
    let mut body = call(&Sim::new(), post(CHAT, &faulty("bytes=1GiB", true))).await.into_body();
    let (mut total, mut largest, mut last) = (0_u64, 0, Bytes::new());
    while let Some(frame) = body.frame().await {
        last = frame.unwrap().into_data().unwrap();
        total += last.len() as u64;
        largest = largest.max(last.len());
    }
    assert!(total > 1 << 30);
    assert!(largest <= 64 << 10);
    assert_eq!(last, "data: [DONE]\n\n");
}

#[tokio::test]
async fn framings_differ_and_the_events_do_not() {
    let sim = Sim::new();
    // The model is part of the answer: by header, so that it stays the same.
    let with = |fault: &'static str| {
        let mut request = post(CHAT, &chat("x", true));
        request.headers_mut().insert("x-sim-fault", fault.parse().unwrap());
        let sim = sim.clone();
        async move { call(&sim, request).await.into_body() }
    };
    let plain = with("ok").await.collect().await.unwrap().to_bytes();
    let plain_text = String::from_utf8(plain.to_vec()).unwrap();

    let mut body = with("byte-by-byte").await;
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert_eq!(data.len(), 1);
        bytes.extend_from_slice(&data);
    }
    assert_eq!(bytes, plain);
    for (fault, expected) in [
        ("crlf", plain_text.replace('\n', "\r\n")),
        ("cr", plain_text.replace('\n', "\r")),
        ("bom", format!("\u{feff}{plain_text}")),
        ("split=7", plain_text.clone()),
    ] {
        assert_eq!(with(fault).await.collect().await.unwrap().to_bytes(), expected, "{fault}");
    }
    assert!(events(&plain).len() > 5);
}

#[tokio::test]
async fn faults_are_used_up() {
    let sim = Sim::new();
    let status = |body: Value| {
        let sim = sim.clone();
        async move { ask(&sim, CHAT, &body).await.0 }
    };
    sim.script(["500;times=2", "ok", "503"]).unwrap();
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(status(chat("fault:429", false)).await);
    }
    // `ok` in the queue is an answer without fault, whatever the model says.
    assert_eq!(seen, [500, 500, 200, 503, 429]);

    let twice = chat("fault:500;times=2", false);
    assert_eq!(
        [status(twice.clone()).await, status(twice.clone()).await, status(twice).await],
        [500, 500, 200]
    );

    sim.script_where(|parts| parts.uri.path().ends_with("/embeddings"), ["503"]).unwrap();
    assert_eq!(status(chat("x", false)).await, 200);
    assert_eq!(sim.scripted(), 1);
    assert_eq!(ask(&sim, "/v1/embeddings", &json!({})).await.0, 503);
    assert!(sim.script(["ok", "banana"]).is_err());
    assert_eq!(sim.scripted(), 0);
}
