//! The path below the base path.

/// The path below the base path, and whether the base path was there.
pub(super) fn below<'a>(path: &'a str, base: &str) -> (&'a str, bool) {
    match path.strip_prefix(base) {
        Some("") => ("/", true),
        Some(rest) if rest.starts_with('/') => (rest, true),
        _ => (path, base.is_empty()),
    }
}

#[cfg(test)]
mod tests {
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
}
