//! Changes to a request body that leave every other byte as it was.

use bytes::Bytes;

use crate::json::Reader;

/// The body with another `model`; none where it is no object, or has no `model`.
///
/// ```
/// use towergate_openai::request::set_model;
///
/// let body = br#"{ "model" : "fast", "n": 1e0 }"#;
/// assert_eq!(set_model(body, "gpt-4o").unwrap(), br#"{ "model" : "gpt-4o", "n": 1e0 }"#[..]);
/// ```
#[must_use]
pub fn set_model(body: &[u8], model: &str) -> Option<Bytes> {
    let mut reader = Reader::new(body);
    let mut place = None;
    reader
        .object(|key, value| {
            let length = value.skip()?.len();
            if key == b"model" {
                place = Some(value.at() - length..value.at());
            }
            Ok(())
        })
        .ok()?;
    let place = place?;
    let model = serde_json::to_string(model).ok()?;
    Some([&body[..place.start], model.as_bytes(), &body[place.end..]].concat().into())
}

/// The body with `stream_options.include_usage` set to `true`; none where it is so already, where the body is no
/// object, or where its `stream_options` is something else than an object or `null`.
///
/// ```
/// use towergate_openai::request::include_usage;
///
/// let body = include_usage(br#"{"model":"gpt-4o","stream":true}"#).unwrap();
/// assert_eq!(body, br#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#[..]);
/// ```
#[must_use]
pub fn include_usage(body: &[u8]) -> Option<Bytes> {
    const OPTIONS: &str = r#""stream_options":{"include_usage":true}"#;
    const MEMBER: &str = r#""include_usage":true"#;
    let mut reader = Reader::new(body);
    let (mut options, mut usage, mut last) = (None, None, None);
    let mut members = 0_usize;
    reader
        .object(|key, value| {
            if key == b"stream_options" {
                value.peek();
                let start = value.at();
                let is_object = value.object(|key, value| {
                    members += 1;
                    let length = value.skip()?.len();
                    if key == b"include_usage" {
                        usage = Some(value.at() - length..value.at());
                    }
                    Ok(())
                })?;
                options = Some((start..value.at(), is_object));
            } else {
                value.skip()?;
            }
            last = Some(value.at());
            Ok(())
        })
        .ok()?;
    let (range, text) = match (usage, options) {
        (Some(usage), _) if &body[usage.clone()] == b"true" => return None,
        (Some(usage), _) => (usage, "true".to_owned()),
        (None, Some((options, true))) => {
            let comma = if members > 0 { "," } else { "" };
            (options.start + 1..options.start + 1, format!("{MEMBER}{comma}"))
        }
        (None, Some((options, false))) if &body[options.clone()] == b"null" => {
            (options, format!("{{{MEMBER}}}"))
        }
        (None, Some(_)) => return None,
        (None, None) => {
            let last = last?;
            (last..last, format!(",{OPTIONS}"))
        }
    };
    Some([&body[..range.start], text.as_bytes(), &body[range.end..]].concat().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(body: &str, model: &str) -> Option<String> {
        let body = set_model(body.as_bytes(), model)?;
        Some(String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn only_the_value_of_the_top_level_key_changes() {
        for (body, expected) in [
            (r#"{"model":"a"}"#, r#"{"model":"b"}"#),
            (
                r#" { "x":{"model":"a"},"model" :  "a" , "y":[1,2] } "#,
                r#" { "x":{"model":"a"},"model" :  "b" , "y":[1,2] } "#,
            ),
            (r#"{"mod\u0065l":"a"}"#, r#"{"mod\u0065l":"b"}"#),
            (r#"{"model":null}"#, r#"{"model":"b"}"#),
        ] {
            assert_eq!(set(body, "b").as_deref(), Some(expected), "{body}");
        }
        assert_eq!(set(r#"{"model":"a"}"#, "q\"\n").as_deref(), Some(r#"{"model":"q\"\n"}"#));
        for body in ["", "[]", "{}", r#"{"x":1}"#, r#"{"model":"#] {
            assert_eq!(set(body, "b"), None, "{body}");
        }
    }

    #[test]
    fn usage_is_asked_for_and_nothing_else_changes() {
        let asked =
            |body: &str| include_usage(body.as_bytes()).map(|body| String::from_utf8(body.to_vec()).unwrap());
        for (body, expected) in [
            (r#"{"stream":true}"#, r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
            ("{ \"stream\": true }\n", "{ \"stream\": true,\"stream_options\":{\"include_usage\":true} }\n"),
            (r#"{"stream_options":{},"x":1}"#, r#"{"stream_options":{"include_usage":true},"x":1}"#),
            (r#"{"stream_options":{ "a":1}}"#, r#"{"stream_options":{"include_usage":true, "a":1}}"#),
            (r#"{"stream_options": null}"#, r#"{"stream_options": {"include_usage":true}}"#),
            (
                r#"{"stream_options":{"include_usage": false}}"#,
                r#"{"stream_options":{"include_usage": true}}"#,
            ),
            (
                r#"{"x":{"stream_options":1}}"#,
                r#"{"x":{"stream_options":1},"stream_options":{"include_usage":true}}"#,
            ),
        ] {
            assert_eq!(asked(body).as_deref(), Some(expected), "{body}");
        }
        for body in
            [r#"{"stream_options":{"include_usage":true}}"#, r#"{"stream_options":3}"#, "{}", "[]", ""]
        {
            assert_eq!(asked(body), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn what_stands_around_it_stays(
            before in "[ \n\t]{0,3}", after in "[ \n]{0,3}", old in "[a-z./-]{0,60}", new in ".{0,20}",
            rest in "(,\"[a-l]{1,4}\":(1|true|\"x\"|\\[\\]|\\{\"model\":2\\})){0,3}",
        ) {
            let body = format!("{before}{{\"model\"{after}:{before}\"{old}\"{after}{rest}}}{after}");
            let changed = set(&body, &new).unwrap();
            let named = serde_json::to_string(&new).unwrap();
            prop_assert_eq!(&changed, &format!("{before}{{\"model\"{after}:{before}{named}{after}{rest}}}{after}"));
            prop_assert_eq!(set(&changed, &old).unwrap(), body);
        }
    }
}
