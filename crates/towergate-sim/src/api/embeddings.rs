//! `POST /embeddings`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::Value;

use super::{Answer, Answered, Ask, Refusal};
use crate::text::{self, Random};

/// More inputs OpenAI does not take at once.
const MAX_INPUTS: usize = 2048;
const MAX_DIMENSIONS: u64 = 3072;

#[derive(Serialize)]
struct List {
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

pub(super) fn answer(ask: &Ask<'_>) -> Answered {
    let model = ask.model()?;
    let inputs = inputs(ask.required("input")?)?;
    let usual = if model.contains("large") { MAX_DIMENSIONS } else { 1536 };
    let dimensions = ask.number("dimensions").unwrap_or(usual);
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        let message = format!("'dimensions' must be between 1 and {MAX_DIMENSIONS}.");
        return Err(Refusal::invalid(message, "dimensions"));
    }
    let base64 = ask.text("encoding_format") == Some("base64");
    let embed = |(index, (key, _)): (usize, &(String, u64))| {
        let vector = unit_vector(text::hash(key.as_bytes()), dimensions);
        let embedding = if base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            Vector::Base64(STANDARD.encode(bytes))
        } else {
            Vector::Floats(vector)
        };
        Embedding { object: "embedding", index, embedding }
    };
    let tokens = inputs.iter().map(|(_, tokens)| tokens).sum();
    Ok(Answer::json(&List {
        object: "list",
        data: inputs.iter().enumerate().map(embed).collect(),
        model: model.to_owned(),
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    }))
}

/// Each input as text, and how many tokens it has: one string or one array of tokens, or an array
/// of either.
fn inputs(input: &Value) -> Result<Vec<(String, u64)>, Refusal> {
    let bad = || Refusal::invalid("'input' must be a string, tokens, or an array of either.", "input");
    let one = |input: &Value| match input {
        Value::String(text) => Ok((text.clone(), text::count(text))),
        Value::Array(tokens) if tokens.iter().all(Value::is_u64) => {
            Ok((input.to_string(), tokens.len() as u64))
        }
        _ => Err(bad()),
    };
    match input {
        Value::Array(inputs) if inputs.is_empty() || inputs.len() > MAX_INPUTS => Err(bad()),
        Value::Array(inputs) if !inputs.iter().all(Value::is_u64) => inputs.iter().map(one).collect(),
        input => Ok(vec![one(input)?]),
    }
}

/// A vector of length 1, the same for the same seed.
fn unit_vector(seed: u64, dimensions: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let raw: Vec<f64> =
        (0..dimensions).map(|_| (random.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0).collect();
    let length = raw.iter().map(|number| number * number).sum::<f64>().sqrt();
    // A length of 0 has no direction; no seed is known to give one.
    raw.into_iter().map(|number| if length > 0.0 { (number / length) as f32 } else { 0.0 }).collect()
}
