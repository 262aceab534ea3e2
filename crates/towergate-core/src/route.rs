//! [`Route`] and [`Facts`]: what is known of a request, from its path and from a shallow look at
//! its body.

use std::{ops::Range, sync::Arc};

use crate::label::Label;

/// One row of a provider's route table. Rows are constants; requests refer to them.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name: a metric and span label, such as `chat.completions`.
    pub name: &'static str,
    /// Its place in the table.
    pub index: usize,
    /// The path below the base path, with `{id}` for what varies: `/chat/completions`.
    pub template: &'static str,
    /// How its request body is read.
    pub reads: Reads,
    /// Whether a request without a `model` is refused here rather than upstream.
    pub requires_model: bool,
    /// Whether it runs a model: its head may come only with the finished answer.
    pub generates: bool,
    /// Whether an answer is small enough to be held whole before its head is released.
    pub holds_answer: bool,
    /// Whether it may be asked for under its bare path too, without the base path.
    pub bare: bool,
    /// Whether any provider may serve it: it names nothing that is kept at one of them.
    pub stateless: bool,
}

/// How a request body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reads {
    /// As JSON: collected once, under a limit, and read shallowly.
    Json,
    /// As a form (`multipart/form-data`), which is read as it streams through.
    Form,
    /// As one or the other; the content type decides.
    JsonOrForm,
    /// Not at all: it streams through untouched.
    Nothing,
}

// === impl Route, Reads ===

impl Route {
    /// The template of the row that stands for every path that no other row matches.
    pub const UNKNOWN: &'static str = "/{rest}";

    /// Whether it is an endpoint that is known, and not merely some path below the base path.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.template != Self::UNKNOWN
    }
}

impl Reads {
    /// Whether JSON is read. A body of another content type streams through.
    #[must_use]
    pub fn json(self) -> bool {
        matches!(self, Self::Json | Self::JsonOrForm)
    }

    /// Whether a form is expected.
    #[must_use]
    pub fn form(self) -> bool {
        matches!(self, Self::Form | Self::JsonOrForm)
    }
}

/// Where a request names its model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ModelIn {
    /// In the collected body.
    #[default]
    Body,
    /// In a body that streams through: at these bytes of it.
    Stream(Range<usize>),
    /// In the query of its URI.
    Query,
}

/// What was read of one request. A request extension (`Arc<Facts>`).
#[derive(Debug, Clone)]
pub struct Facts {
    /// The row of the table it matched.
    pub route: &'static Route,
    /// The model, as the client wrote it.
    pub model: Option<Arc<str>>,
    /// Where it says so.
    pub model_in: ModelIn,
    /// The model as a metric label.
    pub model_label: Label,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Whether the client asked for usage in the stream (`stream_options.include_usage`).
    pub include_usage: bool,
    /// How many answers it asks for: the choices that have to finish before a stream of them is complete.
    pub choices: u32,
    /// Whether the answer's head comes only when the answer is finished.
    pub silent_head: bool,
    /// Whether the first event may be silent for as long as the model thinks.
    pub silent_first_event: bool,
    /// Whether it refers to something that only one provider keeps: a file, a conversation, an earlier
    /// answer.
    pub bound: bool,
}

// === impl Facts ===

impl Facts {
    /// The longest name of a model that is repeated to people: clients choose it, and may choose a megabyte.
    pub const MAX_SHOWN: usize = 256;

    /// The model as a log line may say it: the client's own word where that is short visible ASCII, else the label.
    #[must_use]
    pub fn shown_model(&self) -> &str {
        let plain = |model: &&str| {
            model.len() <= Self::MAX_SHOWN && model.bytes().all(|byte| byte.is_ascii_graphic())
        };
        self.model.as_deref().filter(plain).unwrap_or(self.model_label.as_str())
    }

    /// What is known from the route alone.
    #[must_use]
    pub fn of_route(route: &'static Route, model_label: Label) -> Self {
        Self {
            route,
            model: None,
            model_in: ModelIn::Body,
            model_label,
            stream: false,
            include_usage: false,
            choices: 1,
            silent_head: route.generates,
            silent_first_event: false,
            bound: !route.stateless,
        }
    }
}
