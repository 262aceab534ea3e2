//! What the events of each API mean.

use std::borrow::Cow;

use towergate_core::stream::{Failure, Usage};

use super::usage::read_usage;
use crate::{
    api::Api,
    envelope,
    json::{Fault, Reader},
    sse::Event,
};

/// Judges the events of one stream.
#[derive(Debug)]
pub(super) struct Judge {
    api: Api,
    /// How many choices were asked for.
    asked: u32,
    /// Choices that were seen, and those that have finished: a bit for each index.
    seen: u128,
    finished: u128,
    /// Choices that may have finished behind what was kept of an event.
    unseen: u128,
    terminal: bool,
    usage: Option<Usage>,
}

/// What an event is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It carries content.
    Content,
    /// It carries none: a role, a keep-alive, something unknown.
    Other,
    /// `[DONE]`.
    Done,
    /// An error.
    Failed(Box<Failure>),
    /// Its data is no JSON.
    Malformed,
}

/// What is read of one event.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<Cow<'a, str>>,
    content: bool,
    /// The bit of the choice that could not be read to its end.
    cut: u128,
    error: bool,
    usage: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
}

// === impl Judge ===

impl Judge {
    pub(super) fn new(api: Api, asked: u32) -> Self {
        Self { api, asked, seen: 0, finished: 0, unseen: 0, terminal: false, usage: None }
    }

    /// Judges the next event.
    pub(super) fn judge(&mut self, event: &Event<'_>) -> Verdict {
        let Some(data) = event.data else { return Verdict::Other };
        if data.trim_ascii_start().starts_with(b"[DONE]") {
            // Where an answer says itself that it is complete, this proves nothing: it was cut.
            self.terminal |= !(self.api.ends_with_done() || self.api == Api::Responses);
            return Verdict::Done;
        }
        if self.api == Api::Other {
            return Verdict::Content;
        }
        let mut fields = Fields::default();
        let read = self.read(data, &mut fields);
        let named_error = event.name == b"error";
        if read.is_err() && !event.is_cut && !named_error {
            return Verdict::Malformed;
        }
        let name = match &fields.kind {
            Some(kind) => kind.as_bytes(),
            None => event.name,
        };
        if named_error || fields.error || name == b"error" {
            return Verdict::Failed(Box::new(envelope::failure(data)));
        }
        if name == b"response.failed" {
            return Verdict::Failed(Box::new(envelope::failure(fields.response.unwrap_or(data))));
        }
        if event.is_cut {
            self.unseen |= fields.cut;
            fields.content |= fields.cut != 0;
        }
        self.terminal |= is_terminal(name);
        self.note_usage(name, &fields);
        if fields.content || is_content(name) { Verdict::Content } else { Verdict::Other }
    }

    /// Whether the stream has said that it is complete: what came of it has finished, and as many choices came as were
    /// asked for.
    pub(super) fn is_complete(&self) -> bool {
        let finished = self.finished != 0 && self.seen & !self.finished == 0;
        self.terminal || (finished && self.finished.count_ones() >= self.asked.min(u128::BITS))
    }

    /// Whether what came of it has finished, or may have. Some servers give one choice however many are asked for, and
    /// of a very long event only the beginning is seen: where such a stream ends with `[DONE]` it is complete.
    pub(super) fn may_be_complete(&self) -> bool {
        let finished = self.finished | self.unseen;
        self.terminal || (finished != 0 && self.seen & !finished == 0)
    }

    /// Whether it has said so in a way that nothing but `[DONE]` may follow. Of images several may be completed.
    pub(super) fn has_ended(&self) -> bool {
        self.terminal && matches!(self.api, Api::Responses | Api::Speech | Api::Transcription)
    }

    /// Whether it is complete, and its `[DONE]` still to come.
    pub(super) fn awaits_done(&self) -> bool {
        (self.api.ends_with_done() || self.api == Api::Assistants) && self.is_complete()
    }

