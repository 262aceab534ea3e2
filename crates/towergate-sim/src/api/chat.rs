//! `POST /chat/completions`, JSON and SSE.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Answer, Answered, Ask, Event, Events, Mark, Refusal, Shape, sse::FILL};
use crate::text;

/// More choices OpenAI does not give.
const MAX_CHOICES: u64 = 128;
/// What each message costs beside its text.
const PER_MESSAGE: u64 = 4;

/// What one choice says.
struct Choice {
    said: Said,
    finish: &'static str,
}

enum Said {
    Text(Vec<String>),
    Call { id: String, name: String, arguments: Vec<String> },
}

/// What every chunk of one stream repeats.
struct Head {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    /// Chunks say `usage: null` where the stream ends with usage.
    usage: bool,
}

pub(super) fn answer(ask: &Ask<'_>) -> Answered {
    let model = ask.model()?;
    let messages = ask.required("messages")?;
    let messages = messages
        .as_array()
        .filter(|messages| !messages.is_empty())
        .ok_or_else(|| Refusal::invalid("'messages' must be a non-empty array.", "messages"))?;
    let n = ask.number("n").unwrap_or(1);
    if !(1..=MAX_CHOICES).contains(&n) {
        return Err(Refusal::invalid(format!("'n' must be between 1 and {MAX_CHOICES}."), "n"));
    }

    let choices: Vec<Choice> = (0..n).map(|index| choice(ask, messages, index)).collect();
    let usage = usage(messages, &choices);
    let include_usage =
        ask.json.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or_default();
    let head = Head {
        id: ask.id("chatcmpl-", 29),
        created: ask.settings.created,
        model: model.to_owned(),
        fingerprint: fingerprint(model),
        usage: include_usage,
    };
    if ask.flag("stream") {
        return Ok(Answer::events(stream(head, choices, usage)));
    }
    Ok(Answer::json(&json!({
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": choices.iter().enumerate().map(|(index, choice)| choice.whole(index)).collect::<Value>(),
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": head.fingerprint,
    })))
}

pub(super) fn fingerprint(model: &str) -> String {
    format!("fp_{:010x}", text::hash(model.as_bytes()) & 0xff_ffff_ffff)
}

fn choice(ask: &Ask<'_>, messages: &[Value], index: u64) -> Choice {
    let seed = ask.seed.wrapping_add(index);
    if let Some((name, arguments)) = forced_call(&ask.json) {
        let arguments = text::tokens(&arguments).map(str::to_owned).collect();
        let said = Said::Call { id: text::id("call_", seed, 24), name, arguments };
        return Choice { said, finish: "tool_calls" };
    }
    let limit = ask.number("max_completion_tokens").or_else(|| ask.number("max_tokens"));
    let reply = match ask.json.pointer("/response_format/type").and_then(Value::as_str) {
        Some("json_object") => text::tokens(r#"{"answer": "example"}"#).map(str::to_owned).collect(),
        Some("json_schema") => {
            let schema = ask.json.pointer("/response_format/json_schema/schema");
            let value = schema.map(|schema| text::instance(schema, 0)).unwrap_or_default();
            text::tokens(&value.to_string()).map(str::to_owned).collect()
        }
        _ => text::reply(&last_user_text(messages), seed, ask.fault.tokens),
    };
    let (reply, finish) = limited(reply, limit, ask.json.get("stop"));
    Choice { said: Said::Text(reply), finish }
}

/// Ends a reply at a stop sequence, or at the most tokens it may have.
pub(super) fn limited(
    mut reply: Vec<String>,
    limit: Option<u64>,
    stop: Option<&Value>,
) -> (Vec<String>, &'static str) {
    let whole = reply.concat();
    let stops: Vec<&str> = match stop {
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(stops)) => stops.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let end = stops.into_iter().filter(|stop| !stop.is_empty()).filter_map(|stop| whole.find(stop)).min();
    if let Some(end) = end {
        reply = text::tokens(&whole[..end]).map(str::to_owned).collect();
    }
    match limit.and_then(|limit| usize::try_from(limit).ok()) {
        Some(limit) if limit < reply.len() => {
            reply.truncate(limit);
            (reply, "length")
        }
        _ => (reply, "stop"),
    }
}

/// The name and the arguments of a tool that the request says must be called.
pub(super) fn forced_call(request: &Value) -> Option<(String, String)> {
    let tools = request.get("tools").and_then(Value::as_array)?;
    let name = |tool: &Value| {
        let name = tool.pointer("/function/name").or_else(|| tool.get("name"));
        name.and_then(Value::as_str).map(str::to_owned)
    };
    let tool = match request.get("tool_choice")? {
        Value::String(choice) if choice == "required" => tools.first(),
        choice @ Value::Object(_) => {
            let wanted = name(choice)?;
            tools.iter().find(|tool| name(tool).as_ref() == Some(&wanted))
        }
        _ => None,
    }?;
    let schema = tool.pointer("/function/parameters").or_else(|| tool.get("parameters"));
    let arguments = schema.map_or_else(|| json!({}), |schema| text::instance(schema, 0));
    Some((name(tool)?, arguments.to_string()))
}

/// The text of a content that is a string, or an array of parts.
pub(super) fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> =
                parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect();
            texts.join(" ")
        }
        _ => String::new(),
    }
}

