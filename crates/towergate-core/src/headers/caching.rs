//! What caches may do with the response to an authenticated request.

use http::{
    HeaderMap, HeaderValue,
    header::{CACHE_CONTROL, VARY},
};

/// The fields in which a gateway reads a credential.
const READ: [&str; 3] = ["authorization", "api-key", "x-api-key"];

const PRIVATE: HeaderValue = HeaderValue::from_static("private");
const CREDENTIALS_READ: HeaderValue = HeaderValue::from_static("authorization, api-key, x-api-key");

/// Keeps the response to a request with a credential out of caches that several users share, and tells the caches of one
/// user which fields it depends on.
///
/// `Cache-Control` gets `private`, unless it has it or `no-store` already; `public`, `s-maxage` and a `private` that names
/// single fields are taken out, as they let shared caches store what belongs to one client (RFC 9111, sections 3.5 and
/// 5.2.2). Its other directives stay. `Vary` gets `Authorization`, `api-key` and `x-api-key`, unless it is `*`.
pub fn keep_private(headers: &mut HeaderMap) {
    if headers.contains_key(CACHE_CONTROL) {
        if let Some(control) = restricted(headers) {
            headers.insert(CACHE_CONTROL, control);
        }
    } else {
        headers.insert(CACHE_CONTROL, PRIVATE);
    }
    if headers.contains_key(VARY) {
        if let Some(vary) = varying(headers) {
            headers.insert(VARY, vary);
        }
    } else {
        headers.insert(VARY, CREDENTIALS_READ);
    }
}

/// The directives that a response has in place of its own; none where these are strict enough.
fn restricted(headers: &HeaderMap) -> Option<HeaderValue> {
    let (mut kept, mut loosened, mut private, mut unstored, mut stored_if_understood) =
        (Vec::new(), false, false, false, false);
    for value in headers.get_all(CACHE_CONTROL) {
        // What cannot be read could say anything.
        let Ok(value) = value.to_str() else {
            loosened = true;
            continue;
        };
        for directive in directives(value) {
            let (name, argument) = match directive.split_once('=') {
                Some((name, argument)) => (name.trim_end(), Some(argument)),
                None => (directive, None),
            };
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            if is("public") || is("s-maxage") || (is("private") && argument.is_some()) {
                loosened = true;
                continue;
            }
            private |= is("private");
            unstored |= is("no-store");
            // A cache that knows the status may then pass over `no-store` (RFC 9111, section 5.2.2.3).
            stored_if_understood |= is("must-understand");
            kept.push(directive);
        }
    }
    let strict = private || (unstored && !stored_if_understood);
    if strict && !loosened {
        return None;
    }
    if !strict {
        kept.insert(0, "private");
    }
    Some(HeaderValue::try_from(kept.join(", ")).unwrap_or(PRIVATE))
}

/// The directives of a value; a comma inside quotes parts none.
fn directives(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = value.split(move |character: char| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    });
    parts.map(str::trim).filter(|directive| !directive.is_empty())
}

/// What a response varies by, the credentials included; none where it says so already.
fn varying(headers: &HeaderMap) -> Option<HeaderValue> {
    let values = headers.get_all(VARY).iter().filter_map(|value| value.to_str().ok());
    let mut names: Vec<&str> =
        values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect();
    let count = names.len();
    if names.contains(&"*") {
        return None;
    }
    for read in READ {
        if !names.iter().any(|name| name.eq_ignore_ascii_case(read)) {
            names.push(read);
        }
    }
    (names.len() > count).then(|| HeaderValue::try_from(names.join(", ")).unwrap_or(CREDENTIALS_READ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(fields: &[(&'static str, &'static [u8])]) -> (String, String) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        keep_private(&mut headers);
        let all = |name| {
            let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
            values.join(" | ")
        };
        (all(CACHE_CONTROL), all(VARY))
    }

    #[test]
    fn no_shared_cache_may_store_it() {
        for (says, becomes) in [
            ("", "private"),
            ("public", "private"),
            ("Public, max-age=60", "private, max-age=60"),
            ("s-maxage=60", "private"),
            ("max-age=60, S-MaxAge = 9", "private, max-age=60"),
            ("no-cache", "private, no-cache"),
            ("no-cache=\"x, public\"", "private, no-cache=\"x, public\""),
            ("must-revalidate", "private, must-revalidate"),
            ("private=\"x-a, x-b\", max-age=1", "private, max-age=1"),
            ("private=\"x\\\", public, y\"", "private"),
            ("public, no-store", "no-store"),
            ("no-store, must-understand, max-age=9", "private, no-store, must-understand, max-age=9"),
            ("public, private", "private"),
            // Strict enough: not a byte is touched.
            ("Private", "Private"),
            ("private,max-age=3", "private,max-age=3"),
            ("no-store", "no-store"),
            ("max-age=0, NO-STORE ,no-cache", "max-age=0, NO-STORE ,no-cache"),
        ] {
            assert_eq!(kept(&[("cache-control", says.as_bytes())]).0, becomes, "{says}");
        }
        assert_eq!(kept(&[]).0, "private");
        assert_eq!(
            kept(&[("cache-control", b"max-age=1"), ("cache-control", b"public")]).0,
            "private, max-age=1"
        );
        assert_eq!(
            kept(&[("cache-control", b"private"), ("cache-control", b"no-cache")]).0,
            "private | no-cache"
        );
        assert_eq!(
            kept(&[("cache-control", b"p\xffblic"), ("cache-control", b"max-age=1")]).0,
            "private, max-age=1"
        );
    }

    #[test]
    fn it_varies_by_what_was_read() {
        let read = "authorization, api-key, x-api-key";
        for (says, becomes) in [
            ("", read),
            ("Accept-Encoding", "Accept-Encoding, authorization, api-key, x-api-key"),
            ("X-Api-Key, AUTHORIZATION", "X-Api-Key, AUTHORIZATION, api-key"),
            ("authorization,api-key,x-api-key", "authorization,api-key,x-api-key"),
            ("*", "*"),
            ("accept, *", "accept, *"),
        ] {
            assert_eq!(kept(&[("vary", says.as_bytes())]).1, becomes, "{says}");
        }
        assert_eq!(kept(&[]).1, read);
        assert_eq!(
            kept(&[("vary", b"origin"), ("vary", b"api-key")]).1,
            "origin, api-key, authorization, x-api-key"
        );
    }
}
