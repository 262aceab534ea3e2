//! `POST /images/generations`, `/images/edits` and `/images/variations`.

use serde_json::{Value, json};

use super::{Answer, Answered, Ask, Event, Events, Mark, Refusal, Shape, multipart::Form, sse::FILL};
use crate::text;

/// A PNG of one pixel.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const MAX_IMAGES: u64 = 10;

pub(super) fn answer(ask: &Ask<'_>) -> Answered {
    let form = Form::read(&ask.parts.headers, &ask.upload.body);
    let path = ask.parts.uri.path();
    let prompt = ask.text("prompt").or_else(|| form.text("prompt"));
    if prompt.is_none() && !path.ends_with("/variations") {
        return Err(Refusal::invalid("Missing required parameter: 'prompt'.", "prompt"));
    }
    if ask.json.get("model").is_some() {
        ask.model()?;
    }
    let n = ask.number("n").unwrap_or(1);
    if !(1..=MAX_IMAGES).contains(&n) {
        return Err(Refusal::invalid(format!("'n' must be between 1 and {MAX_IMAGES}."), "n"));
    }
    let (input, output) = (text::count(prompt.unwrap_or_default()), 1000 * n);
    let usage = json!({
        "input_tokens": input, "output_tokens": output, "total_tokens": input + output,
        "input_tokens_details": {"text_tokens": input, "image_tokens": 0},
    });
    let created = ask.settings.created;
    if ask.flag("stream") {
        let names = if path.ends_with("/edits") {
            ["image_edit.partial_image", "image_edit.completed"]
        } else {
            ["image_generation.partial_image", "image_generation.completed"]
        };
        let partial = ask.number("partial_images").unwrap_or(1).min(3);
        return Ok(Answer::events(stream(names, partial, created, usage)));
    }
    let data: Value = (0..n).map(|_| json!({ "b64_json": PNG })).collect();
    Ok(Answer::json(&json!({
        "created": created, "background": "opaque", "data": data, "output_format": "png",
        "quality": "low", "size": "1024x1024", "usage": usage,
    })))
}

fn stream(names: [&'static str; 2], partial: u64, created: u64, usage: Value) -> Events {
    let [partial_image, completed] = names;
    let image = move |name: &'static str, image: &str, index: u64| {
        json!({
            "type": name, "b64_json": image, "partial_image_index": index, "created_at": created,
            "size": "1024x1024", "quality": "low", "background": "opaque", "output_format": "png",
        })
    };
    let mut last = image(completed, PNG, 0);
    last["usage"] = usage;
    let partials =
        (0..partial).map(move |index| Event::named(partial_image, &image(partial_image, PNG, index)));
    Events {
        events: Box::new(partials.chain([Event::named(completed, &last).marked(Mark::Finish)])),
        shape: Shape::Data,
        sample: Event::named(partial_image, &image(partial_image, FILL, 0)),
    }
}
