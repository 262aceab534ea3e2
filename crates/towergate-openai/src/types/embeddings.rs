//! Embeddings.

use std::fmt;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::Usage;

object! {
    /// The body of `POST /embeddings`.
    pub struct EmbeddingsRequest {
        required {
            /// The model.
            model: String,
            /// What is to be embedded.
            input: EmbeddingInput,
        }
        optional {
            /// How the vectors come back; floats unless said otherwise.
            encoding_format: EncodingFormat,
            /// The length of the vectors, where the model lets one choose.
            dimensions: u64,
            /// An id of the end user.
            user: String,
        }
    }
}

object! {
    /// The answer of `POST /embeddings`.
    pub struct EmbeddingsResponse {
        required {
            /// One embedding for each input, in its order.
            data: Vec<Embedding>,
        }
        optional {
            /// Always `list`.
            object: String,
            /// The model that made them.
            model: String,
            /// What it cost.
            usage: Usage,
        }
    }
}

object! {
    /// One embedding.
    pub struct Embedding {
        required {
            /// The vector, as it came.
            embedding: Vector,
        }
        optional {
            /// Always `embedding`.
            object: String,
            /// The place of its input in the request.
            index: u64,
        }
    }
}

/// What is to be embedded: one text or several, as text or as tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum EmbeddingInput {
    /// One text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// One text, as tokens.
    Tokens(Vec<u64>),
    /// Several texts, as tokens.
    TokenLists(Vec<Vec<u64>>),
    /// Anything else.
    Other(Value),
}

/// How vectors come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EncodingFormat {
    /// A JSON array of numbers.
    Float,
    /// Base64 of little-endian 32-bit floats: a quarter of the size.
    Base64,
    /// One that is not known here.
    #[serde(untagged)]
    Other(String),
}

/// A vector, in the form it came in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Vector {
    /// Numbers.
    Floats(Vec<Number>),
    /// Base64 of little-endian 32-bit floats.
    Base64(String),
}

/// The base64 of an embedding does not hold 32-bit floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAVector;

// === impl EmbeddingsRequest ===

impl EmbeddingsRequest {
    /// Embeds `input` with `model`.
    #[must_use]
    pub fn new(model: impl Into<String>, input: impl Into<EmbeddingInput>) -> Self {
        Self {
            model: model.into(),
            input: input.into(),
            encoding_format: None,
            dimensions: None,
            user: None,
            extra: serde_json::Map::new(),
        }
    }

    /// Sets how the vectors come back.
    #[must_use]
    pub fn encoding_format(mut self, format: EncodingFormat) -> Self {
        self.encoding_format = Some(format);
        self
    }

    /// Sets the length of the vectors.
    #[must_use]
    pub fn dimensions(mut self, dimensions: u64) -> Self {
        self.dimensions = Some(dimensions);
        self
    }
}

// === impl EmbeddingInput ===

impl From<&str> for EmbeddingInput {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for EmbeddingInput {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<const N: usize> From<[&str; N]> for EmbeddingInput {
    fn from(texts: [&str; N]) -> Self {
        Self::Texts(texts.map(str::to_owned).into())
    }
}

impl From<Vec<String>> for EmbeddingInput {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}

impl From<Vec<u64>> for EmbeddingInput {
    fn from(tokens: Vec<u64>) -> Self {
        Self::Tokens(tokens)
    }
}

// === impl Embedding ===

impl Embedding {
    /// The vector, whichever form it came in.
    ///
    /// # Errors
    ///
    /// [`NotAVector`] where it came as base64 that holds no 32-bit floats.
    ///
    /// ```
    /// use towergate_openai::types::Embedding;
    ///
    /// let embedding: Embedding = serde_json::from_str(r#"{"embedding": "AACAPwAAAMA="}"#)?;
    /// assert_eq!(embedding.vector(), Ok(vec![1.0, -2.0]));
    /// # Ok::<_, serde_json::Error>(())
    /// ```
    #[allow(clippy::cast_possible_truncation, reason = "models compute in 32 bits at most")]
    pub fn vector(&self) -> Result<Vec<f32>, NotAVector> {
        match &self.embedding {
            Vector::Floats(numbers) => {
                Ok(numbers.iter().map(|number| number.as_f64().unwrap_or(f64::NAN) as f32).collect())
            }
            Vector::Base64(text) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| NotAVector)?;
                let (floats, []) = bytes.as_chunks::<4>() else { return Err(NotAVector) };
                Ok(floats.iter().map(|float| f32::from_le_bytes(*float)).collect())
            }
        }
    }
}

impl fmt::Display for NotAVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the embedding's base64 does not hold 32-bit floats")
    }
}

impl std::error::Error for NotAVector {}
