//! Every layer of this crate, held to the contract: a line or two for each.
//!
//! The expectations say what a layer does by design: which header it consumes, that it collects the
//! request, that it answers errors itself, and how to see that it holds nothing.

#[allow(unused_imports, reason = "which of them are used depends on the features under test")]
use super::{
    expect::{Clause, Expect},
    probe::holds,
};

#[cfg(feature = "request-id")]
#[tokio::test(start_paused = true)]
async fn request_id() {
    use towergate_layers::request_id::RequestIdLayer;
    holds(RequestIdLayer::new, Expect::default()).await;
}

#[cfg(feature = "auth")]
#[tokio::test(start_paused = true)]
async fn auth() {
    use towergate_layers::auth::AuthLayer;
    let expect = || Expect::default().header("cookie", "a=b").consumes("cookie");
    holds(|| AuthLayer::new(None), expect()).await;
    holds(AuthLayer::pass_through, expect().header("authorization", "Bearer caller")).await;
}

#[cfg(feature = "client-auth")]
#[tokio::test(start_paused = true)]
async fn client_auth() {
    use towergate_core::label::Label;
    use towergate_layers::client_auth::{ClientAuthLayer, ClientKey, ClientKeys};
    let key = ClientKey::new(&secrecy::SecretString::from("tg-alice")).unwrap();
    let keys = ClientKeys::new([(Label::new("alice"), key)]).unwrap();
    let expect = Expect::default().header("x-api-key", "tg-alice").consumes("x-api-key");
    holds(|| ClientAuthLayer::new(keys.clone()), expect).await;
    holds(ClientAuthLayer::off, Expect::default().header("x-api-key", "tg-alice")).await;
}

#[cfg(feature = "limit")]
#[tokio::test(start_paused = true)]
async fn limit() {
    use towergate_layers::limit::LimitLayer;
    let layer = LimitLayer::new(2);
    let in_flight = layer.in_flight();
    holds(|| layer.clone(), Expect::default().released(move || in_flight.count() == 0)).await;
}

#[cfg(feature = "catch-panic")]
#[tokio::test(start_paused = true)]
async fn catch_panic() {
    use towergate_core::{Error, Route, protocol::RenderError};
    use towergate_layers::catch_panic::CatchPanicLayer;

    struct Plain;
    impl RenderError for Plain {
        fn body(&self, _: http::StatusCode, error: &Error) -> bytes::Bytes {
            error.to_string().into()
        }

        fn content_type(&self) -> http::HeaderValue {
            http::HeaderValue::from_static("text/plain")
        }

        fn event(&self, _: Option<&'static Route>, _: &Error) -> bytes::Bytes {
            bytes::Bytes::new()
        }
    }

    holds(|| CatchPanicLayer::new(Plain), Expect::default()).await;
}
