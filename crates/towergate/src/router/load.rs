//! How busy and how fast a provider is, for the strategies that go by it.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;
use towergate_core::{
    Body, BoxError, Class, Error, Facts,
    body::{End, Guard, Observe, Observed},
    classify::RetryAfter,
};

use super::verdict::{Verdict, judge};
use crate::ProviderService;

/// What a provider is taken for whose speed is not known yet and that is busy already.
const UNKNOWN: Duration = Duration::from_secs(1);
/// How fast what was seen loses its weight.
const DECAY: Duration = Duration::from_secs(10);
/// Seconds; what is below says nothing.
const NEGLIGIBLE: f64 = 0.001;
/// A failure counts as at least so slow: else one that fails at once would look like the fastest.
const FAILURE: Duration = Duration::from_secs(5);
/// A refusal with a wait counts as that wait, up to this.
const LONGEST: Duration = Duration::from_secs(300);

/// How busy a provider is with everything, and how fast with what one target is.
#[derive(Debug, Clone, Default)]
pub(super) struct Load {
    in_flight: Arc<AtomicUsize>,
    /// To the first content of a stream, and to whole answers: they have nothing to do with each other.
    latency: Arc<[Mutex<PeakEwma>; 2]>,
}

/// An average of latencies that goes up at once and comes down slowly.
#[derive(Debug, Clone, Copy, Default)]
struct PeakEwma(Option<(Duration, Instant)>);

/// A provider's service, watched.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    inner: ProviderService,
    load: Load,
}

pin_project! {
    pub(super) struct WatchedFuture {
        #[pin]
        inner: <ProviderService as Service<Request<Body>>>::Future,
        under_way: Option<Guard<UnderWay>>,
        load: Load,
        began: Instant,
        stream: bool,
    }
}

/// Counts as in flight until it is dropped or its body has ended.
#[derive(Debug)]
struct UnderWay(Arc<AtomicUsize>);

// === impl Load ===

impl Load {
    /// That of another target of the same provider.
    pub(super) fn sibling(&self) -> Self {
        Self { in_flight: Arc::clone(&self.in_flight), latency: Arc::default() }
    }

    pub(super) fn in_flight(&self) -> f64 {
        self.in_flight.load(Relaxed) as f64
    }

    /// How long a further request is likely to wait, in seconds.
    pub(super) fn expected_wait(&self, stream: bool) -> f64 {
        let in_flight = self.in_flight();
        let seen = *self.latency[usize::from(stream)].lock().unwrap_or_else(PoisonError::into_inner);
        match seen.at(Instant::now()) {
            Some(latency) => latency * (in_flight + 1.0),
            // Nobody knows: worth one try.
            None => UNKNOWN.as_secs_f64() * in_flight,
        }
    }

    fn saw(&self, stream: bool, latency: Duration) {
        let mut seen = self.latency[usize::from(stream)].lock().unwrap_or_else(PoisonError::into_inner);
        seen.add(latency, Instant::now());
    }
}

// === impl PeakEwma ===

impl PeakEwma {
    /// In seconds; what is not renewed fades, so that whoever was slow once is tried again.
    fn at(self, now: Instant) -> Option<f64> {
        let (latency, seen) = self.0?;
        let age = now.saturating_duration_since(seen).as_secs_f64();
        Some((latency.as_secs_f64() * (-age / DECAY.as_secs_f64()).exp()).max(NEGLIGIBLE))
    }

    fn add(&mut self, latency: Duration, now: Instant) {
        let next = match self.0 {
            Some((average, seen)) if latency < average => {
                let age = now.saturating_duration_since(seen).as_secs_f64();
                let kept = (-age / DECAY.as_secs_f64()).exp();
                average.mul_f64(kept) + latency.mul_f64(1.0 - kept)
            }
            _ => latency,
        };
        self.0 = Some((next, now));
    }
}

// === impl Watched ===

impl Watched {
    pub(super) fn new(inner: ProviderService, load: Load) -> Self {
        Self { inner, load }
    }
}

