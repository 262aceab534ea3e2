//! Values with a form of their own: times, sizes, secrets, versions.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    config::{
        schema::{BYTES, DURATION},
        units::{parse_bytes, parse_duration},
    },
    time::CENTURY,
};

/// The HTTP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// A pool of connections.
    Http1,
    /// Several connections with many streams each.
    Http2,
}

/// A text that may be, or name, a secret: nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(in crate::config) String);

/// A time: a number of seconds, or text such as `30s`, `500ms`, `2m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

/// Texts: a list, or one alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Texts {
    /// One alone.
    One(String),
    /// A list.
    Several(Vec<String>),
}

/// A size: a number of bytes, or text such as `64MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub usize);

impl Texts {
    /// Each of them.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A secret; best given as ${VARIABLE}." })
    }
}

impl<'de> Deserialize<'de> for HttpVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(1.1) => Ok(Self::Http1),
            NumberOrText::Number(2.0) => Ok(Self::Http2),
            NumberOrText::Text(text) if text == "1.1" => Ok(Self::Http1),
            NumberOrText::Text(text) if text == "2" => Ok(Self::Http2),
            _ => Err(D::Error::custom("the HTTP version is 1.1 or 2")),
        }
    }
}

impl JsonSchema for HttpVersion {
    fn schema_name() -> Cow<'static, str> {
        "HttpVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Unquoted, YAML takes them for numbers.
        json_schema!({ "enum": ["1.1", "2", 1.1, 2], "description": "The HTTP version." })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(seconds) => Duration::try_from_secs_f64(seconds).map_err(D::Error::custom),
            NumberOrText::Text(text) => parse_duration(&text).map_err(D::Error::custom),
        }
        .map(Self)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["number", "string"], "format": DURATION, "minimum": 0, "maximum": CENTURY.as_secs() })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(bytes) => Ok(Self(bytes as usize)),
            NumberOrText::Text(text) => parse_bytes(&text).map(Self).map_err(D::Error::custom),
        }
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "format": BYTES, "minimum": 0 })
    }
}
