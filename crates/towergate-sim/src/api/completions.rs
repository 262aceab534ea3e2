//! `POST /completions`, the legacy form, JSON and SSE.

use serde_json::{Value, json};

use super::{
    Answer, Answered, Ask, Event, Events, Mark, Shape,
    chat::{fingerprint, limited},
    sse::FILL,
};
use crate::text;

pub(super) fn answer(ask: &Ask<'_>) -> Answered {
    let model = ask.model()?;
    let prompt = match ask.json.get("prompt") {
        Some(Value::String(prompt)) => prompt.clone(),
        Some(Value::Array(prompts)) => prompts.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    };
    let reply = text::reply(&prompt, ask.seed, ask.fault.tokens);
    let (reply, finish) = limited(reply, ask.number("max_tokens"), ask.json.get("stop"));
    let (asked, said) = (text::count(&prompt), reply.len() as u64);
    let usage = json!({"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said});
    let include_usage =
        ask.json.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or_default();

    let (id, created, model) = (ask.id("cmpl-", 29), ask.settings.created, model.to_owned());
    let whole = move |choices: Value| {
        json!({
            "id": id, "object": "text_completion", "created": created, "model": model,
            "choices": choices, "system_fingerprint": fingerprint(&model),
        })
    };
    let choice = |text: &str, finish: Option<&str>| json!([{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}]);
    if !ask.flag("stream") {
        let mut answer = whole(choice(&reply.concat(), Some(finish)));
        answer["usage"] = usage;
        return Ok(Answer::json(&answer));
    }
    let chunk = move |choices: Value, usage: Option<&Value>| {
        let mut chunk = whole(choices);
        if include_usage {
            chunk["usage"] = usage.cloned().unwrap_or_default();
        }
        Event::data(&chunk)
    };
    let sample = chunk(choice(FILL, None), None);
    let ending = [Some(chunk(choice("", Some(finish)), None).marked(Mark::Finish))];
    let last = include_usage.then(|| chunk(json!([]), Some(&usage)).marked(Mark::After));
    let deltas = reply.into_iter().map(move |piece| chunk(choice(&piece, None), None));
    let ending = ending.into_iter().flatten().chain(last).chain([Event::done()]);
    Ok(Answer::events(Events { events: Box::new(deltas.chain(ending)), shape: Shape::Data, sample }))
}
