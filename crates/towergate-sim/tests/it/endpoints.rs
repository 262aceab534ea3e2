//! Every endpoint answers plausibly, and the same each time.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use towergate_sim::Sim;

use crate::support::{ask, ask_events, ask_json, call, chat, post};

const CHAT: &str = "/v1/chat/completions";

fn parsed(events: &[String]) -> Vec<Value> {
    events.iter().filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn the_same_request_gets_the_same_bytes() {
    let requests = [
        (CHAT, chat("gpt-4o", false)),
        (CHAT, chat("gpt-4o", true)),
        ("/v1/completions", json!({"model": "x", "prompt": "hi", "stream": true})),
        ("/v1/responses", json!({"model": "x", "input": "hi", "stream": true})),
        ("/v1/embeddings", json!({"model": "x", "input": ["a", "b"]})),
        ("/v1/moderations", json!({"input": "a"})),
        ("/v1/audio/speech", json!({"model": "tts-1", "input": "hi", "voice": "alloy"})),
        ("/v1/images/generations", json!({"prompt": "a cat"})),
    ];
    for (path, body) in requests {
        let first = ask(&Sim::new(), path, &body).await;
        assert_eq!(first.0, 200, "{path}: {:?}", first.1);
        let sim = Sim::new();
        ask(&sim, "/v1/models", &json!({})).await;
        assert_eq!(ask(&sim, path, &body).await, first, "{path}");
    }
    let (_, other) = ask(&Sim::new(), CHAT, &chat("gpt-4o-mini", false)).await;
    assert_ne!(ask(&Sim::new(), CHAT, &chat("gpt-4o", false)).await.1, other);
}

#[tokio::test]
async fn chat_is_whole_and_adds_up() {
    let sim = Sim::new();
    let answer = ask_json(&sim, CHAT, &chat("gpt-4o", false)).await;
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "gpt-4o");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &answer["choices"][0];
    assert!(choice["message"]["content"].as_str().unwrap().starts_with("You said: Hello there"));
    assert_eq!(choice["finish_reason"], "stop");
    let tokens = |name: &str| answer["usage"][name].as_u64().unwrap();
    assert!(tokens("completion_tokens") > 3);
    assert_eq!(tokens("prompt_tokens") + tokens("completion_tokens"), tokens("total_tokens"));
}

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says() {
    let sim = Sim::new();
    let mut request = chat("gpt-4o", true);
    let events = ask_events(&sim, CHAT, &request).await;
    assert_eq!(events.last().unwrap(), "[DONE]");
    let chunks = parsed(&events);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    let finish: Vec<_> = chunks.iter().filter(|c| !c["choices"][0]["finish_reason"].is_null()).collect();
    assert_eq!(finish.len(), 1);
    let said: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert!(said.starts_with("You said: Hello there"));

    request["stream_options"] = json!({"include_usage": true});
    let chunks = parsed(&ask_events(&sim, CHAT, &request).await);
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert!(last["usage"]["total_tokens"].is_u64());
    assert!(others.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
}

#[tokio::test]
async fn limits_stops_choices_and_tools() {
    let sim = Sim::new();
    let mut request = chat("gpt-4o", false);
    request["max_tokens"] = json!(2);
    let answer = ask_json(&sim, CHAT, &request).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 2);

    let mut request = chat("gpt-4o", false);
    request["stop"] = json!(["there"]);
    request["n"] = json!(3);
    let answer = ask_json(&sim, CHAT, &request).await;
    assert_eq!(answer["choices"][2]["message"]["content"], "You said: Hello ");

    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}]);
    let mut request = chat("gpt-4o", false);
    request["tools"] = tools;
    request["tool_choice"] = json!("required");
    let answer = ask_json(&sim, CHAT, &request).await;
    let called = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(*called, json!({"name": "weather", "arguments": "{\"city\":\"example\"}"}));
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");

    request["tool_choice"] = json!({"type": "function", "function": {"name": "weather"}});
    request["stream"] = json!(true);
    let chunks = parsed(&ask_events(&sim, CHAT, &request).await);
    let call = |chunk: &Value| chunk["choices"][0]["delta"]["tool_calls"][0]["function"].clone();
    assert_eq!(call(&chunks[0])["name"], "weather");
    let arguments: String =
        chunks.iter().filter_map(|c| call(c)["arguments"].as_str().map(str::to_owned)).collect();
    assert_eq!(arguments, "{\"city\":\"example\"}");
}