impl Service<Request<Body>> for Watched {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = WatchedFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> WatchedFuture {
        let stream = request.extensions().get::<Arc<Facts>>().is_some_and(|facts| facts.stream);
        let in_flight = Arc::clone(&self.load.in_flight);
        in_flight.fetch_add(1, Relaxed);
        WatchedFuture {
            under_way: Some(Guard::new(UnderWay(in_flight))),
            inner: self.inner.call(request),
            load: self.load.clone(),
            began: Instant::now(),
            stream,
        }
    }
}

impl Future for WatchedFuture {
    type Output = Result<Response<Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        if let Some(latency) = latency(&result, this.began.elapsed()) {
            this.load.saw(*this.stream, latency);
        }
        let under_way = this.under_way.take();
        Poll::Ready(result.map(|response| match under_way {
            Some(guard) => response.map(|body| Body::new(Observed::new(body, guard))),
            None => response,
        }))
    }
}

/// What a result says of how fast a provider is; a refusal that is the caller's own doing says nothing.
fn latency(result: &Result<Response<Body>, BoxError>, took: Duration) -> Option<Duration> {
    match judge(result) {
        Verdict::Final | Verdict::OtherModel(_) => {
            let status = result.as_ref().ok()?.status();
            (Class::of_status(status) == Class::Success).then_some(took)
        }
        Verdict::Next(_) => {
            let asked = match result {
                Ok(response) => response.extensions().get().map(|RetryAfter(wait)| *wait),
                Err(error) => Error::find(&**error).and_then(Error::retry_after),
            };
            Some(took.max(FAILURE).max(asked.unwrap_or_default().min(LONGEST)))
        }
    }
}

// === impl UnderWay ===

impl Observe for UnderWay {
    fn on_end(self, _: End<'_>) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_up_at_once_and_comes_down_slowly() {
        let load = Load::default();
        let wait = || (load.expected_wait(true) * 1000.0).round();
        assert_eq!(wait(), 0.0, "worth a try");
        load.saw(true, ms(100));
        assert_eq!(wait(), 100.0);
        load.saw(true, ms(900));
        assert_eq!(wait(), 900.0);
        tokio::time::advance(Duration::from_secs(1)).await;
        load.saw(true, ms(100));
        assert!((800.0..850.0).contains(&wait()), "{}", wait());
        assert_eq!(load.expected_wait(false), 0.0, "streams say nothing of whole answers");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(wait() < 5.0, "one that was slow once is tried again");
    }

    #[tokio::test(start_paused = true)]
    async fn in_flight_counts_until_the_body_ends() {
        let service = tower::service_fn(async |_: Request<Body>| Ok(Response::new(Body::from("x"))));
        let load = Load::default();
        let sibling = load.sibling();
        let mut watched = Watched::new(ProviderService::new(service), load.clone());
        let calling = watched.call(Request::new(Body::empty()));
        assert_eq!(sibling.in_flight(), 1.0);
        drop(calling);
        assert_eq!(sibling.in_flight(), 0.0);
        let response = watched.call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(sibling.in_flight(), 1.0);
        drop(response);
        assert_eq!(sibling.in_flight(), 0.0);
    }

    #[test]
    fn what_fails_at_once_does_not_look_fast() {
        let of = |status: u16, wait: Option<u64>| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            wait.map(|wait| response.extensions_mut().insert(RetryAfter(Duration::from_secs(wait))));
            latency(&Ok(response), ms(3))
        };
        assert_eq!(of(200, None), Some(ms(3)));
        assert_eq!(
            (of(503, None), of(429, None), of(401, None)),
            (Some(FAILURE), Some(FAILURE), Some(FAILURE))
        );
        assert_eq!((of(429, Some(20)), of(429, Some(9999))), (Some(Duration::from_secs(20)), Some(LONGEST)));
        assert_eq!((of(400, None), of(404, None)), (None, None));
    }
}
