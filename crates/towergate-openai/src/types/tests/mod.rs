mod lossless;

use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::*;

/// Reads a document as `T` and writes it again: the same document must come out.
fn round_trip<T: Serialize + DeserializeOwned>(document: &Value) -> Result<T, TestCaseError> {
    let text = document.to_string();
    let typed: T = serde_json::from_str(&text).map_err(|e| TestCaseError::fail(format!("{e} in {text}")))?;
    let written = serde_json::to_value(&typed).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(&written, document);
    // Through text too: `to_value` would hide a key that is written twice.
    let keys = |text: &str| text.matches("\":").count();
    let again = serde_json::to_string(&typed).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(keys(&again), keys(&text));
    Ok(typed)
}

fn golden<T: Serialize + DeserializeOwned>(document: Value) -> T {
    round_trip(&document).unwrap()
}

#[test]
fn a_completion_is_read() {
    let answer: ChatResponse = golden(json!({
        "id": "chatcmpl-AbC123",
        "object": "chat.completion",
        "created": 1_764_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "Paris.", "refusal": null, "annotations": []},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 19, "completion_tokens": 2, "total_tokens": 21,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_0000000000",
    }));
    assert_eq!(answer.text(), Some("Paris."));
    assert_eq!(answer.choices[0].finish_reason, Some(FinishReason::Stop));
    assert_eq!(answer.choices[0].message.refusal, None);
    assert_eq!(answer.usage.unwrap().total_tokens, Some(21));
    assert_eq!(answer.service_tier, Some(ServiceTier::Default));
}

#[test]
fn a_completion_with_tool_calls_is_read() {
    let answer: ChatResponse = golden(json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant",
                "content": null,
                "tool_calls": [{
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": "{\"city\":\"Paris\"}"},
                }],
            },
            "finish_reason": "tool_calls",
        }],
    }));
    let message = &answer.choices[0].message;
    assert_eq!(message.content, None);
    let call = &message.tool_calls.as_ref().unwrap()[0];
    assert_eq!(call.function.as_ref().unwrap().name, "weather");

    // The message goes back as it came, and its tool's answer after it.
    let request = ChatRequest::new("gpt-4o").message(message.clone()).message(Message::tool("call_1", "sun"));
    let sent = serde_json::to_value(&request).unwrap();
    assert_eq!(sent["messages"][0]["content"], Value::Null);
    assert_eq!(sent["messages"][1], json!({"role": "tool", "content": "sun", "tool_call_id": "call_1"}));
}

#[test]
fn chunks_are_read() {
    let chunk: ChatChunk = golden(json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
        "service_tier": "default", "system_fingerprint": null,
        "choices": [{"index": 0, "delta": {"content": "Hel"}, "logprobs": null, "finish_reason": null}],
        "usage": null, "obfuscation": "k3J",
    }));
    assert_eq!(chunk.text(), Some("Hel"));
    assert_eq!(chunk.usage, None);
    assert_eq!(chunk.extra["usage"], Value::Null);

    let chunk: ChatChunk = golden(json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
        "choices": [],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }));
    assert_eq!(chunk.text(), None);
    assert_eq!(chunk.usage.unwrap().completion_tokens, Some(1));

    let chunk: ChatChunk = golden(json!({
        "choices": [{"index": 0, "delta": {"reasoning_content": "hm", "tool_calls": [
            {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
        ]}}],
    }));
    let delta = &chunk.choices[0].delta;
    assert_eq!(delta.extra["reasoning_content"], "hm");
    assert_eq!(delta.tool_calls.as_ref().unwrap()[0].kind.as_deref(), Some("function"));
}

