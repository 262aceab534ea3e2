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
    let finished =
        |index: u32| format!(r#"{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":"stop"}}]}}"#);
    judge.judge(&event("", &finished(0)));
    assert!(judge.may_be_complete() && !judge.is_complete());
    judge.judge(&event("", &finished(1)));
    assert!(judge.is_complete());
}

#[test]
fn responses_begin_with_announcements() {
    for none in ["created", "queued", "in_progress", "output_item.added", "content_part.added", "new_thing"] {
        let verdict =
            judge(Api::Responses, &format!(r#"{{"type":"response.{none}","response":{{"error":null}}}}"#));
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
    for (state, ends) in [("queued", false), ("step.completed", false), ("expired", true), ("failed", true)] {
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
        failed(Api::Responses, "error", r#"{"type":"error","code":"server_is_overloaded","message":"m"}"#),
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
