//! Messages: what a conversation consists of, in both directions.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{FunctionCall, ToolCall};

object! {
    /// One message, of a request or of an answer: an answer's message can be put into the next
    /// request as it is.
    pub struct Message {
        required {
            /// Who speaks.
            role: Role,
        }
        optional {
            /// What is said; `null` in an answer that only calls tools.
            content: Content,
            /// Tells participants of the same role apart.
            name: String,
            /// What the model said in place of an answer it refuses.
            refusal: String,
            /// The tools that the model calls.
            tool_calls: Vec<ToolCall>,
            /// The call that a tool's message answers.
            tool_call_id: String,
            /// Audio: the answer, or a reference to an earlier one.
            audio: MessageAudio,
            /// Sources, where the model searched the web.
            annotations: Vec<Annotation>,
            /// The function that the model calls; superseded by `tool_calls`.
            function_call: FunctionCall,
        }
    }
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Instructions of the developer; supersedes `system` for newer models.
    Developer,
    /// Instructions.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
    /// The result of a function; superseded by `tool`.
    Function,
    /// One that is not known here.
    #[serde(untagged)]
    Other(String),
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Content {
    /// Text.
    Text(String),
    /// Parts of several kinds.
    Parts(Vec<ContentPart>),
    /// Anything else.
    Other(Value),
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContentPart {
    /// Text.
    Text(TextPart),
    /// An image.
    ImageUrl(ImagePart),
    /// Audio.
    InputAudio(InputAudioPart),
    /// A file.
    File(FilePart),
    /// A refusal of the model.
    Refusal(RefusalPart),
    /// One that is not known here, as it is.
    #[serde(untagged)]
    Other(Value),
}

object! {
    /// Text.
    pub struct TextPart {
        required {
            /// The text.
            text: String,
        }
        optional {}
    }
}

object! {
    /// An image.
    pub struct ImagePart {
        required {
            /// Where it is.
            image_url: ImageUrl,
        }
        optional {}
    }
}

object! {
    /// Where an image is, and how closely to look at it.
    pub struct ImageUrl {
        required {
            /// An `https:` URL, or a `data:` URL that holds the image.
            url: String,
        }
        optional {
            /// `auto`, `low`, `high`.
            detail: String,
        }
    }
}

object! {
    /// Audio.
    pub struct InputAudioPart {
        required {
            /// The audio.
            input_audio: InputAudio,
        }
        optional {}
    }
}

object! {
    /// Audio as input.
    pub struct InputAudio {
        required {
            /// Base64.
            data: String,
            /// `wav`, `mp3`.
            format: String,
        }
        optional {}
    }
}

object! {
    /// A file.
    pub struct FilePart {
        required {
            /// The file.
            file: FileData,
        }
        optional {}
    }
}

object! {
    /// A file: uploaded before, or given here.
    #[derive(Default)]
    pub struct FileData {
        required {}
        optional {
            /// The id of an uploaded file.
            file_id: String,
            /// The file itself, as a `data:` URL.
            file_data: String,
            /// Its name.
            filename: String,
        }
    }
}

object! {
    /// What the model said in place of an answer.
    pub struct RefusalPart {
        required {
            /// The text.
            refusal: String,
        }
        optional {}
    }
}

object! {
    /// A spoken answer: in an answer all of it, in a request its id.
    #[derive(Default)]
    pub struct MessageAudio {
        required {}
        optional {
            /// Its id.
            id: String,
            /// Base64, in the format that was asked for.
            data: String,
            /// Until when the id can be referred to, in Unix seconds.
            expires_at: u64,
            /// What is said.
            transcript: String,
        }
    }
}

object! {
    /// A note on a part of the answer.
    #[derive(Default)]
    pub struct Annotation {
        required {}
        optional {
            /// `url_citation`.
            kind as "type": String,
            /// The source.
            url_citation: UrlCitation,
        }
    }
}

object! {
    /// A source on the web.
    #[derive(Default)]
    pub struct UrlCitation {
        required {}
        optional {
            /// Where it is.
            url: String,
            /// What it is called.
            title: String,
            /// The first character of the answer that it belongs to.
            start_index: u64,
            /// The character after the last.
            end_index: u64,
        }
    }
}

// === impl Message ===

impl Message {
    /// A message without content.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            role,
            content: None,
            name: None,
            refusal: None,
            tool_calls: None,
            tool_call_id: None,
            audio: None,
            annotations: None,
            function_call: None,
            extra: Map::new(),
        }
    }

    /// Instructions.
    #[must_use]
    pub fn system(content: impl Into<Content>) -> Self {
        Self::new(Role::System).content(content)
    }

    /// Instructions, for newer models.
    #[must_use]
    pub fn developer(content: impl Into<Content>) -> Self {
        Self::new(Role::Developer).content(content)
    }

    /// What the user says.
    #[must_use]
    pub fn user(content: impl Into<Content>) -> Self {
        Self::new(Role::User).content(content)
    }

    /// What the model said.
    #[must_use]
    pub fn assistant(content: impl Into<Content>) -> Self {
        Self::new(Role::Assistant).content(content)
    }

    /// What a tool answers to the call of that id.
    #[must_use]
    pub fn tool(tool_call_id: impl Into<String>, content: impl Into<Content>) -> Self {
        let mut message = Self::new(Role::Tool).content(content);
        message.tool_call_id = Some(tool_call_id.into());
        message
    }

    /// The content, where it is plain text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.content.as_ref()?.as_text()
    }

    fn content(mut self, content: impl Into<Content>) -> Self {
        self.content = Some(content.into());
        self
    }
}

// === impl Content ===

impl Content {
    /// The text, where it is plain text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Parts(_) | Self::Other(_) => None,
        }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<ContentPart>> for Content {
    fn from(parts: Vec<ContentPart>) -> Self {
        Self::Parts(parts)
    }
}

impl<const N: usize> From<[ContentPart; N]> for Content {
    fn from(parts: [ContentPart; N]) -> Self {
        Self::Parts(parts.into())
    }
}

// === impl ContentPart ===

impl ContentPart {
    /// Text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(TextPart { text: text.into(), extra: Map::new() })
    }

    /// An image, by its `https:` or `data:` URL.
    #[must_use]
    pub fn image_url(url: impl Into<String>) -> Self {
        let image_url = ImageUrl { url: url.into(), detail: None, extra: Map::new() };
        Self::ImageUrl(ImagePart { image_url, extra: Map::new() })
    }

    /// Audio: base64 in a format (`wav`, `mp3`).
    #[must_use]
    pub fn input_audio(data: impl Into<String>, format: impl Into<String>) -> Self {
        let input_audio = InputAudio { data: data.into(), format: format.into(), extra: Map::new() };
        Self::InputAudio(InputAudioPart { input_audio, extra: Map::new() })
    }

    /// A file.
    #[must_use]
    pub fn file(file: FileData) -> Self {
        Self::File(FilePart { file, extra: Map::new() })
    }
}