#[test]
fn a_request_is_built_as_the_api_wants_it() {
    let request = ChatRequest::new("gpt-4o")
        .system("Be brief.")
        .user([ContentPart::text("What is this?"), ContentPart::image_url("https://example.com/cat.png")])
        .assistant("A cat.")
        .user("Sure?")
        .temperature(0.5)
        .max_completion_tokens(100)
        .tool(Tool::function("weather", "The weather", json!({"type": "object"})))
        .tool_choice(ToolMode::Auto)
        .response_format(ResponseFormat::json_schema("answer", json!({"type": "object"})))
        .reasoning_effort(ReasoningEffort::Low)
        .include_usage();
    assert_eq!(
        serde_json::to_value(&request).unwrap(),
        json!({
            "model": "gpt-4o",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
                ]},
                {"role": "assistant", "content": "A cat."},
                {"role": "user", "content": "Sure?"},
            ],
            "temperature": 0.5,
            "max_completion_tokens": 100,
            "tools": [{"type": "function", "function": {
                "name": "weather", "description": "The weather", "parameters": {"type": "object"},
            }}],
            "tool_choice": "auto",
            "response_format": {"type": "json_schema", "json_schema": {
                "name": "answer", "schema": {"type": "object"}, "strict": true,
            }},
            "reasoning_effort": "low",
            "stream_options": {"include_usage": true},
        })
    );
}

#[test]
fn what_is_unknown_is_kept_as_other() {
    let part: ContentPart = golden(json!({"type": "hologram", "beam": 1}));
    assert!(matches!(part, ContentPart::Other(_)));
    // A known tag with an unknown shape is no error either.
    let part: ContentPart = golden(json!({"type": "text", "text": {"value": "x"}}));
    assert!(matches!(part, ContentPart::Other(_)));
    let role: Role = golden(json!("narrator"));
    assert_eq!(role, Role::Other("narrator".into()));
    let role: Role = golden(json!("tool"));
    assert_eq!(role, Role::Tool);
}

#[test]
fn a_field_that_is_set_wins_over_the_null_that_was_kept() {
    let mut chunk: ChatChunk = serde_json::from_value(json!({"choices": [], "usage": null})).unwrap();
    chunk.usage = Some(Usage::default());
    assert_eq!(serde_json::to_string(&chunk).unwrap(), r#"{"choices":[],"usage":{}}"#);
}

#[test]
fn what_is_required_is_named_when_it_is_missing() {
    let error = serde_json::from_str::<ChatResponse>("{}").unwrap_err();
    assert!(error.to_string().contains("choices"), "{error}");
}

#[test]
fn errors_are_read_in_every_shape() {
    let read = |body: Value| ApiError::read(body.to_string().as_bytes());
    let error = read(json!({
        "error": {"message": "No such model", "type": "invalid_request_error", "param": null, "code": "model_not_found"}
    }))
    .unwrap();
    assert_eq!(error.code_name(), Some("model_not_found"));
    assert_eq!(error.to_string(), "model_not_found");
    let gemini =
        read(json!([{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}])).unwrap();
    assert_eq!((gemini.message.as_deref(), gemini.to_string()), (Some("bad"), "code 400".into()));
    assert_eq!(read(json!({"error": "model not found"})).unwrap().message.unwrap(), "model not found");
    let mistral =
        read(json!({"object": "error", "message": "no", "type": "invalid_model", "code": "1500"})).unwrap();
    assert_eq!(mistral.kind.as_deref(), Some("invalid_model"));
    for none in [&b"<html>"[..], b"", b"[]", b"7"] {
        assert_eq!(ApiError::read(none), None);
    }
}

#[test]
fn the_text_of_an_error_repeats_nobodys_text() {
    let error = ApiError {
        message: Some("my secret prompt".into()),
        code: Some(ErrorCode::Name("my secret prompt".into())),
        ..ApiError::default()
    };
    assert_eq!(error.to_string(), "unnamed error");
}

#[test]
fn a_vector_is_had_from_either_form() {
    let embedding: Embedding =
        golden(json!({"object": "embedding", "index": 0, "embedding": [0, -0.5, 1.0]}));
    assert_eq!(embedding.vector(), Ok(vec![0.0, -0.5, 1.0]));
    let embedding: Embedding = golden(json!({"embedding": "AACAPwAAAMA="}));
    assert_eq!(embedding.vector(), Ok(vec![1.0, -2.0]));
    for bad in ["AACAPwA=", "no base64"] {
        let embedding: Embedding = golden(json!({"embedding": bad}));
        assert_eq!(embedding.vector(), Err(NotAVector));
    }
}
