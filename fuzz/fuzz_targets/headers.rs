//! Whatever fields there are: what belongs to one connection goes, what stays is as it was, and nothing is left for a
//! second look.

#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, header::CONNECTION};
use libfuzzer_sys::fuzz_target;
use towergate_core::headers;

/// Fields that matter to somebody; others come from the fuzzer.
const NAMES: [&str; 24] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "content-type",
    "authorization",
    "api-key",
    "x-api-key",
    "cookie",
    "set-cookie",
    "openai-organization",
    "openai-beta",
    "accept",
    "access-control-allow-origin",
    "cache-control",
    "retry-after",
    "x-request-id",
    "x-stainless-lang",
    "x-other",
];
/// RFC 9110, section 7.6.1.
const HOP_BY_HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// The names that `Connection` lists.
fn named(fields: &HeaderMap) -> Vec<HeaderName> {
    let values = fields.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// Filters fields, and checks what holds of every filter.
fn filtered(fields: &HeaderMap, filter: impl Fn(&mut HeaderMap)) -> HeaderMap {
    let mut left = fields.clone();
    filter(&mut left);
    for name in named(fields) {
        assert!(!left.contains_key(&name), "{name} is one connection's");
    }
    for name in left.keys() {
        assert!(!HOP_BY_HOP.contains(&name.as_str()), "{name} is one connection's");
        assert!(left.get_all(name).iter().eq(fields.get_all(name)), "the values of {name} differ");
    }
    let mut again = left.clone();
    filter(&mut again);
    assert_eq!(again, left, "a second look finds more");
    left
}

fuzz_target!(|input: Vec<(Result<u8, &[u8]>, &[u8])>| {
    let mut fields = HeaderMap::new();
    for (name, value) in input {
        let name = match name {
            Ok(known) => HeaderName::from_static(NAMES[usize::from(known) % NAMES.len()]),
            Err(name) => match HeaderName::from_bytes(name) {
                Ok(name) => name,
                Err(_) => continue,
            },
        };
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        if fields.try_append(name, value).is_err() {
            return;
        }
    }
    filtered(&fields, headers::strip_hop_by_hop);
    filtered(&fields, |fields| headers::retain_request(fields, &[HeaderName::from_static("x-other")]));
    filtered(&fields, headers::retain_response);
    let allowed = [HeaderName::from_static("x-other"), HeaderName::from_static("authorization")];
    for left in [
        filtered(&fields, headers::strip_request_trailers),
        filtered(&fields, |fields| headers::retain_request_trailers(fields, &allowed)),
        filtered(&fields, headers::retain_response_trailers),
    ] {
        assert!(left.keys().all(headers::may_be_trailer));
    }
    let mut without = fields.clone();
    headers::strip_credentials(&mut without);
    assert!(!headers::has_credentials(&without));
});
