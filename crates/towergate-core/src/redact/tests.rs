use http::HeaderMap;
use proptest::prelude::*;

use super::*;

const KEY: &str = "sk-canary/1+2=<%>&\\\"3";

fn redaction(secrets: &[&str]) -> Redaction {
    let mut others = Secrets::default();
    secrets.iter().for_each(|text| others.add(&(*text).into()));
    Redaction::new(None, others.into())
}

fn redact(redaction: &Redaction, text: &str) -> String {
    let redacted = redaction.redact(Bytes::copy_from_slice(text.as_bytes()));
    assert_eq!(redaction.finds(text.as_bytes()), redacted != text, "{text}");
    assert_eq!(redacted.len(), text.len());
    String::from_utf8(redacted.to_vec()).unwrap()
}

/// Every character of a text, written in one of the ways.
fn written(text: &str, ways: &[u8]) -> String {
    let each = text.bytes().zip(ways.iter().cycle());
    each.map(|(byte, way)| match way % 8 {
        0 => format!("\\u{byte:04x}"),
        1 => format!("\\\\u{byte:04X}"),
        2 => format!("%{byte:02X}"),
        3 => format!("%25{byte:02x}"),
        4 => format!("&#{byte};"),
        5 => format!("&amp;#x{byte:x};"),
        6 if b"\"\\/".contains(&byte) => format!("\\{}", char::from(byte)),
        6 if byte == b'&' => "&amp;".to_owned(),
        _ => char::from(byte).to_string(),
    })
    .collect()
}

#[test]
fn a_secret_is_masked_however_it_is_written() {
    let redaction = redaction(&[KEY]);
    for (quoted, mask) in [
        (KEY.to_owned(), "[redacted]***********"),
        (serde_json_like(KEY), "[redacted]*************"),
        (KEY.replace('/', "\\/"), "[redacted]************"),
    ] {
        let text = redact(&redaction, &format!("<{quoted}{quoted}> sk-can"));
        assert_eq!(text, format!("<{mask}{mask}> sk-can"), "{quoted}");
    }
    for way in 0..8 {
        let text = redact(&redaction, &format!("a{}b", written(KEY, &[way])));
        assert!(text.starts_with("a[redacted]*") && text.ends_with("*b"), "{way}: {text}");
    }
    assert_eq!(redact(&redaction, "sk-canary/1+2=<%>&\\\"4"), "sk-canary/1+2=<%>&\\\"4");
}

/// As a JSON writer escapes it.
fn serde_json_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[test]
fn what_is_short_is_no_secret() {
    for short in ["", "x", "test", "none", "EMPTY", "sk-1", "1234567"] {
        assert!(Secret::new(short).is_none());
        assert!(redaction(&[short]).redactor().is_none());
        assert_eq!(redact(&redaction(&[short]), &format!("a {short} b")), format!("a {short} b"));
    }
    assert_eq!(redact(&redaction(&["12345678"]), "<12345678>"), "<********>");
}

#[test]
fn of_two_that_begin_alike_the_longer_one_is_masked() {
    let redaction = redaction(&["sk-canary", "sk-canary-longer"]);
    assert_eq!(redact(&redaction, "sk-canary-longer sk-canary"), "[redacted]****** *********");
    let mut redactor = redaction.redactor().unwrap();
    assert_eq!(redactor.next("sk-canary".into()), "");
    assert_eq!(redactor.next("-longe".into()), "");
    assert_eq!(redactor.next("R sk-canary-lo".into()), "*********-longeR ");
    assert_eq!(redactor.last("".into()), "*********-lo");
}

#[test]
fn the_key_that_was_sent_and_those_of_the_sources_are_secrets() {
    let key = |text: &str| Credential::try_from(text).unwrap();
    let mut others = Secrets::default();
    others.add_source(key("sk-canary-ring"));
    others.add_source(None::<Credential>);
    others.add_field(&HeaderValue::from_static("Bearer sk-canary-field"));
    let redaction = Redaction::new(Some(key("sk-canary-sent")), others.into());
    for secret in ["sk-canary-ring", "sk-canary-field", "sk-canary-sent"] {
        assert!(redaction.finds(secret.as_bytes()), "{secret}");
    }
    assert!(!redaction.finds(b"Bearer sk-canary"));
    let redactor = redaction.redactor().unwrap();
    assert!(!format!("{redaction:?} {redactor:?} {:?}", Secret::new(KEY)).contains("canary"));
}

#[test]
fn fields_that_quote_a_secret_are_removed() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-many", "1"),
        ("x-many", "sk%2Dcanary-1"),
        ("location", "https://a/?key=sk-canary-1&b"),
        ("x-other", "sk-canary"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    redaction(&["sk-canary-1"]).strip(&mut headers);
    assert_eq!(headers.len(), 1);
    assert!(headers.contains_key("x-other"));
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        before in "[sk%&\\\\u0-]{0,12}",
        after in "[-sk%&\\\\a#;]{0,12}",
        ways in prop::collection::vec(any::<u8>(), 1..8),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        // A letter in front, so that no escape can end in the secret.
        let quoted = written(KEY, &ways);
        let text = Bytes::from(format!("{before}!{quoted}!{after}"));
        let redaction = redaction(&[KEY]);
        let whole = redaction.redact(text.clone());
        prop_assert_eq!(whole.len(), text.len());
        let range = before.len() + 1..before.len() + 1 + quoted.len();
        prop_assert!(whole[range.clone()].starts_with(b"[redacted]*"), "{:?}", whole);
        prop_assert!(whole[range.start + 10..range.end].iter().all(|byte| *byte == b'*'), "{:?}", whole);
        prop_assert_eq!(&whole[..range.start], &text[..range.start]);
        prop_assert_eq!(&whole[range.end..], &text[range.end..]);

        let mut cuts: Vec<_> = cuts.drain(..).map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut redactor = redaction.redactor().unwrap();
        let mut got = Vec::new();
        for cut in cuts.windows(2) {
            got.extend_from_slice(&redactor.next(text.slice(cut[0]..cut[1])));
        }
        got.extend_from_slice(&redactor.last(Bytes::new()));
        prop_assert_eq!(Bytes::from(got), whole);
    }

    #[test]
    fn no_text_panics(text in prop::collection::vec(prop::sample::select(b"sk-canry/\\%&#;u025xamp".to_vec()), 0..60)) {
        let redaction = redaction(&["sk-canary", "sk%25-/\\\\"]);
        let mut redactor = redaction.redactor().unwrap();
        let mut length = 0;
        for byte in &text {
            length += redactor.next(Bytes::copy_from_slice(&[*byte])).len();
        }
        prop_assert_eq!(length + redactor.last(Bytes::new()).len(), text.len());
    }
}
