//! The answer of a chat completion.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::{Message, ServiceTier, Usage};

object! {
    /// The answer of `POST /chat/completions`.
    pub struct ChatResponse {
        required {
            /// The answers: as many as were asked for.
            choices: Vec<Choice>,
        }
        optional {
            /// Its id.
            id: String,
            /// Always `chat.completion`.
            object: String,
            /// When it was made, in Unix seconds.
            created: Number,
            /// The model that answered.
            model: String,
            /// What it cost.
            usage: Usage,
            /// How it was served: the tier that is billed.
            service_tier: ServiceTier,
            /// The configuration of the model's backend.
            system_fingerprint: String,
        }
    }
}

object! {
    /// One answer.
    pub struct Choice {
        required {
            /// Its place among the choices.
            index: u64,
            /// What the model says.
            message: Message,
        }
        optional {
            /// Why it ends.
            finish_reason: FinishReason,
            /// How likely its tokens were.
            logprobs: Logprobs,
        }
    }
}

/// Why an answer ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// It was complete, or a stop text came.
    Stop,
    /// The tokens were used up.
    Length,
    /// The model calls tools.
    ToolCalls,
    /// A content filter cut it.
    ContentFilter,
    /// The model calls a function; superseded by `tool_calls`.
    FunctionCall,
    /// One that is not known here.
    #[serde(untagged)]
    Other(String),
}

object! {
    /// How likely the tokens of an answer were.
    #[derive(Default)]
    pub struct Logprobs {
        required {}
        optional {
            /// Those of the content.
            content: Vec<TokenLogprob>,
            /// Those of the refusal.
            refusal: Vec<TokenLogprob>,
        }
    }
}

object! {
    /// How likely a token was.
    pub struct TokenLogprob {
        required {
            /// The token.
            token: String,
            /// The logarithm of its probability; -9999 where it was very unlikely.
            logprob: Number,
        }
        optional {
            /// The token's bytes: a character may span several tokens.
            bytes: Vec<Value>,
            /// The likeliest tokens in its place.
            top_logprobs: Vec<TopLogprob>,
        }
    }
}

object! {
    /// How likely another token was in its place.
    pub struct TopLogprob {
        required {
            /// The token.
            token: String,
            /// The logarithm of its probability.
            logprob: Number,
        }
        optional {
            /// The token's bytes.
            bytes: Vec<Value>,
        }
    }
}

// === impl ChatResponse ===

impl ChatResponse {
    /// The text of the first answer.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.choices.first()?.message.text()
    }
}
