//! The models that are known by name.

/// Names that may become metric labels without being configured: OpenAI's own, current and retired.
pub const MODELS: &[&str] = &[
    "babbage-002",
    "chatgpt-4o-latest",
    "chatgpt-image-latest",
    "codex-mini-latest",
    "dall-e-2",
    "dall-e-3",
    "davinci-002",
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-0125",
    "gpt-3.5-turbo-1106",
    "gpt-3.5-turbo-16k",
    "gpt-3.5-turbo-instruct",
    "gpt-3.5-turbo-instruct-0914",
    "gpt-4",
    "gpt-4-0125-preview",
    "gpt-4-0314",
    "gpt-4-0613",
    "gpt-4-1106-preview",
    "gpt-4-turbo",
    "gpt-4-turbo-2024-04-09",
    "gpt-4-turbo-preview",
    "gpt-4.1",
    "gpt-4.1-2025-04-14",
    "gpt-4.1-mini",
    "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano",
    "gpt-4.1-nano-2025-04-14",
    "gpt-4o",
    "gpt-4o-2024-05-13",
    "gpt-4o-2024-08-06",
    "gpt-4o-2024-11-20",
    "gpt-4o-audio-preview",
    "gpt-4o-audio-preview-2024-12-17",
    "gpt-4o-audio-preview-2025-06-03",
    "gpt-4o-mini",
    "gpt-4o-mini-2024-07-18",
    "gpt-4o-mini-audio-preview",
    "gpt-4o-mini-audio-preview-2024-12-17",
    "gpt-4o-mini-realtime-preview",
    "gpt-4o-mini-realtime-preview-2024-12-17",
    "gpt-4o-mini-search-preview",
    "gpt-4o-mini-search-preview-2025-03-11",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-03-20",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-4o-mini-tts",
    "gpt-4o-mini-tts-2025-03-20",
    "gpt-4o-mini-tts-2025-12-15",
    "gpt-4o-realtime-preview",
    "gpt-4o-realtime-preview-2024-12-17",
    "gpt-4o-realtime-preview-2025-06-03",
    "gpt-4o-search-preview",
    "gpt-4o-search-preview-2025-03-11",
    "gpt-4o-transcribe",
    "gpt-4o-transcribe-diarize",
    "gpt-5",
    "gpt-5-2025-08-07",
    "gpt-5-chat",
    "gpt-5-chat-latest",
    "gpt-5-codex",
    "gpt-5-mini",
    "gpt-5-mini-2025-08-07",
    "gpt-5-nano",
    "gpt-5-nano-2025-08-07",
    "gpt-5-pro",
    "gpt-5-pro-2025-10-06",
    "gpt-5-search-api",
    "gpt-5-search-api-2025-10-14",
    "gpt-5.1",
    "gpt-5.1-2025-11-13",
    "gpt-5.1-chat-latest",
    "gpt-5.1-codex",
    "gpt-5.1-codex-max",
    "gpt-5.1-codex-mini",
    "gpt-5.2",
    "gpt-5.2-2025-12-11",
    "gpt-5.2-chat-latest",
    "gpt-5.2-codex",
    "gpt-5.2-pro",
    "gpt-5.2-pro-2025-12-11",
    "gpt-5.3-chat-latest",
    "gpt-5.3-codex",
    "gpt-5.4",
    "gpt-5.4-2026-03-05",
    "gpt-5.4-mini",
    "gpt-5.4-mini-2026-03-17",
    "gpt-5.4-nano",
    "gpt-5.4-nano-2026-03-17",
    "gpt-5.4-pro",
    "gpt-5.4-pro-2026-03-05",
    "gpt-5.5",
    "gpt-5.5-2026-04-23",
    "gpt-5.5-pro",
    "gpt-5.5-pro-2026-04-23",
    "gpt-5.6",
    "gpt-5.6-luna",
    "gpt-5.6-sol",
    "gpt-5.6-terra",
    "gpt-audio",
    "gpt-audio-1.5",
    "gpt-audio-2025-08-28",
    "gpt-audio-mini",
    "gpt-audio-mini-2025-10-06",
    "gpt-audio-mini-2025-12-15",
    "gpt-image-1",
    "gpt-image-1-mini",
    "gpt-image-1.5",
    "gpt-image-1.5-2025-12-16",
    "gpt-image-2",
    "gpt-image-2-2026-04-21",
    "gpt-realtime",
    "gpt-realtime-1.5",
    "gpt-realtime-2",
    "gpt-realtime-2.1",
    "gpt-realtime-2.1-mini",
    "gpt-realtime-2025-08-28",
    "gpt-realtime-mini",
    "gpt-realtime-mini-2025-10-06",
    "gpt-realtime-mini-2025-12-15",
    "gpt-realtime-whisper",
    "o1",
    "o1-2024-12-17",
    "o1-pro",
    "o1-pro-2025-03-19",
    "o3",
    "o3-2025-04-16",
    "o3-deep-research",
    "o3-deep-research-2025-06-26",
    "o3-mini",
    "o3-mini-2025-01-31",
    "o3-pro",
    "o3-pro-2025-06-10",
    "o4-mini",
    "o4-mini-2025-04-16",
    "o4-mini-deep-research",
    "o4-mini-deep-research-2025-06-26",
    "omni-moderation-2024-09-26",
    "omni-moderation-latest",
    "text-embedding-3-large",
    "text-embedding-3-small",
    "text-embedding-ada-002",
    "text-embedding-ada-002-v2",
    "text-moderation-007",
    "text-moderation-latest",
    "text-moderation-stable",
    "tts-1",
    "tts-1-1106",
    "tts-1-hd",
    "tts-1-hd-1106",
    "whisper-1",
];

/// Whether a model is known to think before it answers: the o-series, and `gpt-5` and later. A
/// fine-tune (`ft:…`) and a namespaced name (`openai/…`) count as the model they name.
#[must_use]
pub fn is_known_to_think(model: &str) -> bool {
    let model = model.strip_prefix("ft:").unwrap_or(model);
    let model = model.rsplit_once('/').map_or(model, |(_, name)| name);
    if let Some(version) = model.strip_prefix("gpt-") {
        return leading_number(version).is_some_and(|(number, rest)| number >= 5 && is_boundary(rest));
    }
    let series = model.strip_prefix('o').and_then(leading_number);
    series.is_some_and(|(number, rest)| number >= 1 && is_boundary(rest))
}

/// A whole number of at most three digits, and what follows it.
fn leading_number(text: &str) -> Option<(u32, &str)> {
    let length = text.bytes().take(4).take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(length);
    (length < 4).then(|| number.parse().ok())?.map(|number| (number, rest))
}

fn is_boundary(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(['-', '.', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thinking_ones_are_known() {
        for model in
            ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5.4-pro", "gpt-12", "ft:o4-mini:org::id"]
        {
            assert!(is_known_to_think(model), "{model}");
        }
        assert!(is_known_to_think("openai/gpt-5-mini"));
        for model in
            ["gpt-4o", "gpt-4.1", "gpt-3.5-turbo", "omni-moderation-latest", "o", "o1x", "gpt-", "gpt-5x"]
        {
            assert!(!is_known_to_think(model), "{model}");
        }
        for model in ["gpt-audio", "gpt-20250101", "", "ollama", "gpt-oss-20b", "o\u{e9}"] {
            assert!(!is_known_to_think(model), "{model}");
        }
    }

    #[test]
    fn names_are_plain_and_sorted() {
        assert!(MODELS.is_sorted());
        for model in MODELS {
            assert!(model.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)), "{model}");
        }
    }
}
