//! Which of LiteLLM's providers speak the OpenAI protocol, and where.

/// A provider that speaks it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vendor {
    /// LiteLLM's name for it, which stands before the model's.
    pub(super) prefix: &'static str,
    /// Our type.
    pub(super) kind: &'static str,
    pub(super) address: Address,
    /// The variable that LiteLLM takes its key from.
    pub(super) key: Option<&'static str>,
}

/// Where a provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address {
    /// Where our type says, or `api_base`.
    OfType,
    /// There, or `api_base`.
    Fixed(&'static str),
    /// `api_base`, or what this variable of LiteLLM's holds.
    Own(Option<&'static str>),
    /// `api_base` is the resource; our protocol is below this path.
    Below { path: &'static str, variable: Option<&'static str> },
}

use Address::{Below, Fixed, OfType, Own};

const fn vendor(
    prefix: &'static str,
    kind: &'static str,
    address: Address,
    key: Option<&'static str>,
) -> Vendor {
    Vendor { prefix, kind, address, key }
}

const AZURE: Address = Below { path: "/openai/v1", variable: Some("AZURE_API_BASE") };
const OLLAMA: Address = Below { path: "/v1", variable: None };

/// Addresses and variables are those of LiteLLM's documentation of each provider.
const VENDORS: [Vendor; 25] = [
    vendor("openai", "openai", OfType, None),
    vendor("text-completion-openai", "openai", OfType, None),
    vendor("custom_openai", "openai", Own(None), None),
    vendor("openai_like", "openai", Own(None), None),
    vendor("azure", "azure", AZURE, Some("AZURE_API_KEY")),
    vendor("azure_text", "azure", AZURE, Some("AZURE_API_KEY")),
    vendor("groq", "groq", OfType, Some("GROQ_API_KEY")),
    vendor("mistral", "mistral", OfType, Some("MISTRAL_API_KEY")),
    vendor("deepseek", "deepseek", OfType, Some("DEEPSEEK_API_KEY")),
    vendor("together_ai", "together", OfType, Some("TOGETHERAI_API_KEY")),
    vendor("openrouter", "openrouter", OfType, Some("OPENROUTER_API_KEY")),
    vendor("hosted_vllm", "vllm", Own(Some("HOSTED_VLLM_API_BASE")), None),
    vendor("ollama", "ollama", OLLAMA, None),
    vendor("ollama_chat", "ollama", OLLAMA, None),
    vendor("llamafile", "llama.cpp", OfType, None),
    vendor("lm_studio", "openai", Own(Some("LM_STUDIO_API_BASE")), None),
    vendor("xinference", "openai", Own(Some("XINFERENCE_API_BASE")), None),
    vendor("litellm_proxy", "openai", Own(Some("LITELLM_PROXY_API_BASE")), Some("LITELLM_PROXY_API_KEY")),
    vendor("perplexity", "openai", Fixed("https://api.perplexity.ai"), Some("PERPLEXITYAI_API_KEY")),
    vendor("nvidia_nim", "openai", Fixed("https://integrate.api.nvidia.com/v1"), Some("NVIDIA_NIM_API_KEY")),
    vendor("cerebras", "openai", Fixed("https://api.cerebras.ai/v1"), Some("CEREBRAS_API_KEY")),
    vendor("sambanova", "openai", Fixed("https://api.sambanova.ai/v1"), Some("SAMBANOVA_API_KEY")),
    vendor("xai", "openai", Fixed("https://api.x.ai/v1"), Some("XAI_API_KEY")),
    vendor("deepinfra", "openai", Fixed("https://api.deepinfra.com/v1/openai"), Some("DEEPINFRA_API_KEY")),
    vendor("moonshot", "openai", Fixed("https://api.moonshot.ai/v1"), Some("MOONSHOT_API_KEY")),
];

/// Providers with a protocol of their own.
const OTHERS: [&str; 30] = [
    "ai21",
    "aleph_alpha",
    "anthropic",
    "anthropic_text",
    "assemblyai",
    "aws_polly",
    "azure_ai",
    "bedrock",
    "bedrock_converse",
    "clarifai",
    "cloudflare",
    "cohere",
    "cohere_chat",
    "databricks",
    "deepgram",
    "elevenlabs",
    "gemini",
    "gigachat",
    "huggingface",
    "jina_ai",
    "nlp_cloud",
    "oci",
    "palm",
    "petals",
    "predibase",
    "replicate",
    "sagemaker",
    "sagemaker_chat",
    "vertex_ai",
    "watsonx",
];

/// How the names of models begin, and whose they are.
const FAMILIES: [(&str, &str); 22] = [
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("ft:", "openai"),
    ("text-embedding-", "openai"),
    ("text-moderation-", "openai"),
    ("omni-moderation-", "openai"),
    ("text-davinci-", "openai"),
    ("davinci-", "openai"),
    ("babbage-", "openai"),
    ("whisper-", "openai"),
    ("tts-", "openai"),
    ("dall-e-", "openai"),
    ("codex-", "openai"),
    ("computer-use-", "openai"),
    ("sora-", "openai"),
    ("claude-", "anthropic"),
    ("gemini-", "gemini"),
    ("command-", "cohere"),
    ("jamba-", "ai21"),
];

/// Who serves a model, and its name there.
///
/// # Errors
///
/// Why it cannot be taken over.
pub(super) fn find<'a>(
    model: &'a str,
    provider: Option<&str>,
    has_address: bool,
) -> Result<(Vendor, &'a str), String> {
    let (prefix, name) = match (provider, model.split_once('/')) {
        (Some(provider), Some((prefix, name))) if prefix == provider => (Some(provider.to_owned()), name),
        (Some(provider), _) => (Some(provider.to_owned()), model),
        (None, Some((prefix, name))) => (Some(prefix.to_owned()), name),
        (None, None) => (None, model),
    };
    // LiteLLM tells by a list of names whose a model is.
    let family = FAMILIES.iter().find(|(beginning, _)| prefix.is_none() && model.starts_with(beginning));
    let prefix = prefix.or(family.map(|(_, prefix)| (*prefix).to_owned()));
    let Some(prefix) = prefix else {
        if has_address {
            return Ok((VENDORS[0], name));
        }
        return Err(format!(
            "nothing shows who serves {model:?}; write openai/{model} with api_base if its server speaks the OpenAI \
             protocol"
        ));
    };
    if let Some(vendor) = VENDORS.iter().find(|vendor| vendor.prefix == prefix) {
        return Ok((*vendor, name));
    }
    Err(if OTHERS.contains(&prefix.as_str()) {
        format!("{prefix} does not speak the OpenAI protocol: the model is not served")
    } else {
        format!(
            "the provider {prefix:?} is not known here; write openai/NAME with api_base if its server speaks the OpenAI \
             protocol"
        )
    })
}
