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

// === strategies ===

type Json = BoxedStrategy<Value>;

/// No `":` inside of strings: the round trip counts keys by it.
fn text() -> Json {
    "[a-z0-9 äß\\n\\\\]{0,8}".prop_map(Value::from).boxed()
}

fn whole() -> Json {
    (0..=u64::MAX).prop_map(Value::from).boxed()
}

fn number() -> Json {
    prop_oneof![
        any::<i32>().prop_map(Value::from),
        (-4000_i32..4000).prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        Just(json!(0)),
        Just(json!(1.0)),
    ]
    .boxed()
}

fn boolean() -> Json {
    any::<bool>().prop_map(Value::from).boxed()
}

fn anything() -> Json {
    let leaf = prop_oneof![Just(Value::Null), boolean(), number(), whole(), text()];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("x_[a-z]{1,3}", inner), 0..3)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
    .boxed()
}

fn object_of_anything() -> Json {
    prop::collection::vec(("[a-z]{1,3}", anything()), 0..3)
        .prop_map(|entries| Value::Object(entries.into_iter().collect()))
        .boxed()
}

/// One of the names, or one that nobody knows.
fn name(known: &[&'static str]) -> Json {
    let known: Vec<Value> = known.iter().map(|name| Value::from(*name)).collect();
    prop_oneof![prop::sample::select(known), text()].boxed()
}

fn list(item: Json) -> Json {
    prop::collection::vec(item, 0..3).prop_map(Value::from).boxed()
}

fn either(strategies: Vec<Json>) -> Json {
    prop::strategy::Union::new(strategies).boxed()
}

/// An object of required fields, of optional ones (there, `null`, or not there), and of others.
fn object(required: Vec<(&'static str, Json)>, optional: Vec<(&'static str, Json)>) -> Json {
    let (required_names, required): (Vec<_>, Vec<_>) = required.into_iter().unzip();
    let (optional_names, optional): (Vec<_>, Vec<_>) = optional.into_iter().unzip();
    let optional: Vec<_> = optional
        .into_iter()
        .map(|value| prop_oneof![2 => Just(None), 1 => Just(Some(Value::Null)), 3 => value.prop_map(Some)])
        .collect();
    let extra = prop::collection::vec(("x_[a-z]{1,3}", anything()), 0..2);
    (required, optional, extra)
        .prop_map(move |(required, optional, extra)| {
            let mut object: Map<String, Value> = extra.into_iter().collect();
            object.extend(required_names.iter().map(|name| (*name).to_owned()).zip(required));
            for (name, value) in optional_names.iter().zip(optional) {
                if let Some(value) = value {
                    object.insert((*name).to_owned(), value);
                }
            }
            Value::Object(object)
        })
        .boxed()
}

fn tag(name: &'static str) -> (&'static str, Json) {
    ("type", Just(Value::from(name)).boxed())
}

fn content() -> Json {
    let image = object(vec![("url", text())], vec![("detail", text())]);
    let audio = object(vec![("data", text()), ("format", text())], vec![]);
    let file = object(vec![], vec![("file_id", text()), ("file_data", text()), ("filename", text())]);
    let part = either(vec![
        object(vec![tag("text"), ("text", text())], vec![]),
        object(vec![tag("image_url"), ("image_url", image)], vec![]),
        object(vec![tag("input_audio"), ("input_audio", audio)], vec![]),
        object(vec![tag("file"), ("file", file)], vec![]),
        object(vec![tag("refusal"), ("refusal", text())], vec![]),
        object(vec![tag("hologram")], vec![("text", anything())]),
        anything(),
    ]);
    either(vec![text(), list(part), object_of_anything()])
}

fn function_call() -> Json {
    object(vec![("name", text()), ("arguments", text())], vec![])
}

fn message() -> Json {
    let citation = vec![("url", text()), ("title", text()), ("start_index", whole()), ("end_index", whole())];
    let annotation = object(vec![], vec![("type", text()), ("url_citation", object(vec![], citation))]);
    let custom = object(vec![("name", text()), ("input", text())], vec![]);
    let call = object(
        vec![("id", text())],
        vec![("type", text()), ("function", function_call()), ("custom", custom)],
    );
    object(
        vec![("role", name(&["developer", "system", "user", "assistant", "tool", "function"]))],
        vec![
            ("content", content()),
            ("name", text()),
            ("refusal", text()),
            ("tool_calls", list(call)),
            ("tool_call_id", text()),
            ("audio", audio_answer()),
            ("annotations", list(annotation)),
            ("function_call", function_call()),
        ],
    )
}

fn audio_answer() -> Json {
    object(vec![], vec![("id", text()), ("data", text()), ("expires_at", whole()), ("transcript", text())])
}

fn function_def() -> Json {
    object(
        vec![("name", text())],
        vec![("description", text()), ("parameters", anything()), ("strict", boolean())],
    )
}

fn chat_request() -> Json {
    let custom = object(vec![("name", text())], vec![("description", text()), ("format", anything())]);
    let tool = either(vec![
        object(vec![tag("function"), ("function", function_def())], vec![]),
        object(vec![tag("custom"), ("custom", custom)], vec![]),
        object(vec![tag("oracle")], vec![]),
    ]);
    let mode = || name(&["none", "auto", "required"]);
    let named = || object(vec![("name", text())], vec![]);
    let allowed = object(vec![("mode", mode()), ("tools", list(anything()))], vec![]);
    let tool_choice = either(vec![
        mode(),
        object(vec![tag("function"), ("function", named())], vec![]),
        object(vec![tag("custom"), ("custom", named())], vec![]),
        object(vec![tag("allowed_tools"), ("allowed_tools", allowed)], vec![]),
        object_of_anything(),
    ]);
    let schema = object(
        vec![("name", text())],
        vec![("description", text()), ("schema", anything()), ("strict", boolean())],
    );
    let format = either(vec![
        object(vec![tag("text")], vec![]),
        object(vec![tag("json_object")], vec![]),
        object(vec![tag("json_schema"), ("json_schema", schema)], vec![]),
        object(vec![tag("xml")], vec![]),
    ]);
    let place =
        object(vec![], vec![("city", text()), ("country", text()), ("region", text()), ("timezone", text())]);
    let location = object(vec![tag("approximate"), ("approximate", place)], vec![]);
    let voice = either(vec![text(), object_of_anything()]);
    object(
        vec![("model", text()), ("messages", list(message()))],
        vec![
            ("audio", object(vec![("voice", voice), ("format", text())], vec![])),
            ("frequency_penalty", number()),
            ("function_call", anything()),
            ("functions", list(function_def())),
            ("logit_bias", object_of_anything()),
            ("logprobs", boolean()),
            ("max_completion_tokens", whole()),
            ("max_tokens", whole()),
            ("metadata", object_of_anything()),
            ("modalities", list(name(&["text", "audio"]))),
            ("n", whole()),
            ("parallel_tool_calls", boolean()),
            ("prediction", object(vec![tag("content"), ("content", content())], vec![])),
            ("presence_penalty", number()),
            ("prompt_cache_key", text()),
            ("prompt_cache_options", object(vec![], vec![("ttl", text()), ("mode", text())])),
            ("prompt_cache_retention", text()),
            ("reasoning_effort", name(&["none", "minimal", "low", "medium", "high", "xhigh"])),
            ("response_format", format),
            ("safety_identifier", text()),
            ("seed", any::<i64>().prop_map(Value::from).boxed()),
            ("service_tier", name(&["auto", "default", "flex", "scale", "priority", "fast"])),
            (
                "stop",
                either(vec![text(), list(text()), anything().prop_filter("", |v| !v.is_null()).boxed()]),
            ),
            ("store", boolean()),
            ("stream", boolean()),
            (
                "stream_options",
                object(vec![], vec![("include_usage", boolean()), ("include_obfuscation", boolean())]),
            ),
            ("temperature", number()),
            ("tool_choice", tool_choice),
            ("tools", list(tool)),
            ("top_logprobs", whole()),
            ("top_p", number()),
            ("user", text()),
            ("verbosity", name(&["low", "medium", "high"])),
            (
                "web_search_options",
                object(vec![], vec![("search_context_size", text()), ("user_location", location)]),
            ),
        ],
    )
}

fn usage() -> Json {
    let details = |names: &[&'static str]| object(vec![], names.iter().map(|n| (*n, whole())).collect());
    object(
        vec![],
        vec![
            ("prompt_tokens", whole()),
            ("completion_tokens", whole()),
            ("total_tokens", whole()),
            (
                "prompt_tokens_details",
                details(&[
                    "cached_tokens",
                    "cache_write_tokens",
                    "audio_tokens",
                    "text_tokens",
                    "image_tokens",
                ]),
            ),
            (
                "completion_tokens_details",
                details(&[
                    "reasoning_tokens",
                    "audio_tokens",
                    "text_tokens",
                    "accepted_prediction_tokens",
                    "rejected_prediction_tokens",
                ]),
            ),
        ],
    )
}

fn finish_reason() -> Json {
    name(&["stop", "length", "tool_calls", "content_filter", "function_call"])
}

fn logprobs() -> Json {
    let top = object(vec![("token", text()), ("logprob", number())], vec![("bytes", list(whole()))]);
    let token = object(
        vec![("token", text()), ("logprob", number())],
        vec![("bytes", list(whole())), ("top_logprobs", list(top))],
    );
    object(vec![], vec![("content", list(token.clone())), ("refusal", list(token))])
}

fn completion(choice: Json) -> Json {
    object(
        vec![("choices", list(choice))],
        vec![
            ("id", text()),
            ("object", text()),
            ("created", number()),
            ("model", text()),
            ("usage", usage()),
            ("service_tier", name(&["default", "priority"])),
            ("system_fingerprint", text()),
            ("obfuscation", text()),
        ],
    )
}

fn chat_response() -> Json {
    completion(object(
        vec![("index", whole()), ("message", message())],
        vec![("finish_reason", finish_reason()), ("logprobs", logprobs())],
    ))
}

fn chat_chunk() -> Json {
    let function = || object(vec![], vec![("name", text()), ("arguments", text())]);
    let call =
        object(vec![], vec![("index", whole()), ("id", text()), ("type", text()), ("function", function())]);
    let delta = object(
        vec![],
        vec![
            ("role", name(&["assistant"])),
            ("content", content()),
            ("refusal", text()),
            ("tool_calls", list(call)),
            ("audio", audio_answer()),
            ("function_call", function()),
        ],
    );
    completion(object(
        vec![("index", whole()), ("delta", delta)],
        vec![("finish_reason", finish_reason()), ("logprobs", logprobs())],
    ))
}

fn embeddings_request() -> Json {
    let tokens = || list(whole());
    object(
        vec![
            ("model", text()),
            ("input", either(vec![text(), list(text()), tokens(), list(tokens()), object_of_anything()])),
        ],
        vec![("encoding_format", name(&["float", "base64"])), ("dimensions", whole()), ("user", text())],
    )
}

fn embeddings_response() -> Json {
    let vector = either(vec![list(number()), text()]);
    let embedding = object(vec![("embedding", vector)], vec![("object", text()), ("index", whole())]);
    object(vec![("data", list(embedding))], vec![("object", text()), ("model", text()), ("usage", usage())])
}

fn model_list() -> Json {
    let model = object(
        vec![("id", text())],
        vec![("object", text()), ("created", number()), ("owned_by", text()), ("shutdown_date", text())],
    );
    object(vec![("data", list(model))], vec![("object", text())])
}

fn error_response() -> Json {
    let code = either(vec![text(), number(), object_of_anything()]);
    let error =
        object(vec![], vec![("message", text()), ("type", text()), ("param", anything()), ("code", code)]);
    object(vec![("error", error)], vec![])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_chat_request_comes_out_as_it_went_in(document in chat_request()) {
        round_trip::<ChatRequest>(&document)?;
    }

    #[test]
    fn a_chat_response_comes_out_as_it_went_in(document in chat_response()) {
        round_trip::<ChatResponse>(&document)?;
    }

    #[test]
    fn a_chunk_comes_out_as_it_went_in(document in chat_chunk()) {
        round_trip::<ChatChunk>(&document)?;
    }

    #[test]
    fn embeddings_come_out_as_they_went_in(request in embeddings_request(), answer in embeddings_response()) {
        round_trip::<EmbeddingsRequest>(&request)?;
        round_trip::<EmbeddingsResponse>(&answer)?;
    }

    #[test]
    fn models_and_errors_come_out_as_they_went_in(models in model_list(), error in error_response()) {
        round_trip::<ModelList>(&models)?;
        round_trip::<ErrorResponse>(&error)?;
    }

    #[test]
    fn an_error_body_is_read_whatever_it_is(body in anything()) {
        let _ = ApiError::read(body.to_string().as_bytes());
    }
}

// === documents in the shape of OpenAI's ===

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
