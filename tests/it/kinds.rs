//! Every kind of stream: byte for byte in any framing, and never a success where it was cut.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use towergate::{layers::timeout::Timeouts, openai::service::Http2};

use super::support::{Answer, Http, PROVIDER_KEY, World};

/// Path and request of each kind.
const KINDS: [&str; 7] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
];

fn request(http: &Http, path: &str, model: &str) -> Request<Full<Bytes>> {
    let request = http.request(Method::POST, path).header("authorization", format!("Bearer {PROVIDER_KEY}"));
    let body = match path {
        "/v1/chat/completions" => {
            json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "Hi"}]})
        }
        "/v1/completions" => json!({"model": model, "stream": true, "prompt": "Hi"}),
        "/v1/responses" => json!({"model": model, "stream": true, "input": "Hi"}),
        "/v1/images/generations" | "/v1/images/edits" => {
            json!({"model": model, "stream": true, "prompt": "Hi", "partial_images": 3})
        }
        "/v1/audio/speech" => {
            json!({"model": model, "input": "Hi", "voice": "alloy", "stream_format": "sse"})
        }
        _ => {
            let mut form = String::new();
            for (name, value) in [("model", model), ("stream", "true")] {
                form += &format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            }
            form += "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nabc\r\n";
            let request = request.header("content-type", "multipart/form-data; boundary=x");
            return request.body((form + "--x--\r\n").into()).unwrap();
        }
    };
    request.header("content-type", "application/json").body(body.to_string().into()).unwrap()
}

/// The four ways through the gateway: HTTP/1.1 and HTTP/2 on each side.
async fn worlds(idle: Duration) -> Vec<(World, Http)> {
    let mut worlds = Vec::new();
    for upstream in [false, true] {
        for client in [false, true] {
            let clocks = Timeouts::default().with_idle(idle).with_first_event(idle);
            let world = World::builder()
                .provider(move |provider| provider.timeouts(clocks))
                .provider(move |provider| provider.leaf(|leaf| leaf.http2(upstream.then(Http2::default))))
                .start()
                .await;
            let http = if client { world.http2() } else { world.http1() };
            worlds.push((world, http));
        }
    }
    worlds
}

#[tokio::test]
async fn a_whole_stream_passes_byte_for_byte() {
    for (world, http) in worlds(Duration::from_secs(30)).await {
        let direct = Http::new(format!("http://{}", world.upstream.addr()), false);
        for path in KINDS {
            for fault in
                ["ok", "crlf", "cr", "bom", "byte-by-byte", "split=7", "comments=3", "huge-event=1MiB"]
            {
                let model = format!("fault:{fault}");
                let expected = direct.read(request(&direct, path, &model)).await;
                let answer = http.read(request(&http, path, &model)).await;
                assert!(answer.status == 200 && answer.whole, "{path} {fault}: {:?}", answer.status);
                assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"), "{path}");
                assert!(answer.body == expected.body, "{path} {fault}: not byte for byte");
            }
        }
    }
}

/// What was told of the failure, whichever way it had to be.
fn failure(answer: &Answer, what: &str) -> Value {
    if answer.status != 200 {
        assert!(matches!(answer.status.as_u16(), 502 | 504), "{what}: {answer:?}");
        return answer.error();
    }
    assert!(!answer.whole, "{what}: the transport must break: {}", answer.text());
    let text = answer.text();
    for terminal in ["[DONE]", ".completed\"", ".done\"", "\"finish_reason\":\"stop\""] {
        let is_part = what.contains("/responses") && terminal == ".done\"";
        assert!(is_part || !text.contains(terminal), "{what}: {text}");
    }
    let events: Vec<_> = text.split("\n\n").filter(|event| event.contains("data:")).collect();
    let errors = events.iter().filter(|event| event.contains("\"error\":{")).count();
    assert_eq!(errors, 1, "{what}: {text}");
    let last = events.last().unwrap();
    let data = last.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let named = last.contains("event: error");
    let data: Value = serde_json::from_str(data).unwrap();
    let unnamed = ["/v1/chat/completions", "/v1/completions"].iter().any(|path| what.contains(path));
    assert_eq!(named, !unnamed, "{what}: {last}");
    assert_eq!(data.get("type").and_then(Value::as_str), named.then_some("error"), "{what}: {last}");
    data["error"].clone()
}

#[tokio::test]
async fn a_cut_stream_is_told_of_in_the_shape_of_its_api() {
    let worlds = worlds(Duration::from_millis(500)).await;
    // A reset takes all streams of an HTTP/2 connection with it: those are run by themselves.
    for faults in [&["cut-after", "truncate-after", "stall-after"][..], &["reset-after"]] {
        let mut cases = Vec::new();
        for (_, http) in &worlds {
            for path in KINDS {
                for fault in faults {
                    cases.extend([0, 1, 2, 3].map(|piece| (http, path, format!("{fault}={piece}"))));
                }
                if faults.len() > 1 {
                    cases.push((http, path, "no-finish".to_owned()));
                    cases.push((http, path, "bad-json-at=2;truncate-after=3".to_owned()));
                }
            }
        }
        stream::iter(cases)
            .for_each_concurrent(40, |(http, path, fault)| async move {
                let answer = http.read(request(http, path, &format!("fault:{fault}"))).await;
                let what = format!("{path} {fault}");
                let error = failure(&answer, &what);
                assert_eq!(error["type"], "gateway_error", "{what}: {error}");
                let code = error["code"].as_str().unwrap();
                let codes = match fault.split('=').next().unwrap() {
                    "stall-after" => ["first_event_timeout", "idle_timeout", ""],
                    _ => ["upstream_truncated", "upstream_connection_failed", "upstream_bad_answer"],
                };
                assert!(codes.contains(&code), "{what}: {error}");
            })
            .await;
    }
}
