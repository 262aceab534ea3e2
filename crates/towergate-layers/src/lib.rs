//! The tower layers of towergate: one module and one cargo feature each, usable around any service.
//!
//! None of them knows OpenAI: what is a provider's own comes in through the traits of
//! [`towergate_core::protocol`]. None of them knows the order of the others: that is the gateway's.
//!
//! | feature | layer | what it does |
//! |---|---|---|
//! | `request-id` | [`RequestIdLayer`](request_id::RequestIdLayer) | every answer carries an id |
//! | `trace` | [`TraceLayer`](trace::TraceLayer) | a span and the log lines, for a request or an attempt |
//! | `metrics` | [`MetricsLayer`](metrics::MetricsLayer) | one outcome for each request, or attempt |
//! | `catch-panic` | [`CatchPanicLayer`](catch_panic::CatchPanicLayer) | a panic is an answer, not a dead connection |
//! | `respond` | [`RespondLayer`](respond::RespondLayer) | any error becomes an answer of the provider's shape |
//! | `guard` | [`GuardLayer`](guard::GuardLayer) | keeps web pages out that were not let in |
//! | `client-auth` | [`ClientAuthLayer`](client_auth::ClientAuthLayer) | who may come in |
//! | `limit` | [`LimitLayer`](limit::LimitLayer) | requests in flight, shed at once |
//! | `timeout` | [`TotalTimeoutLayer`](timeout::TotalTimeoutLayer), [`AttemptTimeoutLayer`](timeout::AttemptTimeoutLayer) | the clocks |
//! | `intake` | [`IntakeLayer`](intake::IntakeLayer) | route, size limits, a shallow look at the body |
//! | `retry` | [`RetryLayer`](retry::RetryLayer) | attempts, backoff, `Retry-After`, budget |
//! | `commit` | [`CommitLayer`](commit::CommitLayer) | hold the head until the answer is known to be one |
//! | `breaker` | [`BreakerLayer`](breaker::BreakerLayer) | a provider that fails is set aside |
//! | `key-ring` | [`KeyRingLayer`](key_ring::KeyRingLayer) | one of several keys for each attempt |
//! | `auth` | [`AuthLayer`](auth::AuthLayer) | the caller's credentials out, the provider's in |
//!
//! # Bodies and errors
//!
//! Request bodies may be of any type whose data is [`Bytes`](bytes::Bytes): `Full`, axum's, hyper's `Incoming`. Most layers
//! pass the type on. Retry, the clocks and intake need to keep the body, or to watch it, and hand a
//! [`Body`](towergate_core::Body) to the service inside; where that wants another type, one `map_request` between them
//! makes it. Layers that can fail by themselves have the error [`BoxError`](towergate_core::BoxError), for which an axum
//! router wants [`RespondLayer`](respond::RespondLayer) or a `HandleErrorLayer` around them.
//!
//! Here around a service that knows nothing of this crate:
//!
//! ```
//! # #[cfg(all(feature = "retry", feature = "request-id"))] {
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt as _};
//! use towergate_core::Body;
//! use towergate_layers::{request_id::RequestIdLayer, retry::RetryLayer};
//!
//! /// Takes what hyper's client takes: a body that it can name.
//! async fn theirs(_: Request<http_body_util::combinators::UnsyncBoxBody<Bytes, towergate_core::BoxError>>)
//! -> Result<Response<Full<Bytes>>, Infallible> {
//!     Ok(Response::new(Full::from("hi")))
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! let service = ServiceBuilder::new()
//!     .layer(RequestIdLayer::new())
//!     .layer(RetryLayer::new())
//!     .map_request(|request: Request<Body>| request.map(http_body_util::BodyExt::boxed_unsync))
//!     .service_fn(theirs);
//!
//! let answer = service.oneshot(Request::new(Full::<Bytes>::from("a question"))).await?;
//! assert!(answer.headers().contains_key("x-request-id"));
//! # Ok::<_, towergate_core::BoxError>(()) }).unwrap();
//! # }
//! ```

#[cfg(any(feature = "commit", feature = "respond", feature = "timeout"))]
mod alarm;
#[cfg(feature = "auth")]
pub mod auth;
#[cfg(feature = "breaker")]
pub mod breaker;
#[cfg(feature = "catch-panic")]
pub mod catch_panic;
#[cfg(feature = "client-auth")]
pub mod client_auth;
#[cfg(feature = "commit")]
pub mod commit;
#[cfg(any(feature = "metrics", feature = "trace"))]
mod ending;
#[cfg(feature = "guard")]
pub mod guard;
#[cfg(feature = "intake")]
pub mod intake;
#[cfg(feature = "key-ring")]
pub mod key_ring;
#[cfg(feature = "limit")]
pub mod limit;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(any(feature = "respond", feature = "trace"))]
mod report;
#[cfg(feature = "request-id")]
pub mod request_id;
#[cfg(feature = "respond")]
pub mod respond;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(all(test, any(feature = "commit", feature = "timeout")))]
mod scripted;
#[cfg(feature = "timeout")]
pub mod timeout;
#[cfg(feature = "trace")]
pub mod trace;

#[cfg(any(feature = "auth", feature = "client-auth", feature = "guard", feature = "limit"))]
mod refusable;
#[cfg(all(test, any(feature = "respond", feature = "trace")))]
mod test_log;
