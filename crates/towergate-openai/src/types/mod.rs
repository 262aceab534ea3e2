//! Requests and answers, typed, for the [client](crate::client).
//!
//! The gateway itself never uses them: what passes through it stays as the bytes it was. They are
//! for programs, and they hold to three rules:
//!
//! - **Nothing is lost.** A field that is not known here is kept in `extra`, and goes out again. A
//!   known field that was explicitly `null` reads as `None`, and its `null` is kept in `extra` too,
//!   so that `"usage": null` does not turn into no `usage` at all. Setting the field wins over it.
//! - **Sets are open.** A role, a finish reason, a part or a tool that is not known is an `Other`,
//!   not an error. So is a known part that has an unknown shape.
//! - **Only what cannot be missed is required.** OpenAI sends more than other servers of its
//!   protocol do; what some leave out is an `Option`.
//!
//! Numbers that may be fractions are [`serde_json::Number`], so that `1` stays `1` and `1.0` stays
//! `1.0`. Integers beyond 64 bits, and digits beyond what an `f64` holds, are the limit.
//!
//! Structs grow as the API grows, and are `non_exhaustive`: make them with their constructors, then
//! set fields, which are all public.
//!
//! ```
//! use towergate_openai::types::{ChatRequest, Message};
//!
//! let mut request = ChatRequest::new("gpt-4o-mini")
//!     .system("Answer in one word.")
//!     .user("What is the capital of France?")
//!     .temperature(0.0);
//! request.seed = Some(7);
//! request.extra.insert("some_new_field".into(), true.into());
//!
//! let json = serde_json::to_value(&request)?;
//! assert_eq!(json["messages"][1], serde_json::json!({
//!     "role": "user",
//!     "content": "What is the capital of France?",
//! }));
//! assert_eq!(serde_json::from_value::<ChatRequest>(json)?, request);
//! # Ok::<_, serde_json::Error>(())
//! ```

#[macro_use]
mod object;

mod chat;
mod chat_response;
mod chat_stream;
mod embeddings;
mod error;
mod message;
mod models;
mod options;
mod tool;
mod usage;

#[cfg(test)]
mod tests;

pub use self::{
    chat::ChatRequest,
    chat_response::{ChatResponse, Choice, FinishReason, Logprobs, TokenLogprob, TopLogprob},
    chat_stream::{ChatChunk, ChunkChoice, Delta, FunctionDelta, ToolCallDelta},
    embeddings::{
        Embedding, EmbeddingInput, EmbeddingsRequest, EmbeddingsResponse, EncodingFormat, NotAVector, Vector,
    },
    error::{ApiError, ErrorCode, ErrorResponse},
    message::{
        Annotation, Content, ContentPart, FileData, FilePart, ImagePart, ImageUrl, InputAudio,
        InputAudioPart, Message, MessageAudio, RefusalPart, Role, TextPart, UrlCitation,
    },
    models::{Model, ModelList},
    options::{
        AudioOptions, JsonSchema, JsonSchemaFormat, Modality, Plain, Prediction, PromptCacheOptions,
        ReasoningEffort, ResponseFormat, ServiceTier, Stop, StreamOptions, UserLocation, UserPlace,
        Verbosity, Voice, WebSearchOptions,
    },
    tool::{
        AllowedTools, AllowedToolsChoice, CustomCall, CustomChoice, CustomDef, CustomTool, FunctionCall,
        FunctionChoice, FunctionDef, FunctionTool, Named, NamedTool, Tool, ToolCall, ToolChoice, ToolMode,
    },
    usage::{CompletionTokensDetails, PromptTokensDetails, Usage},
};
