//! towergate inside an axum app: at the root behind the app's own routes, or under a path.

use axum::{Router, routing::get};
use towergate::Gateway;

/// The app's own routes first; everything else is the gateway's, at `/v1/...`.
pub fn beside(gateway: Gateway) -> Router {
    Router::new().route("/", get(|| async { "this is the app" })).fallback_service(gateway)
}

/// The gateway under `/ai`: clients use the base URL `http://host/ai/v1`.
pub fn nested(gateway: Gateway) -> Router {
    Router::new().route("/", get(|| async { "this is the app" })).nest_service("/ai", gateway)
}
