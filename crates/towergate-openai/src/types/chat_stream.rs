//! The chunks of a streamed chat completion.

use serde_json::Number;

use super::{Content, FinishReason, Logprobs, MessageAudio, Role, ServiceTier, Usage};

object! {
    /// One event of a streamed chat completion.
    pub struct ChatChunk {
        required {
            /// What is new of each answer. Empty in the chunk that tells the usage, and in some of
            /// Azure's.
            choices: Vec<ChunkChoice>,
        }
        optional {
            /// The completion's id, the same in all chunks.
            id: String,
            /// Always `chat.completion.chunk`.
            object: String,
            /// When the completion was made, in Unix seconds.
            created: Number,
            /// The model that answers.
            model: String,
            /// What it cost: in the last chunk, where it was asked for.
            usage: Usage,
            /// How it was served.
            service_tier: ServiceTier,
            /// The configuration of the model's backend.
            system_fingerprint: String,
            /// Padding against traffic analysis.
            obfuscation: String,
        }
    }
}

object! {
    /// What is new of one answer.
    pub struct ChunkChoice {
        required {
            /// Which answer.
            index: u64,
            /// What is new.
            delta: Delta,
        }
        optional {
            /// Why the answer ends, once it does.
            finish_reason: FinishReason,
            /// How likely the new tokens were.
            logprobs: Logprobs,
        }
    }
}

object! {
    /// A piece of a message.
    #[derive(Default)]
    pub struct Delta {
        required {}
        optional {
            /// Who speaks: in the first piece.
            role: Role,
            /// More of the content.
            content: Content,
            /// More of the refusal.
            refusal: String,
            /// More of the calls.
            tool_calls: Vec<ToolCallDelta>,
            /// More of the audio.
            audio: MessageAudio,
            /// More of the call; superseded by `tool_calls`.
            function_call: FunctionDelta,
        }
    }
}

object! {
    /// A piece of a tool call.
    #[derive(Default)]
    pub struct ToolCallDelta {
        required {}
        optional {
            /// Which call of the message; OpenAI always says.
            index: u64,
            /// The call's id: in the first piece.
            id: String,
            /// `function`: in the first piece.
            kind as "type": String,
            /// More of the function.
            function: FunctionDelta,
        }
    }
}

object! {
    /// A piece of a function call.
    #[derive(Default)]
    pub struct FunctionDelta {
        required {}
        optional {
            /// Its name: in the first piece.
            name: String,
            /// More of the arguments.
            arguments: String,
        }
    }
}

// === impl ChatChunk ===

impl ChatChunk {
    /// The new text of the first answer in it.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.choices.first()?.delta.content.as_ref()?.as_text()
    }
}
