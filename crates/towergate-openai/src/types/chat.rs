//! The request of a chat completion.

use serde_json::{Map, Number, Value};

use super::{
    AudioOptions, Content, FunctionDef, Message, Modality, Prediction, PromptCacheOptions, ReasoningEffort,
    ResponseFormat, ServiceTier, Stop, StreamOptions, Tool, ToolChoice, Verbosity, WebSearchOptions,
};

object! {
    /// The body of `POST /chat/completions`.
    ///
    /// Whether it is streamed is the client's business: it sets `stream` as the method asks for.
    pub struct ChatRequest {
        required {
            /// The model.
            model: String,
            /// The conversation so far.
            messages: Vec<Message>,
        }
        optional {
            /// How a spoken answer sounds; with `audio` among the modalities.
            audio: AudioOptions,
            /// Against repetition of what was said, by how often it was: -2 to 2.
            frequency_penalty: Number,
            /// Which function is called; superseded by `tool_choice`.
            function_call: Value,
            /// The functions; superseded by `tools`.
            functions: Vec<FunctionDef>,
            /// Makes tokens, by their number, likelier or less likely: -100 to 100.
            logit_bias: Map<String, Value>,
            /// Whether the answer tells how likely its tokens were.
            logprobs: bool,
            /// The most tokens of an answer, reasoning included.
            max_completion_tokens: u64,
            /// The most tokens of an answer; superseded by `max_completion_tokens`.
            max_tokens: u64,
            /// Up to 16 names and values that are stored with the completion.
            metadata: Map<String, Value>,
            /// The forms of output.
            modalities: Vec<Modality>,
            /// How many answers; one unless said otherwise.
            n: u64,
            /// Whether several tools may be called at once; they may unless this is `false`.
            parallel_tool_calls: bool,
            /// What the answer will largely be.
            prediction: Prediction,
            /// Against repetition of what was said at all: -2 to 2.
            presence_penalty: Number,
            /// Groups requests that share a prompt's beginning.
            prompt_cache_key: String,
            /// How the prompt is cached.
            prompt_cache_options: PromptCacheOptions,
            /// How long the prompt is cached; superseded by `prompt_cache_options`.
            prompt_cache_retention: String,
            /// How much the model thinks.
            reasoning_effort: ReasoningEffort,
            /// The form of the answer.
            response_format: ResponseFormat,
            /// A stable id of the end user, hashed; at most 64 characters.
            safety_identifier: String,
            /// The same seed gives, as far as possible, the same answer.
            seed: i64,
            /// How the request is served.
            service_tier: ServiceTier,
            /// Texts at which the model stops.
            stop: Stop,
            /// Whether the completion is stored.
            store: bool,
            /// Whether the answer is streamed.
            stream: bool,
            /// What a stream carries beside the answer.
            stream_options: StreamOptions,
            /// How freely the model chooses: 0 to 2.
            temperature: Number,
            /// Whether the model calls tools, and which.
            tool_choice: ToolChoice,
            /// The tools that the model may call.
            tools: Vec<Tool>,
            /// How many alternatives `logprobs` tells of each token: 0 to 20.
            top_logprobs: u64,
            /// Only the likeliest tokens that make up this much are chosen from: 0 to 1.
            top_p: Number,
            /// An id of the end user; superseded by `safety_identifier` and `prompt_cache_key`.
            user: String,
            /// How much the model says.
            verbosity: Verbosity,
            /// How the model searches the web.
            web_search_options: WebSearchOptions,
        }
    }
}

// === impl ChatRequest ===

impl ChatRequest {
    /// A request without messages.
    #[must_use]
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            messages: Vec::new(),
            audio: None,
            frequency_penalty: None,
            function_call: None,
            functions: None,
            logit_bias: None,
            logprobs: None,
            max_completion_tokens: None,
            max_tokens: None,
            metadata: None,
            modalities: None,
            n: None,
            parallel_tool_calls: None,
            prediction: None,
            presence_penalty: None,
            prompt_cache_key: None,
            prompt_cache_options: None,
            prompt_cache_retention: None,
            reasoning_effort: None,
            response_format: None,
            safety_identifier: None,
            seed: None,
            service_tier: None,
            stop: None,
            store: None,
            stream: None,
            stream_options: None,
            temperature: None,
            tool_choice: None,
            tools: None,
            top_logprobs: None,
            top_p: None,
            user: None,
            verbosity: None,
            web_search_options: None,
            extra: Map::new(),
        }
    }

    /// Adds a message.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// Adds instructions.
    #[must_use]
    pub fn system(self, content: impl Into<Content>) -> Self {
        self.message(Message::system(content))
    }

    /// Adds what the user says.
    #[must_use]
    pub fn user(self, content: impl Into<Content>) -> Self {
        self.message(Message::user(content))
    }

    /// Adds what the model said.
    #[must_use]
    pub fn assistant(self, content: impl Into<Content>) -> Self {
        self.message(Message::assistant(content))
    }

    /// Sets the temperature; what is not finite leaves it to the model.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = Number::from_f64(temperature);
        self
    }

    /// Sets the most tokens of an answer.
    #[must_use]
    pub fn max_completion_tokens(mut self, tokens: u64) -> Self {
        self.max_completion_tokens = Some(tokens);
        self
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.get_or_insert_default().push(tool);
        self
    }

    /// Sets whether the model calls tools, and which.
    #[must_use]
    pub fn tool_choice(mut self, choice: impl Into<ToolChoice>) -> Self {
        self.tool_choice = Some(choice.into());
        self
    }

    /// Sets the form of the answer.
    #[must_use]
    pub fn response_format(mut self, format: ResponseFormat) -> Self {
        self.response_format = Some(format);
        self
    }

    /// Sets how much the model thinks.
    #[must_use]
    pub fn reasoning_effort(mut self, effort: ReasoningEffort) -> Self {
        self.reasoning_effort = Some(effort);
        self
    }

    /// Asks for the usage at the end of a stream.
    #[must_use]
    pub fn include_usage(mut self) -> Self {
        self.stream_options.get_or_insert_default().include_usage = Some(true);
        self
    }
}
