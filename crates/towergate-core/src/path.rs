//! Paths as the server behind them may read them: climbing out of where they are put, or written in another way.

use std::borrow::Cow;

/// Whether a path has a `.` or `..` segment, for any reader that percent-decodes it (RFC 3986, section
/// 2.1), even more than once, takes a backslash for a slash, or cuts path parameters (`;x`) off a
/// segment.
///
/// The upstream's own reading is not known: a path that any of them could climb with is refused. One
/// pass over the path, however often it is encoded.
///
/// ```
/// use towergate_core::path::climbs;
///
/// assert!(climbs("/v1/%252e%252e/admin"));
/// assert!(!climbs("/v1/models/gpt-4.1"));
/// ```
#[must_use]
pub fn climbs(path: &str) -> bool {
    if path.contains('%') {
        has_dot_segment(&decode(path.as_bytes()))
    } else {
        has_dot_segment(path.as_bytes())
    }
}

/// The path as a server reads it that percent-decodes it, even more than once, takes a backslash for a slash and
/// several slashes for one, ends it at a control character, a `?` or a `#` that it has decoded, cuts parameters (`;x`)
/// off its last segment, and drops white space or a slash at the end. Borrowed where there is nothing to do.
///
/// Servers do not agree on parameters in front of a slash: these stay, and so the path is that of no route.
///
/// A route is looked up with it; what goes upstream is the path as it came.
///
/// ```
/// use towergate_core::path::normalize;
///
/// assert_eq!(normalize("//chat%2Fcompletions;x"), "/chat/completions");
/// assert_eq!(normalize("/models/gpt-4.1"), "/models/gpt-4.1");
/// ```
#[must_use]
pub fn normalize(path: &str) -> Cow<'_, str> {
    let is_odd = path.contains(['%', ';', '\\']) || path.contains("//") || path.ends_with('/');
    if !is_odd || path == "/" {
        return path.into();
    }
    let mut decoded = decode(path.as_bytes());
    if let Some(end) = decoded.iter().position(|byte| byte.is_ascii_control() || matches!(byte, b'?' | b'#'))
    {
        decoded.truncate(end);
    }
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let is_end = |byte: &u8| is_slash(byte) || *byte == b' ';
    let mut path = trim_end(&decoded, is_end);
    if let Some(at) = path.iter().position(|byte| *byte == b';')
        && !path[at..].iter().any(is_slash)
    {
        path = trim_end(&path[..at], is_end);
    }
    let mut normal = Vec::with_capacity(path.len());
    for segment in path.split(is_slash).filter(|segment| !segment.is_empty()) {
        normal.push(b'/');
        normal.extend_from_slice(segment);
    }
    if normal.is_empty() { "/".into() } else { String::from_utf8_lossy(&normal).into_owned().into() }
}

fn trim_end(text: &[u8], is_end: impl Fn(&u8) -> bool) -> &[u8] {
    let end = text.iter().rposition(|byte| !is_end(byte)).map_or(0, |last| last + 1);
    &text[..end]
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        matches!(name, b"." | b"..")
    })
}

/// Decodes until there is nothing left to decode. A triplet is replaced as soon as it stands there,
/// and its byte may complete another one: each takes two bytes away, so the work is linear, where
/// decoding round after round would let a path of `%2525…` cost its length squared.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    for byte in text {
        decoded.push(*byte);
        while let Some(byte) = triplet(&decoded) {
            decoded.truncate(decoded.len() - 3);
            decoded.push(byte);
        }
    }
    decoded
}

/// The byte that the last three stand for.
fn triplet(text: &[u8]) -> Option<u8> {
    let [.., b'%', high, low] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            "/v1/%%32e./admin",
            "/v1/..;a=b/admin",
            "/v1/..%3Ba=b/admin",
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

    #[test]
    fn a_path_that_is_encoded_over_and_over_is_one_byte_in_the_end() {
        let path = format!("%{}2e", "25".repeat(32 * 1024));
        assert_eq!(decode(path.as_bytes()), b".");
        assert!(climbs(&format!("/v1/{path}")));
    }

    #[test]
    fn a_path_has_one_normal_form() {
        for (path, normal) in [
            ("/chat%2Fcompletions", "/chat/completions"),
            ("/chat%252Fcompletions", "/chat/completions"),
            ("//chat///completions", "/chat/completions"),
            ("/chat\\completions/", "/chat/completions"),
            ("/chat/completions;a=b", "/chat/completions"),
            ("/chat/completions/;a;b", "/chat/completions"),
            ("/chat;a=b/completions", "/chat;a=b/completions"),
            ("/chat/completions%00x", "/chat/completions"),
            ("/chat/completions%20%0a", "/chat/completions"),
            ("/chat/completions%3fx/y", "/chat/completions"),
            ("/chat/completions%23", "/chat/completions"),
            ("/%63hat%5ccompletions%3Bx", "/chat/completions"),
            ("/", "/"),
            ("//", "/"),
            ("/models/100%", "/models/100%"),
        ] {
            assert_eq!(normalize(path), normal, "{path}");
        }
        for path in ["/models/gpt-4.1", "/", "", "*", "/Models/a:b@c"] {
            assert!(matches!(normalize(path), Cow::Borrowed(same) if same == path), "{path}");
        }
    }

    /// As a chain of servers would: round after round, each from the left.
    fn in_rounds(text: &[u8]) -> bool {
        let mut at = 0;
        let mut decoded = Vec::new();
        while let Some(byte) = text.get(at) {
            let found = text.get(at..at + 3).and_then(triplet);
            decoded.push(found.unwrap_or(*byte));
            at += if found.is_some() { 3 } else { 1 };
        }
        has_dot_segment(text) || (decoded.len() < text.len() && in_rounds(&decoded))
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
        fn what_rounds_of_decoding_find_is_found(path in "(/|%|2|5|e|f|c|\\.|;|%2|%25|%2e){0,24}") {
            prop_assert!(climbs(&path) || !in_rounds(path.as_bytes()), "{}", path);
        }

        #[test]
        fn plain_names_pass(names in prop::collection::vec("[a-z0-9_-]{0,6}(\\.[a-z0-9]{1,3})?", 0..5)) {
            let path = format!("/v1/{}", names.join("/"));
            prop_assert!(!climbs(&path), "{}", path);
        }

        #[test]
        fn what_is_normal_stays(path in ".{0,40}", odd in "(/|%|2|5|f|c|\\\\|;|%2f|%3b){0,24}") {
            for path in [format!("/{path}"), format!("/{odd}")] {
                let normal = normalize(&path);
                prop_assert_eq!(normalize(&normal), &*normal, "{}", path);
            }
        }

        #[test]
        fn any_text_is_answered(path in ".{0,200}") {
            let _ = climbs(&path);
            let _ = normalize(&path);
        }
    }
}
