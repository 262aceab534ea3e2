//! Server-sent events, and the faults that concern them: which events come, in which order, and
//! which bytes they are.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    fault::Fault,
    plan::{Filling, Piece},
};

/// Stands for the filling in the sample of an event.
pub(crate) const FILL: &str = "@FILL@";
/// How large the events are of which a stream of many bytes is made.
const FILLED: u64 = 16 << 10;

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) name: Option<&'static str>,
    pub(crate) data: String,
    pub(crate) mark: Mark,
}

/// What faults must know of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Ordinary,
    /// It says that the answer is complete: a finish reason, a terminal event.
    Finish,
    /// It comes behind the finish: usage.
    After,
    /// `[DONE]`.
    Done,
}

/// How the stream of an API tells of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `data: {"error": …}`
    Data,
    /// `event: error`, numbered.
    Responses,
}

/// A stream.
pub(crate) struct Events {
    pub(crate) events: Box<dyn Iterator<Item = Event> + Send>,
    pub(crate) shape: Shape,
    /// An event of content with [`FILL`] in it.
    pub(crate) sample: Event,
}

/// The events as pieces of bytes.
pub(crate) struct Render {
    events: Box<dyn Iterator<Item = Event> + Send>,
    shape: Shape,
    sample: Event,
    fault: Fault,
    index: u64,
    over: bool,
}

impl Event {
    pub(crate) fn data(value: &Value) -> Self {
        Self { name: None, data: value.to_string(), mark: Mark::Ordinary }
    }

    /// An event with a name, which its data repeats as `type`.
    pub(crate) fn named(name: &'static str, value: &Value) -> Self {
        Self { name: Some(name), ..Self::data(value) }
    }

    pub(crate) fn done() -> Self {
        Self { name: None, data: "[DONE]".to_owned(), mark: Mark::Done }
    }

    pub(crate) fn marked(self, mark: Mark) -> Self {
        Self { mark, ..self }
    }

    fn render(&self, line_end: &str) -> String {
        let name = self.name.map(|name| format!("event: {name}{line_end}")).unwrap_or_default();
        format!("{name}data: {}{line_end}{line_end}", self.data)
    }
}

impl Events {
    pub(crate) fn render(self, fault: &Fault) -> Render {
        let Self { events, shape, sample } = self;
        Render { events, shape, sample, fault: fault.clone(), index: 0, over: false }
    }
}

impl Render {
    fn piece(&self, event: &Event) -> Piece {
        let mut text = event.render(self.fault.line_end);
        if self.index == 0 && self.fault.bom {
            text.insert(0, '\u{feff}');
        }
        Piece::new(text)
    }

    fn filled(&self, fill: u64) -> Piece {
        let text = self.sample.render(self.fault.line_end);
        let (head, tail) = text.split_once(FILL).unwrap_or((&text, ""));
        Piece {
            bytes: Bytes::copy_from_slice(head.as_bytes()),
            fill,
            filling: Filling::Letters,
            tail: Bytes::copy_from_slice(tail.as_bytes()),
        }
    }

    /// The piece that a fault puts in at this place.
    fn inserted(&mut self) -> Option<Piece> {
        if let Some(error) = self.fault.error_at.take_if(|error| error.index == self.index) {
            self.over = true;
            return Some(self.piece(&error_event(self.shape, &error.code, error.failed)));
        }
        if self.fault.bad_json_at.take_if(|index| *index == self.index).is_some() {
            let text = r#"{"id":"broken","object":"chat.completion.chunk","choices":[{"index":0,"del"#;
            let event = Event { name: None, data: text.to_owned(), mark: Mark::Ordinary };
            return Some(self.piece(&event));
        }
        // Content begins behind the first event.
        if self.index == 0 {
            return None;
        }
        if let Some(size) = self.fault.huge_event.take() {
            return Some(self.filled(size));
        }
        if let Some(bytes) = self.fault.bytes {
            let size = bytes.min(FILLED);
            self.fault.bytes = (bytes > size).then(|| bytes - size);
            return Some(self.filled(size));
        }
        None
    }
}

impl Iterator for Render {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.over {
            return None;
        }
        let piece = self.inserted().or_else(|| {
            let wanted = |event: &Event| match event.mark {
                Mark::Ordinary | Mark::After => true,
                Mark::Finish => !self.fault.no_finish,
                Mark::Done => !self.fault.no_done && !self.fault.no_finish,
            };
            let event = self.events.find(wanted)?;
            Some(self.piece(&event))
        })?;
        self.index += 1;
        Some(piece)
    }
}

fn error_event(shape: Shape, code: &str, failed: bool) -> Event {
    let kind = crate::answer::kind_of(code);
    let message = format!("The simulated server failed in the stream: {code}.");
    let error = json!({"type": kind, "code": code, "message": message, "param": null});
    match shape {
        Shape::Data => Event::data(&json!({ "error": error })),
        Shape::Responses if failed => Event::named(
            "response.failed",
            &json!({"type": "response.failed", "sequence_number": 0, "response": {
                "id": "resp_failed", "object": "response", "status": "failed", "output": [],
                "error": {"code": code, "message": message},
            }}),
        ),
        Shape::Responses => {
            Event::named("error", &json!({"type": "error", "sequence_number": 0, "error": error}))
        }
    }
}
