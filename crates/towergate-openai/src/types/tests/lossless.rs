//! Whatever document of the right shape is read comes out as it went in.

use super::*;

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
