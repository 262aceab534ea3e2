//! The clocks of a request: [`TotalTimeoutLayer`] around everything, [`AttemptTimeoutLayer`] around
//! each attempt.
//!
//! tower's own `Timeout` ends with the head, and a limit on the whole body kills a long stream that
//! is perfectly well. An answer that is generated needs several clocks, and each that goes off says
//! which it was and which setting changes it.
//!
//! | clock | runs | layer |
//! |---|---|---|
//! | request body | while the client's upload is waited for | total |
//! | head | from the call, or from the last piece of an upload, to the head of one attempt | attempt |
//! | first event | while a stream's first data event is waited for | attempt |
//! | idle | while the next event is waited for | attempt |
//! | total | from the call to the end of the body, over all attempts | total |
//! | client patience | from the call to the head of our answer | total |
//!
//! Connecting is the leaf's own.
//!
//! # Where they stand
//!
//! The total goes outside of intake, so that it covers the upload, and outside of retry. The attempt's
//! goes inside of retry and of commit, so that a slow first event is an error that can be retried,
//! and directly around what sends the request.
//!
//! # What they read and write
//!
//! * [`TotalTimeoutLayer`] sets [`Deadline`](towergate_core::context::Deadline), unless an earlier
//!   one is there, and [`Patience`](towergate_core::context::Patience), where a
//!   [header](TotalTimeoutLayer::patience_headers) tells it.
//! * [`AttemptTimeoutLayer`] reads `Deadline`, `Arc<Facts>` and
//!   [`AttemptClocks`](towergate_core::context::AttemptClocks) (in place of its own clocks) of the request, and
//!   `Arc<StreamState>` of the response. Without a `Deadline` its own total bounds the attempt.
//!
//! # What happens
//!
//! * **The answer is there in time**: it passes, in a body that its clocks watch. What is ready
//!   when a clock goes off has won: inner is polled first, timers after.
//! * **A clock goes off before the head**: the future ends with [`Error::timeout`]; what it waited
//!   for is dropped with it.
//! * **A clock goes off in the body**: the body ends with that error, and only `None` follows.
//! * **An error of what is inside** passes unchanged, but that an attempt which hits the deadline is
//!   reported with the length of the total that set it.
//! * **Dropped**, before the head or in the body: nothing is left behind.
//!
//! # What counts as silence
//!
//! Head, total and patience go by the wall clock. The gaps (upload, first event, idle) count only
//! the time in which somebody polls the body and the body has nothing: a client that does not read
//! its answer is not an idle upstream.
//!
//! In a stream only data events are progress; comments are not, so a stream of nothing else goes
//! idle. Inside one long event (an image of many megabytes over a slow line) every KiB is progress
//! too. A byte a second is not enough for that, and goes idle. Of other answers any piece is
//! progress; a trickle of those is ended by the total.
//!
//! A stream that flows is cut by the total alone. The body of a 101 is a
//! [tunnel](towergate_core::tunnel): its bytes are not seen here, so no clock of these bounds it.
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//!
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt as _, service_fn};
//! use towergate_core::{Body, Clock, Error, ErrorKind};
//! use towergate_layers::timeout::{AttemptTimeoutLayer, Timeouts, TotalTimeoutLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let timeouts = Timeouts::default().with_head(Duration::from_secs(10));
//! let service = ServiceBuilder::new()
//!     .layer(TotalTimeoutLayer::new(&timeouts))
//!     .layer(AttemptTimeoutLayer::new(&timeouts))
//!     .service(service_fn(|_: Request<Body>| async {
//!         std::future::pending::<Result<Response<Body>, Infallible>>().await
//!     }));
//!
//! let error = service.oneshot(Request::new(Body::empty())).await.unwrap_err();
//! let error = Error::find(&*error).unwrap();
//! assert_eq!(error.kind(), ErrorKind::Timeout(Clock::Head));
//! assert_eq!(error.setting(), Some("timeouts.head"));
//! # }
//! ```
//!
//! [`Error::timeout`]: towergate_core::Error::timeout

mod attempt;
mod body;
mod config;
mod total;
mod upload;

#[cfg(test)]
mod tests;

pub use self::{
    attempt::{AttemptFuture, AttemptTimeout, AttemptTimeoutLayer},
    body::ResponseBody,
    config::Timeouts,
    total::{TotalFuture, TotalTimeout, TotalTimeoutLayer},
};
