//! Token counts.

object! {
    /// What an answer cost, in tokens. Details are parts of the totals.
    #[derive(Default)]
    pub struct Usage {
        required {}
        optional {
            /// Tokens of the prompt, cached ones included.
            prompt_tokens: u64,
            /// Tokens of the answer, reasoning included; absent for embeddings.
            completion_tokens: u64,
            /// Both together.
            total_tokens: u64,
            /// What the prompt's tokens were.
            prompt_tokens_details: PromptTokensDetails,
            /// What the answer's tokens were.
            completion_tokens_details: CompletionTokensDetails,
        }
    }
}

object! {
    /// Parts of [`Usage::prompt_tokens`].
    #[derive(Default)]
    pub struct PromptTokensDetails {
        required {}
        optional {
            /// Read from the prompt cache.
            cached_tokens: u64,
            /// Written to the prompt cache.
            cache_write_tokens: u64,
            /// Audio.
            audio_tokens: u64,
            /// Text.
            text_tokens: u64,
            /// Images.
            image_tokens: u64,
        }
    }
}

object! {
    /// Parts of [`Usage::completion_tokens`].
    #[derive(Default)]
    pub struct CompletionTokensDetails {
        required {}
        optional {
            /// Spent on reasoning; not shown, and billed.
            reasoning_tokens: u64,
            /// Audio.
            audio_tokens: u64,
            /// Text.
            text_tokens: u64,
            /// Of the prediction, and used.
            accepted_prediction_tokens: u64,
            /// Of the prediction, and not used; billed all the same.
            rejected_prediction_tokens: u64,
        }
    }
}
