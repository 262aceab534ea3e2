//! `POST /responses`, JSON and SSE.

use serde_json::{Value, json};

use super::{
    Answer, Answered, Ask, Event, Events, Mark, Shape,
    chat::{forced_call, last_user_text, limited, prompt_tokens},
    sse::FILL,
};
use crate::text;

/// The one item of output: a message, or a call of a function.
struct Item {
    id: String,
    /// What is not a delta: the fields that name it.
    call: Option<(String, String)>,
    pieces: Vec<String>,
}

pub(super) fn answer(ask: &Ask<'_>) -> Answered {
    let model = ask.model()?;
    let input = ask.required("input")?;
    let (asked, prompt) = match input {
        Value::Array(items) => (last_user_text(items), prompt_tokens(items)),
        Value::String(text) => (text.clone(), text::count(text)),
        _ => (String::new(), 0),
    };
    let limit = ask.number("max_output_tokens");
    let (item, finish) = match forced_call(&ask.json) {
        Some((name, arguments)) => {
            let pieces = text::tokens(&arguments).map(str::to_owned).collect();
            let call = Some((ask.id("call_", 24), name));
            (Item { id: ask.id("fc_", 48), call, pieces }, "stop")
        }
        None => {
            let reply = text::reply(&asked, ask.seed, ask.fault.tokens);
            let (pieces, finish) = limited(reply, limit, None);
            (Item { id: ask.id("msg_", 48), call: None, pieces }, finish)
        }
    };
    let output = item.pieces.len() as u64;
    let usage = json!({
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + output,
    });
    let status = if finish == "length" { "incomplete" } else { "completed" };
    let response = |status: &str, output: Value, usage: Value| {
        json!({
            "id": ask.id("resp_", 48),
            "object": "response",
            "created_at": ask.settings.created,
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details":
                if status == "incomplete" { json!({"reason": "max_output_tokens"}) } else { Value::Null },
            "instructions": ask.json.get("instructions"),
            "max_output_tokens": limit,
            "model": model,
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "service_tier": "default",
            "store": true,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": ask.json.get("tool_choice").cloned().unwrap_or_else(|| json!("auto")),
            "tools": ask.json.get("tools").cloned().unwrap_or_else(|| json!([])),
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage,
            "user": null,
            "metadata": {},
        })
    };
    let end = response(status, json!([item.whole(status)]), usage);
    if !ask.flag("stream") {
        return Ok(Answer::json(&end));
    }
    let begin = response("in_progress", json!([]), Value::Null);
    Ok(Answer::events(item.stream(status, begin, end)))
}

// === impl Item ===

impl Item {
    fn whole(&self, status: &str) -> Value {
        self.with(status, &self.pieces.concat(), true)
    }

    fn with(&self, status: &str, said: &str, has_part: bool) -> Value {
        match &self.call {
            Some((call_id, name)) => json!({
                "id": self.id, "type": "function_call", "status": status,
                "call_id": call_id, "name": name, "arguments": said,
            }),
            None => json!({
                "id": self.id, "type": "message", "status": status, "role": "assistant",
                "content": if has_part { json!([part(said)]) } else { json!([]) },
            }),
        }
    }

    fn stream(self, status: &'static str, begin: Value, end: Value) -> Events {
        let whole = self.pieces.concat();
        let (id, is_call) = (self.id.clone(), self.call.is_some());
        let place = json!({"item_id": id, "output_index": 0});
        let in_part = json!({"item_id": id, "output_index": 0, "content_index": 0});

        let mut opening = vec![
            ("response.created", json!({ "response": begin })),
            ("response.in_progress", json!({ "response": begin })),
            (
                "response.output_item.added",
                json!({"output_index": 0, "item": self.with("in_progress", "", false)}),
            ),
        ];
        let mut closing = Vec::new();
        let delta = if is_call {
            let done = merged(&place, json!({ "arguments": whole }));
            closing.push(("response.function_call_arguments.done", done));
            "response.function_call_arguments.delta"
        } else {
            opening.push(("response.content_part.added", merged(&in_part, json!({"part": part("")}))));
            let done = merged(&in_part, json!({"text": whole, "logprobs": []}));
            closing.push(("response.output_text.done", done));
            closing.push(("response.content_part.done", merged(&in_part, json!({"part": part(&whole)}))));
            "response.output_text.delta"
        };
        let item = self.whole(status);
        closing.push(("response.output_item.done", json!({"output_index": 0, "item": item})));
        let terminal = if status == "completed" { "response.completed" } else { "response.incomplete" };
        closing.push((terminal, json!({ "response": end })));

        let said = move |piece: &str| {
            let of = if is_call { &place } else { &in_part };
            (delta, merged(of, json!({ "delta": piece })))
        };
        let (name, mut sample) = said(FILL);
        sample["sequence_number"] = opening.len().into();
        let sample = Event::named(name, &merged(&json!({ "type": name }), sample));

        let deltas = self.pieces.into_iter().map(move |piece| said(&piece));
        let events = opening.into_iter().chain(deltas).chain(closing);
        let events = events.enumerate().map(move |(number, (name, fields))| {
            let event = merged(&json!({"type": name, "sequence_number": number}), fields);
            let mark = if name == terminal { Mark::Finish } else { Mark::Ordinary };
            Event::named(name, &event).marked(mark)
        });
        Events { events: Box::new(events), shape: Shape::Responses, sample }
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// The fields of both objects, the first's first.
fn merged(first: &Value, second: Value) -> Value {
    let mut all = first.clone();
    if let (Some(all), Value::Object(second)) = (all.as_object_mut(), second) {
        all.extend(second);
    }
    all
}
