//! Which fields may cross the gateway: pure functions over header maps.
//!
//! Towards the upstream an allow-list holds; towards the client everything passes but what belongs
//! to one hop or to the upstream's own site.

mod caching;
mod site;
mod trailers;

use http::{
    HeaderMap, HeaderName, Method, Request, Version,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE,
        PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
    },
};

pub use self::{
    caching::keep_private,
    trailers::{may_be_trailer, retain_request_trailers, retain_response_trailers, strip_request_trailers},
};

/// The request id, ours and upstream's.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The upstream's own request id, as the client gets it.
pub const X_UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");
/// Whether an SDK should retry; obeyed by openai-python, -node and -go above the status.
pub const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// `Retry-After` in milliseconds; read by the SDKs before `Retry-After`.
pub const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// RFC 9209.
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// The provider that answered.
pub const X_TOWERGATE_PROVIDER: HeaderName = HeaderName::from_static("x-towergate-provider");
/// How many attempts it took, over all providers.
pub const X_TOWERGATE_ATTEMPTS: HeaderName = HeaderName::from_static("x-towergate-attempts");
/// The model that the provider was asked for.
pub const X_TOWERGATE_MODEL: HeaderName = HeaderName::from_static("x-towergate-model");
/// How many candidates were given up before the one that answered.
pub const X_TOWERGATE_FALLBACKS: HeaderName = HeaderName::from_static("x-towergate-fallbacks");
/// The models that a client wants tried where none of its model's candidates answers, comma-separated.
pub const X_TOWERGATE_FALLBACK_MODELS: HeaderName = HeaderName::from_static("x-towergate-fallback-models");
/// Milliseconds until the head that were not spent waiting for an upstream.
pub const X_TOWERGATE_OVERHEAD_MS: HeaderName = HeaderName::from_static("x-towergate-overhead-ms");

/// What was changed of the request, and taken back in the answer; absent where nothing was.
pub const X_TOWERGATE_MODIFIED: HeaderName = HeaderName::from_static("x-towergate-modified");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const API_KEY: HeaderName = HeaderName::from_static("api-key");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Every field with which a caller can authenticate itself.
pub const CREDENTIALS: [HeaderName; 5] = [AUTHORIZATION, API_KEY, X_API_KEY, COOKIE, PROXY_AUTHORIZATION];

static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHENTICATION_INFO,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

const REQUEST_PREFIXES: [&str; 5] = ["accept", "content-", "if-", "openai-", "x-stainless-"];
const REQUEST_NAMES: [&str; 4] = ["idempotency-key", "range", "user-agent", "x-client-request-id"];
/// Only with the caller's own key do the caller's organisation and project mean anything.
const CALLER_ACCOUNT: [&str; 2] = ["openai-organization", "openai-project"];

/// Removes what belongs to one connection: the fields of RFC 9110, section 7.6.1, and every field
/// that `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    retain(headers, |_| true);
}

/// Leaves of the fields that do not belong to one connection those that are `wanted`.
///
/// A map has a handful of fields, and nearly always none to remove: looking at each of them costs less
/// than looking for each name that has no place in it.
fn retain(headers: &mut HeaderMap, wanted: impl Fn(&HeaderName) -> bool) {
    let mut unwanted: Vec<HeaderName> =
        headers.keys().filter(|name| HOP_BY_HOP.contains(name) || !wanted(name)).cloned().collect();
    for value in headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()) {
        unwanted.extend(value.split(',').filter_map(|name| name.trim().parse::<HeaderName>().ok()));
    }
    for name in unwanted {
        headers.remove(name);
    }
}

/// Whether a request brought a credential, right or wrong.
#[must_use]
pub fn has_credentials(headers: &HeaderMap) -> bool {
    CREDENTIALS.iter().any(|name| headers.contains_key(name))
}

/// Removes every credential of the caller.
pub fn strip_credentials(headers: &mut HeaderMap) {
    for name in CREDENTIALS {
        headers.remove(name);
    }
}

/// Leaves only what may go upstream: the allow-list and the names in `also`. Hop-by-hop fields, and
/// those that `Connection` names, go first. Credentials pass: whoever strips or injects them has
/// done so before, or means the caller's own to be sent.
pub fn retain_request(headers: &mut HeaderMap, also: &[HeaderName]) {
    retain(headers, |name| *name != COOKIE && may_go_upstream(name, also));
}

/// Removes what an answer must not carry to the client. `Trailer` stays: it announces what comes behind the body, which
/// goes on too, and without it HTTP/1.1 has no place for it. A length beside a `Transfer-Encoding` says nothing of the
/// body, and must not go on (RFC 9112, section 6.3): the client would read no further than that. One that is said more than
/// once does not go on either; a client could count differently.
pub fn retain_response(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) || !is_length_plain(headers) {
        headers.remove(CONTENT_LENGTH);
    }
    retain(headers, |name| !site::is_upstreams_own(name));
}

/// Whether there is no `Content-Length`, or just one number.
fn is_length_plain(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(length), None) => length.as_bytes().iter().all(u8::is_ascii_digit),
        (first, _) => first.is_none(),
    }
}

/// Whether a request asks for a WebSocket, in the way of HTTP/1.1 (RFC 6455, section 4.2.1). What
/// else an `Upgrade` may name is not for a gateway to offer.
#[must_use]
pub fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    headers.contains_key(UPGRADE)
        && request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && lists(headers, &UPGRADE, "websocket")
        && lists(headers, &CONNECTION, "upgrade")
}

