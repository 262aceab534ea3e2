//! CORS: how pages of other origins may call the gateway, and read what comes back (Fetch, section 3.3).

use std::time::Duration;

use http::{
    HeaderName, Method,
    header::{CONTENT_DISPOSITION, LOCATION, RETRY_AFTER},
};
use tower_http::cors::{AllowHeaders, AllowOrigin, AllowPrivateNetwork, CorsLayer};
use towergate_core::headers::{
    PROXY_STATUS, RETRY_AFTER_MS, X_REQUEST_ID, X_SHOULD_RETRY, X_TOWERGATE_ATTEMPTS, X_TOWERGATE_FALLBACKS,
    X_TOWERGATE_MODEL, X_TOWERGATE_MODIFIED, X_TOWERGATE_OVERHEAD_MS, X_TOWERGATE_PROVIDER,
    X_UPSTREAM_REQUEST_ID,
};
use towergate_layers::guard::AllowedOrigins;

/// How long a browser may keep what a preflight said: the longest that Chromium does.
const MAX_AGE: Duration = Duration::from_secs(7200);

/// What the API has for methods.
const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// What a page may read of a response's head, beyond what every page may: ids, how the request went, and what is
/// left of the limits, as OpenAI names them.
const EXPOSED: [HeaderName; 22] = [
    X_REQUEST_ID,
    X_UPSTREAM_REQUEST_ID,
    X_SHOULD_RETRY,
    RETRY_AFTER,
    RETRY_AFTER_MS,
    PROXY_STATUS,
    X_TOWERGATE_ATTEMPTS,
    X_TOWERGATE_FALLBACKS,
    X_TOWERGATE_MODEL,
    X_TOWERGATE_MODIFIED,
    X_TOWERGATE_OVERHEAD_MS,
    X_TOWERGATE_PROVIDER,
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
    HeaderName::from_static("openai-processing-ms"),
    HeaderName::from_static("openai-version"),
    CONTENT_DISPOSITION,
    LOCATION,
];

/// Lets pages of these origins call with any header of theirs. Cookies are not among them: the gateway has none.
pub(crate) fn layer(origins: &AllowedOrigins) -> CorsLayer {
    let allowed = if origins.is_any() {
        AllowOrigin::any()
    } else {
        let origins = origins.clone();
        AllowOrigin::predicate(move |origin, _| origins.allows(origin.as_bytes()))
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods(METHODS)
        .allow_headers(AllowHeaders::mirror_request())
        .allow_private_network(AllowPrivateNetwork::yes())
        .expose_headers(EXPOSED)
        .max_age(MAX_AGE)
}
