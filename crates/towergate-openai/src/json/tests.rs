use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn skips(text: &[u8]) -> Result<(), Fault> {
    let mut reader = Reader::new(text);
    reader.skip()?;
    reader.end()
}

#[test]
fn the_grammar_is_strict_about_structure() {
    for good in [
        "{}",
        "[]",
        " [ ] ",
        "0",
        "-0",
        "10.5e-3",
        "1E+9",
        "\"\"",
        "true",
        "null",
        "NaN",
        "Infinity",
        "[-Infinity,1]",
        r#"{"a":[1,{"b":null}],"c":"\u00e9\"\\"}"#,
        "\u{feff}{}",
        "[[[]],[{}]]",
        r#"["\ud800"]"#,
    ] {
        assert_eq!(skips(good.as_bytes()), Ok(()), "{good}");
    }
    for bad in [
        "{,}",
        "[1,]",
        "[,1]",
        r#"{"a":1,}"#,
        r#"{"a"}"#,
        r#"{"a" 1}"#,
        "{a:1}",
        "{'a':1}",
        "[1 2]",
        "01",
        "[1.]",
        ".5",
        "+1",
        "[1e]",
        "tru3",
        "-NaN",
        "-infinity",
        "--Infinity",
        "[}",
        "{]",
        "\"\n\"",
        r#""\x""#,
        r#""\u12g4""#,
        "nul ",
        "{}{}",
        "<html>",
        "]",
    ] {
        assert_eq!(skips(bad.as_bytes()), Err(Fault::Malformed), "{bad}");
    }
    for cut in ["", " ", "{", "[1", r#"{"a""#, r#"{"a":"#, "\"abc", "\"\\", "-", "1.", "tru", "-Inf", "[[]"] {
        assert_eq!(skips(cut.as_bytes()).unwrap_err(), Fault::End, "{cut}");
    }
    assert_eq!(skips(b"[\"\xff\xfe\"]"), Ok(()));
}

#[test]
fn nesting_may_be_deep() {
    let deep = 1_000_000;
    let mut text = String::new();
    for level in 0..deep {
        text.push_str(if level % 3 == 0 { "{\"a\":" } else { "[" });
    }
    text.push('1');
    for level in (0..deep).rev() {
        text.push(if level % 3 == 0 { '}' } else { ']' });
    }
    assert_eq!(skips(text.as_bytes()), Ok(()));
    text.pop();
    assert_eq!(skips(text.as_bytes()), Err(Fault::End));
    text.push(']');
    assert_eq!(skips(text.as_bytes()), Err(Fault::Malformed));
}

#[test]
fn a_document_keeps_what_was_asked_for() {
    let text = br#" {"id":"x","us\u0061ge":{"a":[1,"}"]},"error": null,"big":"0123456789"} "#;
    for split in 0..text.len() {
        let mut document = Document::new(["usage", "error", "big", "none"], 20);
        document.feed(&text[..split]).unwrap();
        assert_eq!(document.finish().is_ok(), split >= text.len() - 1, "{split}");
        document.feed(&text[split..]).unwrap();
        assert_eq!(document.finish(), Ok(()));
        assert_eq!(document.kept("usage"), Some(&br#"{"a":[1,"}"]}"#[..]));
        assert_eq!(document.kept("error"), Some(&b"null"[..]));
        assert_eq!(document.kept("big"), Some(&br#""0123456789""#[..]));
        assert_eq!(document.kept("none"), None);
    }
    let mut document = Document::new(["usage"], 4);
    document.feed(br#"{"usage":{"a":1}}"#).unwrap();
    assert_eq!(document.kept("usage"), None);
}

pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((".{0,6}", inner), 0..5).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_serde_takes_is_taken(value in any_json(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(skips(text.as_bytes()), Ok(()));
    }

    #[test]
    fn both_readers_agree_with_serde(text in r#"[\[\]{}:,"\\ a1.e\-tn]{0,24}"#) {
        let taken = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(skips(text.as_bytes()).is_ok(), taken);
        let mut document = Document::new(["a"], 64);
        let fed = text.as_bytes().chunks(3).try_for_each(|piece| document.feed(piece));
        prop_assert_eq!(fed.and_then(|()| document.finish()).is_ok(), taken);
    }

    #[test]
    fn bytes_never_panic(bytes: Vec<u8>) {
        let _ = skips(&bytes);
        let mut reader = Reader::new(&bytes);
        let _ = reader.object(|_, value| value.array(|element| element.text().map(drop)).map(drop));
        let mut document = Document::new(["a"], 8);
        let _ = bytes.chunks(2).try_for_each(|piece| document.feed(piece));
    }
}