/// Whether a field that is a list of tokens has one of them, in any case.
#[must_use]
pub fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The media type of a body, without its parameters (RFC 9110, section 8.3); empty where there is none, or
/// none that is text.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Whether a [`media_type`] is JSON: `application/json`, `text/json`, or any with the suffix `+json`
/// (RFC 6839).
#[must_use]
pub fn is_json(media_type: &str) -> bool {
    let suffix = media_type.len().checked_sub("+json".len()).and_then(|at| media_type.get(at..));
    media_type.eq_ignore_ascii_case("application/json")
        || media_type.eq_ignore_ascii_case("text/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
}

/// Whether a [`media_type`] is that of server-sent events.
#[must_use]
pub fn is_event_stream(media_type: &str) -> bool {
    media_type.eq_ignore_ascii_case("text/event-stream")
}

/// Whether a body is in an encoding, such as `gzip`, in which nobody here reads it (RFC 9110, section 8.4).
#[must_use]
pub fn is_encoded(headers: &HeaderMap) -> bool {
    let codings = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings
        .map(<[u8]>::trim_ascii)
        .any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

/// Removes the caller's organisation and project.
pub fn strip_caller_account(headers: &mut HeaderMap) {
    for name in CALLER_ACCOUNT {
        headers.remove(name);
    }
}

fn may_go_upstream(name: &HeaderName, also: &[HeaderName]) -> bool {
    let text = name.as_str();
    REQUEST_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
        || REQUEST_NAMES.contains(&text)
        || [AUTHORIZATION, API_KEY, X_API_KEY].contains(name)
        || also.contains(name)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_connection_names_goes_too() {
        let mut headers = map(&[
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("content-type", "application/json"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["content-type"]);
    }

    #[test]
    fn only_the_allow_list_goes_upstream() {
        let mut headers = map(&[
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("baggage", "user=1"),
            ("content-type", "application/json"),
            ("cookie", "session=1"),
            ("if-none-match", "x"),
            ("openai-beta", "assistants=v2"),
            ("range", "bytes=0-1"),
            ("user-agent", "x"),
            ("x-custom", "1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-stainless-lang", "python"),
        ]);
        retain_request(&mut headers, &[HeaderName::from_static("x-custom")]);
        assert_eq!(
            names(&headers),
            [
                "accept",
                "accept-encoding",
                "content-type",
                "if-none-match",
                "openai-beta",
                "range",
                "user-agent",
                "x-custom",
                "x-stainless-lang"
            ]
        );
    }

    #[test]
    fn a_media_type_is_told_from_its_parameters() {
        for (value, json, events) in [
            ("application/json", true, false),
            ("Application/JSON ; charset=utf-8", true, false),
            ("text/json", true, false),
            ("application/problem+json;x", true, false),
            ("text/event-stream; charset=utf-8", false, true),
            ("text/html", false, false),
            ("json", false, false),
            ("application/jsonl", false, false),
            ("", false, false),
        ] {
            let headers = map(&[("content-type", value)]);
            let media_type = media_type(&headers);
            assert_eq!((is_json(media_type), is_event_stream(media_type)), (json, events), "{value}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(media_type(&headers), "");
        headers.insert(CONTENT_TYPE, HeaderValue::from_bytes(b"text/\xff").unwrap());
        assert_eq!(media_type(&headers), "");
        assert!(!is_json("\u{e9}json"));
    }

    #[test]
    fn an_encoding_is_any_but_identity() {
        for (values, encoded) in [
            (&[][..], false),
            (&["identity"], false),
            (&[" Identity , "], false),
            (&["gzip"], true),
            (&["identity, br"], true),
            (&["identity", "gzip"], true),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(is_encoded(&headers), encoded, "{values:?}");
        }
    }

    #[test]
    fn a_websocket_is_asked_for_with_both_fields_over_http1() {
        let request = |fields: &[(&'static str, &'static str)]| {
            let mut request = Request::new(());
            *request.headers_mut() = map(fields);
            request
        };
        let both = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert!(asks_for_websocket(&request(&both)));
        for fields in
            [&both[..1], &both[1..], &[both[0], ("upgrade", "h2c")], &[("connection", "close"), both[1]]]
        {
            assert!(!asks_for_websocket(&request(fields)), "{fields:?}");
        }
        let mut post = request(&both);
        *post.method_mut() = Method::POST;
        let mut http2 = request(&both);
        *http2.version_mut() = Version::HTTP_2;
        assert!(!asks_for_websocket(&post) && !asks_for_websocket(&http2));
    }

    #[test]
    fn an_answer_keeps_all_but_the_upstreams_own_site() {
        let mut headers = map(&[
            ("access-control-allow-origin", "*"),
            ("alt-svc", "h3"),
            ("content-length", "2"),
            ("set-cookie", "a=b"),
            ("strict-transport-security", "max-age=1"),
            ("x-ratelimit-remaining-requests", "1"),
        ]);
        retain_response(&mut headers);
        assert_eq!(names(&headers), ["content-length", "x-ratelimit-remaining-requests"]);
    }

    #[test]
    fn only_the_one_length_of_a_body_goes_on() {
        for (fields, goes_on) in [
            (&[("content-length", "2")][..], true),
            (&[("content-length", "2"), ("transfer-encoding", "chunked")], false),
            (&[("content-length", "2, 2")], false),
        ] {
            let mut headers = map(fields);
            retain_response(&mut headers);
            assert_eq!(headers.contains_key(CONTENT_LENGTH), goes_on, "{fields:?}");
        }
        let mut headers = map(&[("content-length", "2")]);
        headers.append(CONTENT_LENGTH, HeaderValue::from_static("2"));
        retain_response(&mut headers);
        assert!(headers.is_empty());
    }
}
