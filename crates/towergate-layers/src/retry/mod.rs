//! Retry: repeats an attempt that failed in a way that may pass.
//!
//! # Where in the stack
//!
//! Around one provider, above everything that belongs to a single attempt (metrics, clocks,
//! credentials) and below the total timeout and the router. The wait between two attempts is
//! outside of the clocks of an attempt. A body in a response is never looked at: what is below must
//! hold back a head until it is known to be an answer (the commit layer does).
//!
//! # What it reads and writes
//!
//! | | reads | writes |
//! |---|---|---|
//! | request extensions | [`Deadline`], [`Patience`], [`MaxAttempts`], [`Standby`], [`CallerCredential`] | [`Attempt`]; the [`RequestRecord`]'s attempts and waits |
//! | request headers | the one named by [`unfunded_when`](RetryLayer::unfunded_when) | – |
//! | request body | – | a stream is kept, up to a cap, as it is sent |
//! | response extensions | [`Class`], [`RetryAfter`] (else status and headers) | [`GaveUp`] |
//! | response headers | `x-should-retry`, `retry-after-ms`, `Retry-After` | `x-should-retry: false` |
//!
//! A repeated request is the same request: method, URI, headers and body as they came in here. Of
//! its extensions only those that [`carry_over`] lists are there again, and what [`RetryLayer::carry`] names.
//!
//! # What happens
//!
//! - **An answer that is one** goes out unchanged.
//! - **A failure that the [`RetryPolicy`] would repeat** is dropped, and the next attempt follows
//!   after the wait: the time that the upstream asked for, exactly, else 1 s, 2 s, 4 s and so on.
//! - **A failure that cannot be repeated** goes out as it is. If it is an answer, its [`GaveUp`] says
//!   why: no attempt or no budget left, another provider that stands ready where this one would have to be
//!   waited for ([`Standby`]: after a clock that ran out, a wait that was asked for, no connection), a wait that is too long or that the request's deadline does
//!   not leave room for, a body that can't be sent again (also where the answer came before the
//!   upload was over), or a possible second bill. The official clients retry on their own, and
//!   attempts multiply; so the header `x-should-retry: false` stops them, but not where only the
//!   wait was too long, and never instead of the upstream's own. A refused credential and a used-up
//!   quota get it too.
//! - **Dropped** at any time, also while waiting: everything is dropped, nothing goes on.
//!
//! # What is tower's, and what is ours
//!
//! The loop is [`tower::retry`]: it drops the failed answer before the wait, and asks the inner
//! service for readiness before each attempt. Ours is its policy, since tower has none for HTTP; the
//! backoff, since tower's adds its jitter on top and does not begin at exact values; the budget,
//! since tower's rounds the ratio and locks; and the service around it, which makes the body
//! replayable first. tower does not ask a policy about a request that was not cloned, and so an
//! answer to it could not be marked: where there is nothing to be sent again, the policy gets an
//! empty stand-in.
//!
//! # Metrics
//!
//! | name | labels |
//! |---|---|
//! | `towergate_retries_total` | `provider`, `reason` (of [`Reason`]), `maybe_billed` (`true`, `false`) |
//! | `towergate_retry_budget_exhausted_total` | `provider` |
//!
//! # Example
//!
//! ```
//! use std::{convert::Infallible, sync::atomic::{AtomicU32, Ordering::Relaxed}, time::Duration};
//!
//! use http::{Request, Response, StatusCode};
//! use tower::{ServiceBuilder, ServiceExt as _, service_fn};
//! use towergate_core::Body;
//! use towergate_layers::retry::RetryLayer;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), towergate_core::BoxError> {
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//!
//! let flaky = service_fn(|_: Request<Body>| async {
//!     let status = match CALLS.fetch_add(1, Relaxed) {
//!         0 => StatusCode::SERVICE_UNAVAILABLE,
//!         _ => StatusCode::OK,
//!     };
//!     Ok::<_, Infallible>(Response::builder().status(status).body(Body::empty()).unwrap())
//! });
//! let service = ServiceBuilder::new()
//!     .layer(RetryLayer::new().max_retries(2).max_backoff(Duration::from_secs(5)))
//!     .service(flaky);
//!
//! let answer = service.oneshot(Request::new(Body::from("{}"))).await?;
//! assert_eq!(answer.status(), StatusCode::OK);
//! assert_eq!(CALLS.load(Relaxed), 2);
//! # Ok(())
//! # }
//! ```
//!
//! [`Attempt`]: towergate_core::context::Attempt
//! [`CallerCredential`]: towergate_core::context::CallerCredential
//! [`Class`]: towergate_core::Class
//! [`Deadline`]: towergate_core::context::Deadline
//! [`GaveUp`]: towergate_core::context::GaveUp
//! [`MaxAttempts`]: towergate_core::context::MaxAttempts
//! [`Patience`]: towergate_core::context::Patience
//! [`RequestRecord`]: towergate_core::context::RequestRecord
//! [`RetryAfter`]: towergate_core::classify::RetryAfter
//! [`Standby`]: towergate_core::context::Standby
//! [`carry_over`]: towergate_core::context::carry_over

mod attempt;
mod backoff;
mod budget;
mod counters;
mod layer;
mod policy;
mod replay;
mod service;
mod session;

#[cfg(test)]
mod tests;

pub use self::{
    budget::BudgetConfig,
    layer::RetryLayer,
    policy::{Attempted, DefaultPolicy, Reason, RetryPolicy, Verdict},
    replay::replayable,
    service::{ResponseFuture, Retry},
};
