//! `POST /moderations`: flags what speaks of violence.

use serde_json::{Map, Value, json};

use super::{Answer, Answered, Ask, chat::content_text};

const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

pub(super) fn answer(ask: &Ask<'_>) -> Answered {
    let model = match ask.json.get("model") {
        None => "omni-moderation-latest",
        Some(_) => ask.model()?,
    };
    let input = ask.required("input")?;
    let texts: Vec<String> = match input {
        Value::Array(inputs) if inputs.iter().all(Value::is_string) => {
            inputs.iter().map(content_text).collect()
        }
        input => vec![content_text(input)],
    };
    let results: Value = texts.iter().map(|text| result(text)).collect();
    Ok(Answer::json(&json!({"id": ask.id("modr-", 32), "model": model, "results": results})))
}

fn result(text: &str) -> Value {
    let flagged = |category: &str| category == "violence" && text.contains("violence");
    let categories: Map<String, Value> =
        CATEGORIES.iter().map(|name| ((*name).to_owned(), flagged(name).into())).collect();
    let score = |name: &str| if flagged(name) { 0.98 } else { 0.0001 };
    let scores: Map<String, Value> =
        CATEGORIES.iter().map(|name| ((*name).to_owned(), score(name).into())).collect();
    json!({"flagged": flagged("violence"), "categories": categories, "category_scores": scores})
}
