//! The settings of a chat completion that have a shape of their own.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Content;

/// How much a model thinks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReasoningEffort {
    /// Not at all.
    None,
    /// As little as it can.
    Minimal,
    /// Little.
    Low,
    /// The default of most models.
    Medium,
    /// Much.
    High,
    /// As much as it can.
    Xhigh,
    /// One that is not known here.
    #[serde(untagged)]
    Other(String),
}

/// How much a model says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verbosity {
    /// Little.
    Low,
    /// The default.
    Medium,
    /// Much.
    High,
    /// One that is not known here.
    #[serde(untagged)]
    Other(String),
}

/// A form of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Modality {
    /// Text.
    Text,
    /// Speech.
    Audio,
    /// One that is not known here.
    #[serde(untagged)]
    Other(String),
}

/// How a request is served, and what it costs. An answer names the one that was used, not the one
/// that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceTier {
    /// As the project is set.
    Auto,
    /// The standard one.
    Default,
    /// Slower and cheaper.
    Flex,
    /// For customers with capacity of their own.
    Scale,
    /// Faster and dearer.
    Priority,
    /// Another name of `priority`.
    Fast,
    /// One that is not known here.
    #[serde(untagged)]
    Other(String),
}

/// Texts at which the model stops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Stop {
    /// One.
    One(String),
    /// Any of several.
    Any(Vec<String>),
    /// Anything else.
    Other(Value),
}

/// The form of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Text.
    Text(Plain),
    /// Some JSON object; the prompt has to ask for JSON too.
    JsonObject(Plain),
    /// JSON that holds to a schema.
    JsonSchema(JsonSchemaFormat),
    /// One that is not known here, as it is.
    #[serde(untagged)]
    Other(Value),
}

object! {
    /// An object with no fields but its type.
    #[derive(Default)]
    pub struct Plain {
        required {}
        optional {}
    }
}

object! {
    /// JSON that holds to a schema.
    pub struct JsonSchemaFormat {
        required {
            /// The schema.
            json_schema: JsonSchema,
        }
        optional {}
    }
}

object! {
    /// A schema with a name.
    pub struct JsonSchema {
        required {
            /// Its name.
            name: String,
        }
        optional {
            /// What it is for.
            description: String,
            /// The schema.
            schema: Value,
            /// Whether the answer holds to it exactly.
            strict: bool,
        }
    }
}

object! {
    /// What a stream carries beside the answer.
    #[derive(Default)]
    pub struct StreamOptions {
        required {}
        optional {
            /// Whether a last chunk, without choices, tells the usage.
            include_usage: bool,
            /// Whether chunks are padded against traffic analysis; they are unless this is `false`.
            include_obfuscation: bool,
        }
    }
}

object! {
    /// How a spoken answer sounds.
    pub struct AudioOptions {
        required {
            /// Who speaks.
            voice: Voice,
            /// `wav`, `mp3`, `flac`, `opus`, `pcm16`.
            format: String,
        }
        optional {}
    }
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Voice {
    /// A voice of OpenAI's.
    Name(String),
    /// Another: a voice of one's own, by its id.
    Other(Value),
}

object! {
    /// What the answer will largely be, given to speed it up.
    pub struct Prediction {
        required {
            /// Always `content`.
            kind as "type": String,
            /// The text.
            content: Content,
        }
        optional {}
    }
}

object! {
    /// How the prompt is cached.
    #[derive(Default)]
    pub struct PromptCacheOptions {
        required {}
        optional {
            /// How long, such as `30m`.
            ttl: String,
            /// Who sets the breakpoints.
            mode: String,
        }
    }
}

object! {
    /// How the model searches the web.
    #[derive(Default)]
    pub struct WebSearchOptions {
        required {}
        optional {
            /// How much it reads: `low`, `medium`, `high`.
            search_context_size: String,
            /// Where the user is.
            user_location: UserLocation,
        }
    }
}

object! {
    /// Where the user is.
    pub struct UserLocation {
        required {
            /// Always `approximate`.
            kind as "type": String,
            /// The place.
            approximate: UserPlace,
        }
        optional {}
    }
}

object! {
    /// A place, as closely as one likes.
    #[derive(Default)]
    pub struct UserPlace {
        required {}
        optional {
            /// The city.
            city: String,
            /// The country, by its two letters (ISO 3166-1).
            country: String,
            /// The region.
            region: String,
            /// The time zone (IANA).
            timezone: String,
        }
    }
}

// === impl ResponseFormat ===

impl ResponseFormat {
    /// Some JSON object.
    #[must_use]
    pub fn json_object() -> Self {
        Self::JsonObject(Plain::default())
    }

    /// JSON that holds to a schema exactly.
    #[must_use]
    pub fn json_schema(name: impl Into<String>, schema: Value) -> Self {
        let json_schema = JsonSchema {
            name: name.into(),
            description: None,
            schema: Some(schema),
            strict: Some(true),
            extra: Map::new(),
        };
        Self::JsonSchema(JsonSchemaFormat { json_schema, extra: Map::new() })
    }
}

// === impl Stop ===

impl From<&str> for Stop {
    fn from(text: &str) -> Self {
        Self::One(text.to_owned())
    }
}

impl From<Vec<String>> for Stop {
    fn from(texts: Vec<String>) -> Self {
        Self::Any(texts)
    }
}

// === impl AudioOptions ===

impl AudioOptions {
    /// A voice of OpenAI's, in a format.
    #[must_use]
    pub fn new(voice: impl Into<String>, format: impl Into<String>) -> Self {
        Self { voice: Voice::Name(voice.into()), format: format.into(), extra: Map::new() }
    }
}

// === impl Prediction ===

impl Prediction {
    /// The answer will largely be this.
    #[must_use]
    pub fn new(content: impl Into<Content>) -> Self {
        Self { kind: "content".to_owned(), content: content.into(), extra: Map::new() }
    }
}

// === impl UserLocation ===

impl UserLocation {
    /// About there.
    #[must_use]
    pub fn approximate(place: UserPlace) -> Self {
        Self { kind: "approximate".to_owned(), approximate: place, extra: Map::new() }
    }
}