#[tokio::test]
async fn structured_output_fits_its_schema() {
    let mut request = chat("gpt-4o", false);
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
    request["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let answer = ask_json(&Sim::new(), CHAT, &request).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "{\"n\":1}");
}

#[tokio::test]
async fn legacy_completions() {
    let sim = Sim::new();
    let mut request = json!({"model": "x", "prompt": "hi"});
    let answer = ask_json(&sim, "/v1/completions", &request).await;
    let whole = answer["choices"][0]["text"].as_str().unwrap();
    assert!(whole.starts_with("You said: hi"));
    request["stream"] = json!(true);
    request["stream_options"] = json!({"include_usage": true});
    let events = ask_events(&sim, "/v1/completions", &request).await;
    assert_eq!(events.last().unwrap(), "[DONE]");
    assert!(parsed(&events).last().unwrap()["usage"]["total_tokens"].is_u64());
}

#[tokio::test]
async fn responses_follow_their_sequence() {
    let sim = Sim::new();
    let mut request = json!({"model": "gpt-5-mini", "input": "hi"});
    let answer = ask_json(&sim, "/v1/responses", &request).await;
    assert_eq!(answer["status"], "completed");
    let said = answer["output"][0]["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(said.starts_with("You said: hi"));

    request["stream"] = json!(true);
    let (_, body) = ask(&sim, "/v1/responses", &request).await;
    let text = String::from_utf8(body.to_vec()).unwrap();
    let events: Vec<Value> = parsed(&crate::support::events(&body));
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
        assert!(text.contains(&format!("event: {}\n", event["type"].as_str().unwrap())));
    }
    let mut kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    assert!(events.last().unwrap()["response"]["usage"]["total_tokens"].is_u64());
    assert!(!text.contains("[DONE]"));

    request["max_output_tokens"] = json!(1);
    let events = ask_events(&sim, "/v1/responses", &request).await;
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");

    let tool = json!({"type": "function", "name": "f", "parameters": {}});
    let call =
        json!({"model": "x", "input": "hi", "stream": true, "tools": [tool], "tool_choice": "required"});
    let events = parsed(&ask_events(&sim, "/v1/responses", &call).await);
    assert!(events.iter().any(|event| event["type"] == "response.function_call_arguments.done"));
}

#[tokio::test]
async fn embeddings_are_unit_vectors() {
    let sim = Sim::new();
    let request = json!({"model": "text-embedding-3-small", "input": ["a", "b", "a"], "dimensions": 64});
    let answer = ask_json(&sim, "/v1/embeddings", &request).await;
    let vector = |index: usize| -> Vec<f64> {
        answer["data"][index]["embedding"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
    };
    assert_eq!(vector(0), vector(2));
    assert_ne!(vector(0), vector(1));
    let length: f64 = vector(1).iter().map(|n| n * n).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");

    let request = json!({"model": "x", "input": [1, 2, 3], "encoding_format": "base64"});
    let answer = ask_json(&sim, "/v1/embeddings", &request).await;
    let bytes = STANDARD.decode(answer["data"][0]["embedding"].as_str().unwrap()).unwrap();
    assert_eq!(bytes.len(), 1536 * 4);
    assert_eq!(answer["usage"]["prompt_tokens"], 3);
    for bad in [json!([]), json!({"a": 1}), json!([["x"]])] {
        let (status, _) = ask(&sim, "/v1/embeddings", &json!({"model": "x", "input": bad})).await;
        assert_eq!(status, 400);
    }
}

#[tokio::test]
async fn models_moderations_and_images() {
    let sim = Sim::new();
    let get = |path: &str| Request::get(path).body(Full::new(Bytes::new())).unwrap();
    let read = |response: http::Response<towergate_core::Body>| async {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    let list = read(call(&sim, get("/v1/models")).await).await;
    assert!(list["data"].as_array().unwrap().iter().any(|model| model["id"] == "gpt-4o"));
    let one = read(call(&sim, get("/models/gpt-4o")).await).await;
    assert_eq!(one["object"], "model");

    let request = json!({"input": ["a kind word", "violence"]});
    let answer = ask_json(&sim, "/v1/moderations", &request).await;
    assert_eq!(answer["results"][0]["flagged"], false);
    assert_eq!(answer["results"][1]["categories"]["violence"], true);

    let request = json!({"prompt": "a cat", "n": 2});
    let answer = ask_json(&sim, "/v1/images/generations", &request).await;
    let png = STANDARD.decode(answer["data"][1]["b64_json"].as_str().unwrap()).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    let request = json!({"prompt": "a cat", "stream": true});
    let events = parsed(&ask_events(&sim, "/v1/images/generations", &request).await);
    assert_eq!(events.last().unwrap()["type"], "image_generation.completed");
}

#[tokio::test]
async fn speech_is_bytes_or_events() {
    let sim = Sim::new();
    let mut request = json!({"model": "tts-1", "input": "hi", "voice": "alloy"});
    let response = call(&sim, post("/v1/audio/speech", &request)).await;
    assert_eq!(response.headers()["content-type"], "audio/mpeg");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 32 << 10);
    request["stream_format"] = json!("sse");
    let events = parsed(&ask_events(&sim, "/v1/audio/speech", &request).await);
    assert_eq!(events.last().unwrap()["type"], "speech.audio.done");
}

fn form(path: &str, fields: &[(&str, &str)], file: &[u8]) -> Request<Full<Bytes>> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    body.extend(b"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n");
    body.extend(file);
    body.extend(b"\r\n--B--\r\n");
    Request::post(path)
        .header("content-type", "multipart/form-data; boundary=B")
        .body(Full::new(body.into()))
        .unwrap()
}

#[tokio::test]
async fn forms_are_read() {
    let sim = Sim::new();
    let read = |response: http::Response<towergate_core::Body>| async {
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(status, 200, "{body:?}");
        body
    };
    let json = |body: Bytes| serde_json::from_slice::<Value>(&body).unwrap();
    let request = form("/v1/audio/transcriptions", &[("model", "whisper-1")], &[0; 20_000]);
    let answer = json(read(call(&sim, request).await).await);
    assert_eq!(answer["usage"], json!({"type": "duration", "seconds": 2}));
    let fields = [("model", "whisper-1"), ("response_format", "vtt")];
    let answer = read(call(&sim, form("/v1/audio/transcriptions", &fields, b"x")).await).await;
    assert!(answer.starts_with(b"WEBVTT"));
    let fields = [("model", "whisper-1"), ("stream", "true")];
    let answer = read(call(&sim, form("/v1/audio/transcriptions", &fields, b"x")).await).await;
    assert!(crate::support::events(&answer).iter().any(|data| data.contains("transcript.text.done")));

    let file = json(read(call(&sim, form("/v1/files", &[("purpose", "batch")], b"12345")).await).await);
    assert_eq!((&file["bytes"], &file["purpose"]), (&json!(5), &json!("batch")));
    assert_eq!(file["filename"], "a.bin");
    let path = format!("/v1/files/{}/content", file["id"].as_str().unwrap());
    let get = Request::get(path).body(Full::new(Bytes::new())).unwrap();
    assert_eq!(read(call(&sim, get).await).await.len(), 32 << 10);

    // A form names a fault as JSON does.
    let request = form("/v1/audio/transcriptions", &[("model", "fault:status=429")], b"x");
    assert_eq!(call(&sim, request).await.status(), 429);
}

#[tokio::test]
async fn the_echo_tells_what_came_in() {
    let sim = Sim::new();
    let request = Request::delete("/v1/echo/a?b=c")
        .header("x-one", "1")
        .header("x-one", "2")
        .body(Full::new(Bytes::from_static(&[0, 255])))
        .unwrap();
    let body = call(&sim, request).await.into_body().collect().await.unwrap().to_bytes();
    let echo: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(echo["method"], "DELETE");
    assert_eq!((&echo["path"], &echo["query"]), (&json!("/v1/echo/a"), &json!("b=c")));
    assert_eq!(echo["headers"], json!([["x-one", "1"], ["x-one", "2"]]));
    assert_eq!((&echo["body_len"], &echo["body_base64"]), (&json!(2), &json!("AP8=")));
}

#[tokio::test]
async fn refusals_have_the_envelope() {
    let sim = Sim::new().require_key("sk-right-key");
    let (status, body) = ask(&sim, CHAT, &chat("gpt-4o", false)).await;
    assert_eq!(status, 401);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["error"]["code"], "invalid_api_key");
    for (name, key, status) in [
        ("authorization", "Bearer sk-right-key", 200),
        ("api-key", "sk-right-key", 200),
        ("api-key", "é", 401),
    ] {
        let mut request = post(CHAT, &chat("gpt-4o", false));
        request.headers_mut().insert(name, key.parse().unwrap());
        assert_eq!(call(&sim, request).await.status(), status);
    }

    let sim = Sim::new();
    let raw = |body: &'static str| Request::post(CHAT).body(Full::new(Bytes::from(body))).unwrap();
    for (request, status, code) in [
        (post(CHAT, &chat("unknown-model", true)), 404, json!("model_not_found")),
        (post(CHAT, &json!({"messages": []})), 400, Value::Null),
        (post(CHAT, &json!({"model": "x"})), 400, json!("missing_required_parameter")),
        (post(CHAT, &json!({"model": "x", "messages": "hi"})), 400, Value::Null),
        (post(CHAT, &json!({"model": "x", "messages": [1, null, {}], "n": 1})), 200, Value::Null),
        (raw("{"), 400, Value::Null),
        (raw("[1]"), 400, Value::Null),
        (raw(""), 400, Value::Null),
        (post("/v1/nothing", &json!({})), 404, Value::Null),
        (post("/v1/models", &json!({})), 404, Value::Null),
        (post(CHAT, &chat("fault:banana", false)), 400, Value::Null),
    ] {
        let answer = call(&sim, request).await;
        assert_eq!(answer.status(), status);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], code);
        assert_eq!(body["error"]["message"].is_string(), status != 200);
    }
}

#[tokio::test]
async fn the_usual_headers_are_there() {
    let answer = call(&Sim::new(), post(CHAT, &chat("gpt-4o", true))).await;
    for name in ["set-cookie", "alt-svc", "openai-processing-ms", "x-ratelimit-remaining-tokens"] {
        assert!(answer.headers().contains_key(name), "{name}");
    }
    assert!(answer.headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
}