    /// The tokens, as far as they are known.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    fn read<'a>(&mut self, data: &'a [u8], fields: &mut Fields<'a>) -> Result<(), Fault> {
        let mut reader = Reader::new(data);
        reader.object(|key, value| {
            match key {
                b"choices" => {
                    value.array(|choice| self.read_choice(choice, fields))?;
                }
                b"type" => fields.kind = value.text()?,
                b"error" => fields.error = is_something(value.skip()?),
                b"usage" => fields.usage = Some(value.skip()?),
                // Groq.
                b"x_groq" => {
                    value.object(|key, value| {
                        let value = value.skip()?;
                        if key == b"usage" {
                            fields.usage = Some(value);
                        }
                        Ok(())
                    })?;
                }
                b"response" => fields.response = Some(value.skip()?),
                _ => {
                    value.skip()?;
                }
            }
            Ok(())
        })?;
        reader.end()
    }

    /// One choice.
    fn read_choice(&mut self, choice: &mut Reader<'_>, fields: &mut Fields<'_>) -> Result<(), Fault> {
        let (mut index, mut finished, mut content) = (0, false, false);
        let read = choice.object(|key, value| {
            match key {
                b"index" => index = value.whole_number()?.unwrap_or_default(),
                b"finish_reason" => finished = is_something(value.skip()?),
                b"text" => content |= is_something(value.skip()?),
                b"delta" | b"message" => {
                    value.object(|key, value| {
                        let value = value.skip()?;
                        content |= key != b"role" && is_something(value);
                        Ok(())
                    })?;
                }
                _ => {
                    value.skip()?;
                }
            }
            Ok(())
        });
        let bit = 1_u128 << index.min(127);
        if let Err(fault) = read {
            fields.cut = bit;
            return Err(fault);
        }
        self.seen |= bit;
        if finished {
            self.finished |= bit;
        }
        fields.content |= content || finished;
        Ok(())
    }

    fn note_usage(&mut self, name: &[u8], fields: &Fields<'_>) {
        let usage = match fields.response {
            Some(response) if is_terminal(name) => usage_in(response),
            Some(_) => None,
            // A run's steps have usage of their own, which is part of the run's.
            None if self.api == Api::Assistants && name != b"thread.run.completed" => None,
            None => fields.usage.and_then(read_usage),
        };
        // Some servers count on in every chunk: the last one is right.
        self.usage = usage.or(self.usage);
    }
}

fn usage_in(response: &[u8]) -> Option<Usage> {
    let mut usage = None;
    let _ = Reader::new(response).object(|key, value| {
        let value = value.skip()?;
        if key == b"usage" {
            usage = read_usage(value);
        }
        Ok(())
    });
    usage
}

/// Events after which their answer is complete.
fn is_terminal(name: &[u8]) -> bool {
    matches!(
        name,
        b"response.completed"
            | b"response.incomplete"
            | b"response.cancelled"
            | b"image_generation.completed"
            | b"image_edit.completed"
            | b"speech.audio.done"
            | b"transcript.text.done"
            | b"thread.run.completed"
            | b"thread.run.incomplete"
            | b"thread.run.requires_action"
            | b"thread.run.failed"
            | b"thread.run.cancelled"
            | b"thread.run.expired"
            | b"done"
    )
}

/// Events, by their name, in which there is something for the client. What only announces work
/// (`response.created`, `….in_progress`, `….added`) is none.
fn is_content(name: &[u8]) -> bool {
    const SUFFIXES: [&[u8]; 5] = [b".delta", b".done", b".segment", b".partial_image", b".annotation.added"];
    is_terminal(name)
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || name == b"thread.message.completed"
}

/// Whether a value is there at all: not null, not false, not empty.
fn is_something(value: &[u8]) -> bool {
    match value {
        b"null" | b"false" | b"\"\"" => false,
        [b'[' | b'{', inner @ .., _] => !inner.trim_ascii().is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
