//! A stack of one's own from single layers of towergate: no gateway, just what is wanted.

use std::time::Duration;

use http::{Request, Response};
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use towergate::{
    Body,
    core::{BoxError, credentials::CredentialSource},
    layers::{
        auth::AuthLayer, request_id::RequestIdLayer, retry::RetryLayer, timeout::AttemptTimeoutLayer,
        timeout::Timeouts,
    },
    openai::service::OpenAi,
};

/// A service to call OpenAI with: an id on every request, two retries, ten seconds for each attempt,
/// a fresh key for each attempt. Errors stay errors; nothing is turned into an answer.
pub type Stack = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// Builds it around a leaf.
pub fn stack(openai: OpenAi, key: impl CredentialSource) -> Stack {
    let clocks = Timeouts::uniform(Duration::from_secs(10));
    let service = ServiceBuilder::new()
        .layer(RequestIdLayer::new())
        .layer(RetryLayer::new().max_retries(2))
        .layer(AttemptTimeoutLayer::new(&clocks))
        .layer(AuthLayer::new(key))
        .service(openai);
    BoxCloneSyncService::new(
        ServiceBuilder::new().map_response(|r: Response<_>| r.map(Body::new)).service(service),
    )
}
