//! Everything that looks like a model's work: replies, tokens, ids, vectors. All of it follows from
//! the request by a fixed hash, so that the same request gets the same bytes on every machine.

use serde_json::{Map, Value, json};

/// The longest part of the user's message that a reply repeats, in characters.
const QUOTED: usize = 200;
/// The longest token, in characters without the white space before it.
const TOKEN: usize = 8;

const SENTENCES: [&str; 12] = [
    "That is worth a closer look.",
    "In short, the answer depends on what you want to build.",
    "Most people begin with the simple case and go on from there.",
    "There are three parts to it: the input, the work, and the output.",
    "A small example makes it clearer than a long explanation.",
    "The details matter less than they seem to at first.",
    "Measure before you change anything.",
    "It helps to write down what you expect to happen.",
    "Nothing here is as hard as it looks.",
    "You can find out more by trying it yourself.",
    "Keep in mind that defaults are chosen for the common case.",
    "Let me know if you would like to see another way.",
];

/// FNV-1a, 64 bits: fixed for all time, unlike the standard library's hasher.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    Checksum::default().update(bytes).value()
}

/// [`hash`] of bytes that come in pieces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    pub(crate) fn update(self, bytes: &[u8]) -> Self {
        Self(
            bytes
                .iter()
                .fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)),
        )
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

/// The splitmix64 sequence of a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes()).flatten().take(count).collect()
    }
}

/// An id as OpenAI makes them: a prefix and letters and digits.
pub(crate) fn id(prefix: &str, seed: u64, len: usize) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut random = Random::new(seed ^ hash(prefix.as_bytes()));
    let mut id = prefix.to_owned();
    id.extend((0..len).map(|_| char::from(ALPHABET[random.below(62)])));
    id
}

/// A text in pieces that look like tokens: a word, or up to eight characters of one, with the white
/// space before it. Together they are the text.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut letters = 0;
        let end = rest.char_indices().find_map(|(at, char)| {
            let ends = letters > 0 && (char.is_whitespace() || letters == TOKEN);
            letters += usize::from(!char.is_whitespace());
            ends.then_some(at)
        });
        let (token, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        (!token.is_empty()).then_some(token)
    })
}

/// How many tokens a text has.
pub(crate) fn count(text: &str) -> u64 {
    tokens(text).count() as u64
}

/// A reply to what the user said, as tokens; exactly `length` of them where that is given.
pub(crate) fn reply(asked: &str, seed: u64, length: Option<usize>) -> Vec<String> {
    let mut random = Random::new(seed);
    let asked = asked.trim();
    let mut text = if asked.is_empty() {
        "You said nothing.".to_owned()
    } else {
        let quoted: String = asked.chars().take(QUOTED).collect();
        format!("You said: {quoted}")
    };
    for _ in 0..3 {
        text.push(' ');
        text.push_str(SENTENCES[random.below(SENTENCES.len())]);
    }
    let mut reply: Vec<String> = tokens(&text).map(str::to_owned).collect();
    if let Some(length) = length {
        while reply.len() < length {
            let sentence = format!(" {}", SENTENCES[random.below(SENTENCES.len())]);
            reply.extend(tokens(&sentence).map(str::to_owned));
        }
        reply.truncate(length);
    }
    reply
}

/// A value that a JSON schema describes: what it requires, and the simplest of each type.
pub(crate) fn instance(schema: &Value, depth: u32) -> Value {
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None => schema.get("properties").map(|_| "object"),
    };
    match kind {
        Some("string") => json!("example"),
        Some("integer") => json!(1),
        Some("number") => json!(1.5),
        Some("boolean") => json!(true),
        Some("array") => match schema.get("items") {
            Some(items) if depth < 8 => json!([instance(items, depth + 1)]),
            _ => json!([]),
        },
        Some("object") if depth < 8 => Value::Object(properties(schema, depth)),
        Some("object") => json!({}),
        _ => Value::Null,
    }
}

fn properties(schema: &Value, depth: u32) -> Map<String, Value> {
    let required = schema.get("required").and_then(Value::as_array);
    let wanted = |name: &String| required.is_none_or(|names| names.iter().any(|n| n.as_str() == Some(name)));
    let all = schema.get("properties").and_then(Value::as_object);
    all.into_iter()
        .flatten()
        .filter(|(name, _)| wanted(name))
        .map(|(name, schema)| (name.clone(), instance(schema, depth + 1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_text() {
        for text in ["", " ", "one two  three", "Donaudampfschifffahrt für 子供たちの世界は美しい", "a\n\nb "]
        {
            assert_eq!(tokens(text).collect::<String>(), text);
        }
        assert_eq!(tokens("a bc  incomprehensible").count(), 4);
    }

    #[test]
    fn the_hash_is_fixed() {
        // The published test vector of FNV-1a for "a".
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(id("req_", 1, 8), id("req_", 1, 8));
        assert_ne!(id("req_", 1, 8), id("req_", 2, 8));
    }

    #[test]
    fn a_reply_has_the_length_asked_for() {
        assert_eq!(reply("hi", 1, Some(60)).len(), 60);
        assert_eq!(reply("hi", 1, Some(2)).concat(), "You said:");
        assert_eq!(reply("", 7, None), reply("", 7, None));
    }

    #[test]
    fn an_instance_fits_its_schema() {
        let schema = json!({
            "type": "object", "required": ["city", "days"],
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "array", "items": {"enum": ["mon", "tue"]}},
                "unit": {"type": "string"},
            },
        });
        assert_eq!(instance(&schema, 0), json!({"city": "example", "days": ["mon"]}));
    }
}
