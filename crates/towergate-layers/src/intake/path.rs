//! Which paths are served at all: below the base path, and never one that climbs out of it.

/// The path below the base path, and whether the base path was there.
pub(super) fn below<'a>(path: &'a str, base: &str) -> (&'a str, bool) {
    match path.strip_prefix(base) {
        Some("") => ("/", true),
        Some(rest) if rest.starts_with('/') => (rest, true),
        _ => (path, base.is_empty()),
    }
}

/// Whether a path has a `.` or `..` segment, for any reader that decodes it, even more than once,
/// takes a backslash for a slash, or cuts path parameters (`;x`) off a segment.
///
/// The upstream's own reading is not known: a path that any of them could climb with is refused.
pub(super) fn climbs(path: &str) -> bool {
    if has_dot_segment(path.as_bytes()) {
        return true;
    }
    if !path.contains('%') {
        return false;
    }
    // Each round takes at least two bytes away, so this ends.
    let mut decoded = decode(path.as_bytes());
    loop {
        if has_dot_segment(&decoded) {
            return true;
        }
        let again = decode(&decoded);
        if again.len() == decoded.len() {
            return false;
        }
        decoded = again;
    }
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        matches!(name, b"." | b"..")
    })
}

/// Percent-decodes once (RFC 3986, section 2.1); what is no valid triplet stays as it is.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(byte));
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_base_path_is_taken_off() {
        for (path, expected) in [
            ("/v1/chat/completions", ("/chat/completions", true)),
            ("/v1", ("/", true)),
            ("/v1/", ("/", true)),
            ("/v1/v1/models", ("/v1/models", true)),
            ("/v10/models", ("/v10/models", false)),
            ("/models", ("/models", false)),
            ("*", ("*", false)),
        ] {
            assert_eq!(below(path, "/v1"), expected, "{path}");
        }
        assert_eq!(below("/models", ""), ("/models", true));
    }

    #[test]
    fn dot_segments_are_seen_in_every_disguise() {
        for path in [
            "/v1/..",
            "/v1/../admin",
            "/v1/./models",
            "/v1/%2e%2e/admin",
            "/v1/%2E./admin",
            "/v1/.%2e/admin",
            "/v1/files%2f..%2fadmin",
            "/v1/files/..%5Cadmin",
            "/v1/files\\..\\admin",
            "/v1/%252e%252e/admin",
            "/v1/%25252e%25252e/admin",
            "/v1/..;a=b/admin",
        ] {
            assert!(climbs(path), "{path}");
        }
        for path in [
            "/v1/models/gpt-4.1",
            "/v1//models",
            "/v1/models/..gpt",
            "/v1/models/a%2fb",
            "/v1/models/100%",
            "/v1/models/%zz",
            "/v1/models/...",
            "/",
        ] {
            assert!(!climbs(path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_encoding_hides_a_climb(
            dots in prop::collection::vec(prop::sample::select(vec![".", "%2e", "%2E", "%252e"]), 1..3),
            before in prop::sample::select(vec!["/", "\\", "%2f", "%5C", "%252F"]),
            after in prop::sample::select(vec!["", "/x", "%2Fx", "\\x", ";p/x"]),
            name in "[a-z0-9%._-]{0,8}",
        ) {
            let path = format!("/v1/{name}{before}{}{after}", dots.concat());
            prop_assert!(climbs(&path), "{}", path);
        }

        #[test]
        fn plain_names_pass(names in prop::collection::vec("[a-z0-9_-]{0,6}(\\.[a-z0-9]{1,3})?", 0..5)) {
            let path = format!("/v1/{}", names.join("/"));
            prop_assert!(!climbs(&path), "{}", path);
        }

        #[test]
        fn any_text_is_answered(path in ".{0,200}") {
            climbs(&path);
        }
    }
}
