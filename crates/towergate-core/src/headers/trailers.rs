//! Which trailer fields may cross the gateway.
//!
//! A recipient may put trailer fields among the header fields (RFC 9110, section 6.5.1). So none of them may cross that could
//! not cross in the head, and none that means something in a head only.

use http::{HeaderMap, HeaderName};

use super::{CREDENTIALS, HOP_BY_HOP, retain, site};

/// Whether trailers may have a field of this name at all.
#[must_use]
pub fn may_be_trailer(name: &HeaderName) -> bool {
    !HOP_BY_HOP.contains(name) && !is_of_the_head(name)
}

/// Removes what no trailers may have: the caller's credentials, what belongs to one connection, and what means something in a
/// head only.
pub fn strip_request_trailers(trailers: &mut HeaderMap) {
    retain(trailers, |name| !is_of_the_head(name));
}

/// Leaves of a request's trailers those in `allowed`, less what [no trailers may have](strip_request_trailers).
pub fn retain_request_trailers(trailers: &mut HeaderMap, allowed: &[HeaderName]) {
    retain(trailers, |name| allowed.contains(name) && !is_of_the_head(name));
}

/// Leaves of a response's trailers what [`retain_response`](super::retain_response) would leave of its head, less the fields
/// that say how a message is framed, read, cached or routed, and who sent it.
pub fn retain_response_trailers(trailers: &mut HeaderMap) {
    retain(trailers, |name| !site::is_upstreams_own(name) && !is_of_the_head(name));
}

/// Whether a field must not stand in trailers: RFC 9110, section 6.5.1, and those of ours that the head says for good.
fn is_of_the_head(name: &HeaderName) -> bool {
    CREDENTIALS.contains(name)
        || matches!(
            name.as_str(),
            "age"
                | "authentication-info"
                | "cache-control"
                | "content-encoding"
                | "content-length"
                | "content-location"
                | "content-range"
                | "content-type"
                | "date"
                | "expect"
                | "expires"
                | "host"
                | "location"
                | "max-forwards"
                | "pragma"
                | "range"
                | "retry-after"
                | "retry-after-ms"
                | "trailer"
                | "vary"
                | "www-authenticate"
                | "x-request-id"
                | "x-should-retry"
                | "x-upstream-request-id"
        )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(names: &[&'static str]) -> HeaderMap {
        names
            .iter()
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("X-Hop, close")))
            .collect()
    }

    fn names(trailers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    /// What no trailers may have, in either direction.
    const NEVER: [&str; 16] = [
        "authorization",
        "api-key",
        "x-api-key",
        "cookie",
        "proxy-authorization",
        "connection",
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "content-type",
        "host",
    ];

    #[test]
    fn requests_keep_what_is_allowed_and_may_be_there() {
        let mut allowed: Vec<_> = NEVER.iter().map(|name| HeaderName::from_static(name)).collect();
        allowed.push(HeaderName::from_static("x-sum"));
        let mut trailers = map(&NEVER);
        trailers.extend(map(&["x-sum", "x-other", "grpc-status"]));
        strip_request_trailers(&mut trailers);
        assert_eq!(names(&trailers), ["grpc-status", "x-other", "x-sum"]);
        trailers.extend(map(&NEVER));
        retain_request_trailers(&mut trailers, &allowed);
        assert_eq!(names(&trailers), ["x-sum"]);
        // A name in `Connection` is the hop's, whatever it is.
        assert!(
            allowed.iter().all(|name| may_be_trailer(name) == ["x-sum", "x-hop"].contains(&name.as_str()))
        );
        retain_request_trailers(&mut trailers, &[]);
        assert!(trailers.is_empty());
    }

    #[test]
    fn responses_keep_all_but_what_is_of_the_head_the_hop_or_the_site() {
        let mut trailers = map(&NEVER);
        trailers.extend(map(&["set-cookie", "alt-svc", "access-control-allow-origin", "x-request-id"]));
        trailers.extend(map(&[
            "cache-control",
            "location",
            "retry-after",
            "proxy-status",
            "x-towergate-model",
        ]));
        trailers.extend(map(&["etag", "grpc-message", "grpc-status", "server-timing", "x-sum"]));
        retain_response_trailers(&mut trailers);
        assert_eq!(names(&trailers), ["etag", "grpc-message", "grpc-status", "server-timing", "x-sum"]);
    }
}
