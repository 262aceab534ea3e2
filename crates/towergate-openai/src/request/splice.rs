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
