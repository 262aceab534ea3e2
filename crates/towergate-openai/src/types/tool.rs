//! Tools: what a model may call, must call, and calls.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tool {
    /// A function: its arguments are JSON.
    Function(FunctionTool),
    /// A tool whose input is free text.
    Custom(CustomTool),
    /// One that is not known here, as it is.
    #[serde(untagged)]
    Other(Value),
}

object! {
    /// A function.
    pub struct FunctionTool {
        required {
            /// The function.
            function: FunctionDef,
        }
        optional {}
    }
}

object! {
    /// What the model is told of a function.
    pub struct FunctionDef {
        required {
            /// Its name.
            name: String,
        }
        optional {
            /// What it does, and when to call it.
            description: String,
            /// Its parameters, as a JSON schema.
            parameters: Value,
            /// Whether the arguments hold to the schema exactly.
            strict: bool,
        }
    }
}

object! {
    /// A tool whose input is free text.
    pub struct CustomTool {
        required {
            /// The tool.
            custom: CustomDef,
        }
        optional {}
    }
}

object! {
    /// What the model is told of a tool of free text.
    pub struct CustomDef {
        required {
            /// Its name.
            name: String,
        }
        optional {
            /// What it does, and when to call it.
            description: String,
            /// The form of its input: text, or a grammar.
            format: Value,
        }
    }
}

/// Whether the model calls tools, and which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ToolChoice {
    /// Any or none.
    Mode(ToolMode),
    /// Certain ones.
    Named(NamedTool),
}

/// Whether the model calls tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolMode {
    /// It does not.
    None,
    /// As it sees fit.
    Auto,
    /// It calls at least one.
    Required,
    /// One that is not known here.
    #[serde(untagged)]
    Other(String),
}

/// The tool, or the tools, that a choice names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NamedTool {
    /// This function is called.
    Function(FunctionChoice),
    /// This custom tool is called.
    Custom(CustomChoice),
    /// Only these may be called.
    AllowedTools(AllowedToolsChoice),
    /// One that is not known here, as it is.
    #[serde(untagged)]
    Other(Value),
}

object! {
    /// The function to call.
    pub struct FunctionChoice {
        required {
            /// The function.
            function: Named,
        }
        optional {}
    }
}

object! {
    /// The custom tool to call.
    pub struct CustomChoice {
        required {
            /// The tool.
            custom: Named,
        }
        optional {}
    }
}

object! {
    /// A name.
    pub struct Named {
        required {
            /// The name.
            name: String,
        }
        optional {}
    }
}

object! {
    /// The tools that may be called.
    pub struct AllowedToolsChoice {
        required {
            /// The tools.
            allowed_tools: AllowedTools,
        }
        optional {}
    }
}

object! {
    /// The tools that may be called, and whether one must be.
    pub struct AllowedTools {
        required {
            /// `auto` or `required`.
            mode: ToolMode,
            /// The tools, by type and name.
            tools: Vec<Value>,
        }
        optional {}
    }
}

object! {
    /// A call that the model makes.
    pub struct ToolCall {
        required {
            /// Its id; the tool's message refers to it.
            id: String,
        }
        optional {
            /// `function`, `custom`.
            kind as "type": String,
            /// The function and its arguments.
            function: FunctionCall,
            /// The custom tool and its input.
            custom: CustomCall,
        }
    }
}

object! {
    /// A function and its arguments.
    pub struct FunctionCall {
        required {
            /// Its name.
            name: String,
            /// The arguments, as the model wrote them: JSON, if it made no mistake.
            arguments: String,
        }
        optional {}
    }
}

object! {
    /// A custom tool and its input.
    pub struct CustomCall {
        required {
            /// Its name.
            name: String,
            /// The input.
            input: String,
        }
        optional {}
    }
}

// === impl Tool ===

impl Tool {
    /// A function, with its parameters as a JSON schema.
    #[must_use]
    pub fn function(name: impl Into<String>, description: impl Into<String>, parameters: Value) -> Self {
        let function = FunctionDef {
            name: name.into(),
            description: Some(description.into()),
            parameters: Some(parameters),
            strict: None,
            extra: Map::new(),
        };
        Self::Function(FunctionTool { function, extra: Map::new() })
    }
}

// === impl ToolChoice ===

impl ToolChoice {
    /// That function is called.
    #[must_use]
    pub fn function(name: impl Into<String>) -> Self {
        let function = Named { name: name.into(), extra: Map::new() };
        Self::Named(NamedTool::Function(FunctionChoice { function, extra: Map::new() }))
    }
}

impl From<ToolMode> for ToolChoice {
    fn from(mode: ToolMode) -> Self {
        Self::Mode(mode)
    }
}
