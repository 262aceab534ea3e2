//! What a provider is: a base URL, and known oddities.

use schemars::JsonSchema;
use serde::Deserialize;

/// What a provider is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderType {
    /// OpenAI, or any server that speaks its protocol.
    #[default]
    OpenAi,
    /// OpenAI's European region.
    #[serde(rename = "openai-eu")]
    OpenAiEu,
    /// OpenAI's region in the United States.
    #[serde(rename = "openai-us")]
    OpenAiUs,
    /// Azure OpenAI, v1: `base_url` is `https://RESOURCE.openai.azure.com/openai/v1`.
    Azure,
    /// Groq.
    Groq,
    /// Mistral.
    Mistral,
    /// DeepSeek.
    DeepSeek,
    /// Together.
    Together,
    /// OpenRouter.
    OpenRouter,
    /// vLLM, on this machine unless `base_url` says otherwise.
    Vllm,
    /// Ollama, on this machine unless `base_url` says otherwise.
    Ollama,
    /// llama.cpp's server, on this machine unless `base_url` says otherwise.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
}

// === impl ProviderType ===

impl ProviderType {
    /// Where it is unless told otherwise.
    #[must_use]
    pub fn base_url(self) -> Option<&'static str> {
        Some(match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::OpenAiEu => "https://eu.api.openai.com/v1",
            Self::OpenAiUs => "https://us.api.openai.com/v1",
            // Each customer has a host of its own.
            Self::Azure => return None,
            Self::Groq => "https://api.groq.com/openai/v1",
            Self::Mistral => "https://api.mistral.ai/v1",
            Self::DeepSeek => "https://api.deepseek.com",
            Self::Together => "https://api.together.ai/v1",
            Self::OpenRouter => "https://openrouter.ai/api/v1",
            Self::Vllm => "http://localhost:8000/v1",
            Self::Ollama => "http://localhost:11434/v1",
            Self::LlamaCpp => "http://localhost:8080/v1",
        })
    }

    /// Whether it is known to accept `stream_options`, whatever host it is on. Where this says no, OpenAI's own hosts
    /// are known by their name.
    pub(in crate::config) fn accepts_stream_options(self) -> bool {
        !matches!(self, Self::OpenAi | Self::Mistral | Self::LlamaCpp)
    }

    /// Whether the `OPENAI_*` variables are about it, where it has no base URL of its own.
    pub(in crate::config) fn is_openai(self) -> bool {
        self == Self::OpenAi
    }
}
