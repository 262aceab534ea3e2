//! Takes out of a stream what only the gateway asked for: the usage.
//!
//! A client that did not ask for `stream_options.include_usage` is to get what it would have got without:
//! no chunk that holds nothing but usage, and no `"usage":null` in the others. Every other byte stays.

use std::ops::Range;

use memchr::memmem;

use crate::{json::Reader, sse::Event};

/// What becomes of an event of a stream whose usage the client did not ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Strip {
    /// It stays as it is.
    Nothing,
    /// It is there for its usage alone.
    Event,
    /// These bytes of its data go.
    Bytes(Range<usize>),
}

/// What of an event is there only for its usage, where the client did not ask for that.
pub(super) fn strip_event(event: &Event<'_>, strips_usage: bool) -> Strip {
    let data = event.data.filter(|_| strips_usage && !event.is_cut);
    data.map_or(Strip::Nothing, strip)
}

/// Looks at the data of an event.
fn strip(data: &[u8]) -> Strip {
    if memmem::find(data, b"\"usage\"").is_none() {
        return Strip::Nothing;
    }
    let mut reader = Reader::new(data);
    // Where the value before ended: what follows up to the end of a value is its comma, its key and itself.
    let mut before = None;
    let (mut member, mut is_null, mut is_empty) = (None, false, false);
    let read = reader.object(|key, value| {
        if key == b"choices" {
            let mut count = 0_usize;
            value.array(|choice| {
                count += 1;
                choice.skip().map(drop)
            })?;
            is_empty = count == 0;
        } else {
            let bytes = value.skip()?;
            if key == b"usage" {
                is_null = bytes == b"null";
                member = Some((before, value.at()));
            }
        }
        before = Some(value.at());
        Ok(())
    });
    let Some((before, end)) = member.filter(|_| read.is_ok()) else { return Strip::Nothing };
    match (is_null, before) {
        (false, _) if is_empty => Strip::Event,
        // Some servers send it whether or not it is asked for.
        (false, _) => Strip::Nothing,
        (true, Some(before)) => Strip::Bytes(before..end),
        (true, None) => {
            let Some(open) = memchr::memchr(b'{', data) else { return Strip::Nothing };
            let comma = data[end..].iter().take_while(|byte| byte.is_ascii_whitespace()).count() + end;
            let end = if data.get(comma) == Some(&b',') { comma + 1 } else { end };
            Strip::Bytes(open + 1..end)
        }
    }
}

