//! Values as YAML that reads back as the same values.

use serde_json::Value;

use crate::config::document::Document;

/// A text of lines, in blocks; lists stand in one line.
pub(super) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    if let Value::Object(object) = value {
        for (key, value) in object {
            entry(&mut text, key, value, 0);
        }
    }
    text
}

fn entry(text: &mut String, key: &str, value: &Value, depth: usize) {
    text.push_str(&"  ".repeat(depth));
    text.push_str(&scalar(key, false));
    text.push(':');
    match value {
        Value::Object(object) if !object.is_empty() => {
            text.push('\n');
            for (key, value) in object {
                entry(text, key, value, depth + 1);
            }
            return;
        }
        // A key alone: the setting without further ado.
        Value::Null => {}
        value => {
            text.push(' ');
            text.push_str(&inline(value, false));
        }
    }
    text.push('\n');
}

fn inline(value: &Value, in_list: bool) -> String {
    match value {
        Value::String(text) => scalar(text, in_list),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(|value| inline(value, true)).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// Plain where it reads back as the same text, else in quotes: JSON's are YAML's.
fn scalar(text: &str, in_list: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@+=${}~ ".contains(&byte);
    let begins = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'$' | b'_');
    let simple = text.bytes().all(plain) && text.as_bytes().first().is_some_and(begins);
    let in_flow = in_list && text.contains(['{', '}', ':', ' ']);
    // Python, and YAML 1.1, take some words for something else.
    let word = matches!(text.to_ascii_lowercase().as_str(), "yes" | "no" | "on" | "off" | "y" | "n");
    if simple && !in_flow && !word && reads_back(text) {
        return text.to_owned();
    }
    Value::from(text).to_string()
}

fn reads_back(text: &str) -> bool {
    let as_value = Document::parse(&format!("a: {text}\n")).is_ok_and(|read| read.value["a"] == text);
    let as_key = Document::parse(&format!("{text}: a\n")).is_ok_and(|read| read.value[text] == "a");
    as_value && as_key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn it_looks_as_people_write_it() {
        let value = json!({
            "providers": {"a b": {"base_url": "http://x:1/v1", "api_key": "${KEY}", "weight": 0.5, "on": "yes"}},
            "models": {"gpt-4": null, "1.5": "no", "claude*": ["a", "b:c", "${D}"]},
        });
        let expected = "providers:\n  a b:\n    base_url: http://x:1/v1\n    api_key: ${KEY}\n    weight: 0.5\n    \"on\": \"yes\"\n\
                        models:\n  gpt-4:\n  \"1.5\": \"no\"\n  \"claude*\": [a, \"b:c\", \"${D}\"]\n";
        assert_eq!(yaml(&value), expected);
    }

    proptest! {
        #[test]
        fn everything_reads_back(texts in prop::collection::vec("[ -~äß\n\t\u{feff}\u{2028}]{0,12}", 2..6)) {
            let object: serde_json::Map<_, _> = texts
                .windows(2)
                .map(|pair| (pair[0].clone(), json!({"value": pair[1], "list": [pair[1], "x"]})))
                .collect();
            let value = json!({"top": object});
            let read = Document::parse(&yaml(&value)).map_err(|problem| TestCaseError::fail(problem.message))?;
            prop_assert_eq!(read.value, value);
        }
    }
}
