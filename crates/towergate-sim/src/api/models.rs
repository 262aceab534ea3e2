//! `GET /models`, `GET` and `DELETE /models/{model}`.

use serde_json::{Value, json};

use super::{Answer, Answered, Ask, known};

/// What the list names; a model need not be in it to answer.
const MODELS: [&str; 10] = [
    "gpt-4.1",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-5-mini",
    "gpt-image-1",
    "omni-moderation-latest",
    "text-embedding-3-large",
    "text-embedding-3-small",
    "tts-1",
    "whisper-1",
];

pub(super) fn list(ask: &Ask<'_>) -> Answered {
    let data: Value = MODELS.iter().map(|model| object(ask, model)).collect();
    Ok(Answer::json(&json!({"object": "list", "data": data})))
}

pub(super) fn one(ask: &Ask<'_>, model: &str) -> Answered {
    let model = known(model)?;
    if ask.parts.method == http::Method::DELETE {
        return Ok(Answer::json(&json!({"id": model, "object": "model", "deleted": true})));
    }
    Ok(Answer::json(&object(ask, model)))
}

fn object(ask: &Ask<'_>, model: &str) -> Value {
    json!({"id": model, "object": "model", "created": ask.settings.created, "owned_by": "system"})
}