/// Where the data stands in the bytes of an event that has one line of it.
pub(super) fn data_line(event: &[u8]) -> Option<Range<usize>> {
    let mut found = None;
    let mut at = 0;
    for line in event.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
        if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            let start = at + line.len() - data.len();
            let length = data.trim_ascii_end().len();
            if found.replace(start..start + length).is_some() {
                return None;
            }
        }
        at += line.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::{Method, Response};
    use http_body::Frame;
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;
    use towergate_core::{Body, BoxError, Facts, StreamState, label::Label};

    use super::*;
    use crate::{
        answer::{AnswerSettings, read_answer},
        routes,
    };

    fn stripped(data: &str) -> String {
        match strip(data.as_bytes()) {
            Strip::Nothing => data.to_owned(),
            Strip::Event => "-".to_owned(),
            Strip::Bytes(range) => format!("{}{}", &data[..range.start], &data[range.end..]),
        }
    }

    #[test]
    fn only_what_was_asked_for_goes() {
        for (data, expected) in [
            (r#"{"id":"a","choices":[{"index":0}],"usage":null}"#, r#"{"id":"a","choices":[{"index":0}]}"#),
            (r#"{"id":"a", "usage" : null , "choices":[{}]}"#, r#"{"id":"a" , "choices":[{}]}"#),
            (r#"{"usage":null,"id":1}"#, r#"{"id":1}"#),
            (r#"{ "usage": null }"#, r"{ }"),
            (r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, "-"),
            (r#"{"usage":{"prompt_tokens":1},"choices":[ ]}"#, "-"),
            (
                r#"{"choices":[],"prompt_filter_results":[],"usage":null}"#,
                r#"{"choices":[],"prompt_filter_results":[]}"#,
            ),
            (
                r#"{"choices":[{"index":0}],"usage":{"prompt_tokens":1}}"#,
                r#"{"choices":[{"index":0}],"usage":{"prompt_tokens":1}}"#,
            ),
            (
                r#"{"choices":[{"delta":{"content":"\"usage\":null"}}]}"#,
                r#"{"choices":[{"delta":{"content":"\"usage\":null"}}]}"#,
            ),
            (r#"{"choices":[{"usage":null}]}"#, r#"{"choices":[{"usage":null}]}"#),
            ("[DONE]", "[DONE]"),
            (r#"{"usage":null"#, r#"{"usage":null"#),
        ] {
            assert_eq!(stripped(data), expected, "{data}");
        }
    }

    #[test]
    fn one_line_of_data_is_found_and_more_are_not() {
        for (event, expected) in [
            ("data: {}\n\n", Some("{}")),
            ("data:{}\r\n\r\n", Some("{}")),
            (": hi\nevent: x\ndata: {\"a\": 1} \nid: 1\n\n", Some("{\"a\": 1}")),
            ("data: {\ndata: }\n\n", None),
            (": hi\n\n", None),
        ] {
            assert_eq!(data_line(event.as_bytes()).map(|range| &event[range]), expected, "{event:?}");
        }
    }

    const PLAIN: [&str; 4] = [
        ": hi\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\u{fc}\"}}]}\n\n",
        "id: 3\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"}}], \"x\": null}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}\n\n",
    ];

    /// The same events from a server that was asked for usage.
    fn with_usage(event: &str) -> String {
        match event.strip_suffix("}\n\n") {
            Some(start) if !start.contains("usage") => format!("{start},\"usage\":null}}\n\n"),
            _ => event.to_owned(),
        }
    }

    proptest! {
        #[test]
        fn whoever_did_not_ask_gets_what_it_would_have_got(
            picks in prop::collection::vec(0_usize..4, 0..8),
            end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            without_last in prop::sample::select(vec!["", "data: [DONE]\n\n", "\ndata: [DONE]\n\n", "\n\ndata: [DONE]\n\n"]),
        ) {
            let stop = PLAIN[3].replace(",\"usage\":{\"prompt_tokens\":1}", "");
            let mut plain: String = picks.iter().map(|pick| PLAIN[*pick]).collect();
            let mut asked: String = picks.iter().map(|pick| with_usage(PLAIN[*pick])).collect();
            plain.push_str(&stop);
            asked.push_str(&with_usage(&stop));
            asked.push_str("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n");
            plain.push_str("data: [DONE]\n\n");
            asked.push_str("data: [DONE]\n\n");
            asked.truncate(asked.len() - without_last.len());
            for text in [&mut plain, &mut asked] {
                *text = text.replace('\n', end);
            }
            let mut cuts: Vec<_> = cuts.drain(..).map(|cut| cut.index(asked.len() + 1)).collect();
            cuts.extend([0, asked.len()]);
            cuts.sort_unstable();
            let frames: Vec<_> = cuts
                .windows(2)
                .map(|cut| Ok::<_, BoxError>(Frame::data(Bytes::copy_from_slice(&asked.as_bytes()[cut[0]..cut[1]]))))
                .collect();
            let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
            let response = Response::builder().header("content-type", "text/event-stream").body(()).unwrap();
            let (mut parts, ()) = response.into_parts();
            let facts = Facts::of_route(routes::find(&Method::POST, "/chat/completions"), Label::new("other"));
            let body = read_answer(Some(&facts), &AnswerSettings::default(), true, &mut parts, body);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let got = runtime.block_on(body.collect()).unwrap().to_bytes();
            // A `[DONE]` that is supplied has line ends of ours.
            let got = std::str::from_utf8(&got).unwrap();
            if without_last.is_empty() {
                prop_assert_eq!(got, plain);
            } else {
                prop_assert_eq!(got.replace("\r\n", "\n").replace('\r', "\n"), plain.replace(end, "\n"));
            }
            let usage = parts.extensions.get::<Arc<StreamState>>().unwrap().usage().unwrap();
            // A server that tells it unasked tells it first.
            prop_assert_eq!(usage.input, if picks.contains(&3) { 1 } else { 3 });
        }
    }
}