pub(super) fn last_user_text(messages: &[Value]) -> String {
    let from_user = |message: &&Value| message.get("role").and_then(Value::as_str) == Some("user");
    let message = messages.iter().rev().find(from_user);
    message.and_then(|message| message.get("content")).map(content_text).unwrap_or_default()
}

/// The tokens of all messages together.
pub(super) fn prompt_tokens(messages: &[Value]) -> u64 {
    let of = |message: &Value| {
        PER_MESSAGE + message.get("content").map_or(0, |content| text::count(&content_text(content)))
    };
    messages.iter().map(of).sum()
}

fn usage(messages: &[Value], choices: &[Choice]) -> Value {
    let prompt = prompt_tokens(messages) + 3;
    let completion: u64 = choices.iter().map(Choice::tokens).sum();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

fn stream(head: Head, choices: Vec<Choice>, usage: Value) -> Events {
    let head = Arc::new(head);
    let sample = head.chunk(&json!([delta(0, &json!({ "content": FILL }), None)]), None);
    let last = head.usage.then(|| head.chunk(&json!([]), Some(&usage)).marked(Mark::After));

    let opening: Vec<Value> = choices.iter().map(Choice::opening).collect();
    let openings = {
        let head = Arc::clone(&head);
        let opening = opening.into_iter().enumerate();
        opening.map(move |(index, opening)| head.chunk(&json!([delta(index, &opening, None)]), None))
    };
    let deltas = choices.into_iter().enumerate().flat_map(move |(index, choice)| {
        let Choice { said, finish } = choice;
        let (pieces, is_text) = match said {
            Said::Text(pieces) => (pieces, true),
            Said::Call { arguments, .. } => (arguments, false),
        };
        let chunks = Arc::clone(&head);
        let pieces = pieces.into_iter().map(move |piece| {
            let said = if is_text {
                json!({ "content": piece })
            } else {
                json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
            };
            chunks.chunk(&json!([delta(index, &said, None)]), None)
        });
        let finish = head.chunk(&json!([delta(index, &json!({}), Some(finish))]), None);
        pieces.chain([finish.marked(Mark::Finish)])
    });
    let events = openings.chain(deltas).chain(last).chain([Event::done()]);
    Events { events: Box::new(events), shape: Shape::Data, sample }
}

fn delta(index: usize, delta: &Value, finish: Option<&str>) -> Value {
    json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish})
}

// === impl Head ===

impl Head {
    fn chunk(&self, choices: &Value, usage: Option<&Value>) -> Event {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        });
        if self.usage {
            chunk["usage"] = usage.cloned().unwrap_or_default();
        }
        Event::data(&chunk)
    }
}

// === impl Choice ===

impl Choice {
    fn tokens(&self) -> u64 {
        match &self.said {
            Said::Text(pieces) => pieces.len() as u64,
            Said::Call { name, arguments, .. } => text::count(name) + arguments.len() as u64,
        }
    }

    /// The first delta of a stream: it has a role and no content yet.
    fn opening(&self) -> Value {
        match &self.said {
            Said::Text(_) => json!({"role": "assistant", "content": "", "refusal": null}),
            Said::Call { id, name, .. } => json!({
                "role": "assistant",
                "content": null,
                "tool_calls": [
                    {"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": ""}},
                ],
            }),
        }
    }

    fn whole(&self, index: usize) -> Value {
        let mut message = json!({
            "role": "assistant", "content": null, "refusal": null, "annotations": [],
        });
        match &self.said {
            Said::Text(pieces) => message["content"] = pieces.concat().into(),
            Said::Call { id, name, arguments } => {
                let function = json!({"name": name, "arguments": arguments.concat()});
                message["tool_calls"] = json!([{"id": id, "type": "function", "function": function}]);
            }
        }
        json!({"index": index, "message": message, "logprobs": null, "finish_reason": self.finish})
    }
}
