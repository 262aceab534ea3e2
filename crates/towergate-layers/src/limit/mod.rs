//! So many requests in flight, and no more: the rest is turned away at once.
//!
//! **Place.** Inside `Respond`, which makes the 503, and `ClientAuth`; outside of the clocks and of
//! whatever reads a body.
//!
//! A request takes a permit in `call` and holds it until the response's body has ended, failed or
//! been dropped; until the inner call has failed; or until the future is dropped before the head.
//! The permits are one number, shared by all clones and by every service that one layer value makes.
//! Taking one never waits and is no tokio resource, so it sheds neither too early, because a task's
//! budget is spent, nor after a queue.
//!
//! **Request, response.** Not touched; the response's body is wrapped, and its error widened.
//!
//! **Errors.** Without a free permit: [`ErrorKind::Overloaded`], which says to come again in 1 s; the
//! inner service is not called.
//!
//! tower's `ConcurrencyLimit` gives its permit back with the head, when a stream has just begun, and
//! waits for a permit instead of turning away.
//!
//! ```
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//! use towergate_core::{Body, BoxError, Error, ErrorKind};
//! use towergate_layers::limit::LimitLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let layer = LimitLayer::new(1);
//! let in_flight = layer.in_flight();
//! let service = layer.layer(service_fn(async |_: Request<()>| {
//!     Ok::<_, BoxError>(Response::new(Body::from("hi")))
//! }));
//!
//! let first = service.clone().oneshot(Request::new(())).await?;
//! assert_eq!(in_flight.count(), 1);
//! let second = service.clone().oneshot(Request::new(())).await.unwrap_err();
//! assert_eq!(Error::find(&*second).unwrap().kind(), ErrorKind::Overloaded);
//! drop(first);
//! assert_eq!(in_flight.count(), 0);
//! # Ok(())
//! # }
//! ```

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    BoxError, Error, ErrorKind,
    body::{End, Guard, Observe, Observed},
};

use crate::refusable::Refusable;

#[cfg(test)]
mod tests;

const SETTING: &str = "server.max_in_flight";
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Puts [`Limit`] around a service; all services that it makes share its permits.
#[derive(Debug, Clone)]
pub struct LimitLayer {
    permits: InFlight,
}

/// Lets in as many requests at a time as there are permits.
#[derive(Debug, Clone)]
pub struct Limit<S> {
    inner: S,
    permits: InFlight,
}

/// How many requests are in flight, out of how many. Cloning shares it.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    limit: usize,
    count: AtomicUsize,
}

/// The right of one request to be in flight; given back when dropped. The default is none.
#[derive(Debug, Default)]
pub struct Permit(Option<InFlight>);

pin_project! {
    /// The future of [`Limit`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Refusable<F>,
        permit: Permit,
    }
}

// === impl LimitLayer ===

impl LimitLayer {
    /// At most `max` requests at a time; with 0 every request is turned away.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { permits: InFlight(Arc::new(Counter { limit: max, count: AtomicUsize::new(0) })) }
    }

    /// Any number of requests; they are counted all the same.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    /// A view of the number in flight.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        self.permits.clone()
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limit { inner, permits: self.permits.clone() }
    }
}

// === impl InFlight ===

impl InFlight {
    /// Requests in flight at present.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.count.load(Relaxed)
    }

    /// How many may be; `None` where there is no limit.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        Some(self.0.limit).filter(|limit| *limit != usize::MAX)
    }

    /// The number guards no other memory: `Relaxed` is enough.
    fn acquire(&self) -> Option<Permit> {
        let one_more = |count: usize| (count < self.0.limit).then_some(count + 1);
        self.0.count.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        Some(Permit(Some(self.clone())))
    }

    fn refusal(&self) -> Error {
        let message = format!("the gateway has {} requests in flight, and takes no more", self.0.limit);
        Error::new(ErrorKind::Overloaded, message).with_setting(SETTING).with_retry_after(COME_AGAIN)
    }
}

// === impl Permit ===

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(InFlight(counter)) = &self.0 {
            counter.count.fetch_sub(1, Relaxed);
        }
    }
}

impl Observe for Permit {
    fn on_end(self, _: End<'_>) {}
}

// === impl Limit ===

impl<S, B, ResBody> Service<Request<B>> for Limit<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    ResBody: http_body::Body<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<Observed<ResBody, Permit>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.permits.acquire() {
            Some(permit) => ResponseFuture { inner: Refusable::called(self.inner.call(request)), permit },
            None => ResponseFuture {
                inner: Refusable::refused(self.permits.refusal()),
                permit: Permit::default(),
            },
        }
    }
}

// === impl ResponseFuture ===

impl<F, ResBody, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    E: Into<BoxError>,
    ResBody: http_body::Body<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Output = Result<Response<Observed<ResBody, Permit>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        // An error gives the permit back here, though the future may live on.
        let permit = std::mem::take(this.permit);
        Poll::Ready(answer.map(|response| response.map(|body| Observed::new(body, Guard::new(permit)))))
    }
}
