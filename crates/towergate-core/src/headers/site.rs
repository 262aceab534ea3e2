//! The fields of a response that speak for the upstream's own site, not for the response.

use http::HeaderName;

/// Whether a field acts on the origin, the caches or the web server that a response passes on its way to the client. These
/// are the gateway's there, and the upstream has no say in them.
pub(super) fn is_upstreams_own(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        // What browsers keep of an origin, or do to it: RFC 6265, RFC 7838, RFC 6797, RFC 7469, RFC 9163, Clear Site Data,
        // HTML (`Refresh`), Service Workers, Client Hints, Reporting and Network Error Logging.
        "set-cookie"
            | "set-cookie2"
            | "alt-svc"
            | "strict-transport-security"
            | "public-key-pins"
            | "public-key-pins-report-only"
            | "expect-ct"
            | "clear-site-data"
            | "refresh"
            | "service-worker-allowed"
            | "accept-ch"
            | "accept-ch-lifetime"
            | "critical-ch"
            | "nel"
            | "report-to"
            | "reporting-endpoints"
            // Who may read the response in a browser is for the gateway to say (Fetch, CORS).
            | "timing-allow-origin"
            // RFC 9209: the gateway's own takes its place.
            | "proxy-status"
            // Instructions for the upstream's own content delivery network (RFC 9213; the others are older).
            | "cdn-cache-control"
            | "surrogate-control"
            | "edge-control"
            // Instructions for its own web server: one in front of the gateway would obey them, and send a file of its own.
            // `X-Accel-Buffering` does no more than keep a stream flowing.
            | "x-accel-redirect"
            | "x-accel-expires"
            | "x-accel-limit-rate"
            | "x-accel-charset"
            | "x-sendfile"
            | "x-lighttpd-send-file"
            | "x-litespeed-location"
            | "x-reproxy-url"
    ) || name.starts_with("access-control-")
        || name.starts_with("x-towergate-")
        || name.ends_with("-cdn-cache-control")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_an_origin_is_the_upstreams_own() {
        for own in [
            "set-cookie",
            "Clear-Site-Data",
            "refresh",
            "proxy-status",
            "access-control-allow-origin",
            "access-control-allow-credentials",
            "cloudflare-cdn-cache-control",
            "x-accel-redirect",
            "x-towergate-provider",
        ] {
            assert!(is_upstreams_own(&own.parse().unwrap()), "{own}");
        }
        for passes in [
            "cache-control",
            "content-type",
            "etag",
            "link",
            "retry-after",
            "server",
            "www-authenticate",
            "x-accel-buffering",
            "x-content-type-options",
            "x-ratelimit-remaining-tokens",
            "x-request-id",
        ] {
            assert!(!is_upstreams_own(&passes.parse().unwrap()), "{passes}");
        }
    }
}
