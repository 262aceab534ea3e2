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
    error: bool,
    usage: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
}

// === impl Judge ===

impl Judge {
    pub(super) fn new(api: Api, asked: u32) -> Self {
        Self { api, asked, seen: 0, finished: 0, terminal: false, usage: None }
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
        self.terminal |= is_terminal(name);
        self.note_usage(name, &fields);
        if fields.content || is_content(name) { Verdict::Content } else { Verdict::Other }
    }

    /// Whether the stream has said that it is complete: what came of it has finished, and as many choices came as were
    /// asked for.
    pub(super) fn is_complete(&self) -> bool {
        self.may_be_complete() && (self.terminal || self.finished.count_ones() >= self.asked.min(u128::BITS))
    }

    /// Whether what came of it has finished. Some servers give one choice however many are asked for, so where such a
    /// stream ends with `[DONE]` it is complete.
    pub(super) fn may_be_complete(&self) -> bool {
        self.terminal || (self.finished != 0 && self.seen & !self.finished == 0)
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
                    value.array(|choice| {
                        fields.content |= self.read_choice(choice)?;
                        Ok(())
                    })?;
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

    /// One choice; whether it carries content.
    fn read_choice(&mut self, choice: &mut Reader<'_>) -> Result<bool, Fault> {
        let (mut index, mut finished, mut content) = (0, false, false);
        choice.object(|key, value| {
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
        })?;
        let bit = 1_u128 << index.min(127);
        self.seen |= bit;
        if finished {
            self.finished |= bit;
        }
        Ok(content || finished)
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
mod tests {
    use http::StatusCode;
    use towergate_core::Class;

    use super::*;

    fn event<'a>(name: &'a str, data: &'a str) -> Event<'a> {
        Event::new(name.as_bytes(), Some(data.as_bytes()))
    }

    fn judge(api: Api, data: &str) -> Verdict {
        Judge::new(api, 1).judge(&event("", data))
    }

    fn delta(delta: &str) -> Verdict {
        judge(Api::Chat, &format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#))
    }

    #[test]
    fn a_chunk_with_something_in_it_is_content() {
        for content in [
            r#"{"content":"a"}"#,
            r#"{"content":null,"tool_calls":[{"index":0}]}"#,
            r#"{"refusal":"no"}"#,
            r#"{"function_call":{"name":"f"}}"#,
            r#"{"audio":{"id":"x"}}"#,
            r#"{"reasoning_content":"hm"}"#,
            r#"{"role":"assistant","content":"\n"}"#,
        ] {
            assert_eq!(delta(content), Verdict::Content, "{content}");
        }
        for none in ["{}", "null", r#"{"role":"assistant","content":"","refusal":null,"tool_calls":[ ]}"#] {
            assert_eq!(delta(none), Verdict::Other, "{none}");
        }
        assert_eq!(judge(Api::Chat, r#"{"choices":[],"usage":null}"#), Verdict::Other);
        assert_eq!(judge(Api::Completions, r#"{"choices":[{"text":"a","index":0}]}"#), Verdict::Content);
        assert_eq!(judge(Api::Completions, r#"{"choices":[{"text":"","index":0}]}"#), Verdict::Other);
    }

    #[test]
    fn every_choice_must_finish() {
        let mut judge = Judge::new(Api::Chat, 1);
        let chunk = |index: u32, reason: &str| {
            format!(r#"{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":{reason}}}]}}"#)
        };
        for (index, reason, complete) in [
            (0, "null", false),
            (1, "null", false),
            (0, r#""stop""#, false),
            (1, r#""length""#, true),
            (2, "null", false),
        ] {
            judge.judge(&event("", &chunk(index, reason)));
            assert_eq!(judge.is_complete(), complete);
        }
        judge.judge(&event("", &chunk(u32::MAX, r#""stop""#)));
        assert_eq!(judge.judge(&event("", "[DONE]")), Verdict::Done);
        assert!(!judge.is_complete());
    }

    #[test]
    fn as_many_choices_must_finish_as_were_asked_for() {
        let mut judge = Judge::new(Api::Chat, 2);
        let finished = |index: u32| {
            format!(r#"{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":"stop"}}]}}"#)
        };
        judge.judge(&event("", &finished(0)));
        assert!(judge.may_be_complete() && !judge.is_complete());
        judge.judge(&event("", &finished(1)));
        assert!(judge.is_complete());
    }

    #[test]
    fn responses_begin_with_announcements() {
        for none in
            ["created", "queued", "in_progress", "output_item.added", "content_part.added", "new_thing"]
        {
            let verdict = judge(
                Api::Responses,
                &format!(r#"{{"type":"response.{none}","response":{{"error":null}}}}"#),
            );
            assert_eq!(verdict, Verdict::Other, "{none}");
        }
        for content in
            ["output_text.delta", "reasoning_summary_text.delta", "refusal.done", "completed", "incomplete"]
        {
            let verdict = judge(Api::Responses, &format!(r#"{{"type":"response.{content}"}}"#));
            assert_eq!(verdict, Verdict::Content, "{content}");
        }
    }

    #[test]
    fn terminal_events_carry_usage() {
        for (api, data) in [
            (
                Api::Responses,
                r#"{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4}}}"#,
            ),
            (
                Api::Images,
                r#"{"type":"image_generation.completed","usage":{"input_tokens":3,"output_tokens":4}}"#,
            ),
            (Api::Images, r#"{"type":"image_edit.completed","usage":{"input_tokens":3,"output_tokens":4}}"#),
            (Api::Speech, r#"{"type":"speech.audio.done","usage":{"input_tokens":3,"output_tokens":4}}"#),
            (
                Api::Transcription,
                r#"{"type":"transcript.text.done","text":"","usage":{"input_tokens":3,"output_tokens":4}}"#,
            ),
        ] {
            let mut judge = Judge::new(api, 1);
            assert_eq!(judge.judge(&event("", data)), Verdict::Content, "{data}");
            assert!(judge.is_complete());
            assert_eq!(judge.usage(), Some(Usage { input: 3, output: 4, ..Usage::default() }));
        }
    }

    #[test]
    fn runs_end_with_their_last_state() {
        for (state, ends) in
            [("queued", false), ("step.completed", false), ("expired", true), ("failed", true)]
        {
            let mut judge = Judge::new(Api::Assistants, 1);
            judge.judge(&event(&format!("thread.run.{state}"), "{}"));
            assert_eq!((judge.is_complete(), judge.awaits_done()), (ends, ends), "{state}");
        }
        let mut judge = Judge::new(Api::Assistants, 1);
        let step = r#"{"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
        assert_eq!(judge.judge(&event("thread.run.created", "{}")), Verdict::Other);
        assert_eq!(judge.judge(&event("thread.message.delta", "{}")), Verdict::Content);
        judge.judge(&event("thread.run.step.completed", step));
        assert_eq!((judge.usage(), judge.is_complete()), (None, false));
        judge.judge(&event("thread.run.completed", step));
        assert_eq!(judge.judge(&event("done", "[DONE]")), Verdict::Done);
        assert!(judge.is_complete() && judge.usage().is_some());
    }

    #[test]
    fn errors_are_found_in_every_shape() {
        let failed = |api, name, data| match Judge::new(api, 1).judge(&event(name, data)) {
            Verdict::Failed(failure) => (failure.status.as_u16(), failure.class),
            other => panic!("{other:?} of {data}"),
        };
        let overloaded = (503, Class::Overloaded);
        assert_eq!(failed(Api::Chat, "", r#"{"error":{"code":"server_is_overloaded"}}"#), overloaded);
        assert_eq!(failed(Api::Chat, "error", "plain text"), (500, Class::ServerError));
        assert_eq!(
            failed(
                Api::Responses,
                "error",
                r#"{"type":"error","code":"server_is_overloaded","message":"m"}"#
            ),
            overloaded
        );
        assert_eq!(
            failed(Api::Responses, "", r#"{"type":"error","error":{"code":"rate_limit_exceeded"}}"#),
            (429, Class::RateLimited)
        );
        let response =
            r#"{"type":"response.failed","response":{"error":{"code":"invalid_prompt","message":"m"}}}"#;
        assert_eq!(failed(Api::Responses, "response.failed", response), (400, Class::CallerError));
        for none in [r#"{"error":null,"choices":[]}"#, r#"{"error":{}}"#, r#"{"error":""}"#] {
            assert_eq!(judge(Api::Chat, none), Verdict::Other, "{none}");
        }
        assert_eq!(StatusCode::SERVICE_UNAVAILABLE.as_u16(), overloaded.0);
    }

    #[test]
    fn only_known_streams_must_be_json() {
        for bad in ["", "{", "oops", r#"{"a":1"#, r#"{"choices":[}"#, "{}{}"] {
            assert_eq!(judge(Api::Chat, bad), Verdict::Malformed, "{bad}");
            assert_eq!(judge(Api::Other, bad), Verdict::Content, "{bad}");
        }
        for good in ["null", "1", "[]", " {} ", r#"{"unknown":[1,2]}"#] {
            assert_eq!(judge(Api::Chat, good), Verdict::Other, "{good}");
        }
    }
}
