//! Layers that each break one clause: the probe must find that clause, and no other.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tower::{Layer, Service};
use towergate_core::{Body, BoxError};

use super::{
    expect::{Clause, Expect},
    probe::check,
};

/// What is wrong with a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing: the control.
    None,
    CallsFreshClone,
    TakesPendingForReady,
    ClonesReadiness,
    WaitsOnReadyError,
    WaitsOnCallError,
    HidesCause,
    SpawnsCall,
    LeaksBody,
    /// Counts down only when the body was read to `None`.
    CountsNoDrop,
    RewritesPath,
    DropsRequestTrailers,
    DropsHead,
    UppercasesData,
    SwallowsTrailers,
    EndsOnError,
    StallsAfterError,
    HidesEndOfStream,
    ForgetsSizeHint,
}

const FAULTS: [(Fault, Clause); 18] = [
    (Fault::CallsFreshClone, Clause::ReadyBeforeCall),
    (Fault::TakesPendingForReady, Clause::ReadyBeforeCall),
    (Fault::ClonesReadiness, Clause::CloneIndependence),
    (Fault::WaitsOnReadyError, Clause::PollReadyError),
    (Fault::WaitsOnCallError, Clause::CallError),
    (Fault::HidesCause, Clause::CallError),
    (Fault::SpawnsCall, Clause::DropBeforeHead),
    (Fault::LeaksBody, Clause::DropMidBody),
    (Fault::CountsNoDrop, Clause::Released),
    (Fault::RewritesPath, Clause::RequestUnharmed),
    (Fault::DropsRequestTrailers, Clause::RequestUnharmed),
    (Fault::DropsHead, Clause::HeadUnharmed),
    (Fault::UppercasesData, Clause::Frames),
    (Fault::SwallowsTrailers, Clause::Trailers),
    (Fault::EndsOnError, Clause::ErrorFrame),
    (Fault::StallsAfterError, Clause::ErrorFrame),
    (Fault::HidesEndOfStream, Clause::EndOfStream),
    (Fault::ForgetsSizeHint, Clause::SizeHint),
];

#[tokio::test(start_paused = true)]
async fn a_sound_layer_violates_nothing() {
    assert_eq!(probe(Fault::None).await, []);
}

#[tokio::test(start_paused = true)]
async fn each_fault_is_found_and_named() {
    for (fault, clause) in FAULTS {
        assert_eq!(probe(fault).await, [clause], "{fault:?}");
    }
}

#[test]
fn each_clause_can_be_violated() {
    for clause in Clause::ALL {
        assert!(FAULTS.iter().any(|(_, broken)| *broken == clause), "{clause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_exception_covers_its_clause_alone() {
    let except = |clause| Expect::default().except(clause, "the test wants it");
    let layer = || Broken::new(Fault::SwallowsTrailers);
    assert_eq!(check(layer, &except(Clause::Trailers)).await, []);
    assert_eq!(check(layer, &except(Clause::Frames)).await, [Clause::Trailers]);
}

async fn probe(fault: Fault) -> Vec<Clause> {
    let layer = Broken::new(fault);
    let count = Arc::clone(&layer.count);
    let expect = Expect::default().released(move || count.load(Relaxed) == 0);
    check(|| layer.clone(), &expect).await
}

#[derive(Debug, Clone)]
struct Broken {
    fault: Fault,
    count: Arc<AtomicUsize>,
}

#[derive(Debug, Clone)]
struct BrokenService<S> {
    inner: S,
    layer: Broken,
    /// Copied by `Clone`: right only where nobody looks at it.
    ready: bool,
}

#[derive(Debug)]
struct BrokenBody {
    inner: Option<Body>,
    fault: Fault,
    failed: bool,
    count: Count,
}

/// Counts down when dropped, unless that is what is broken.
#[derive(Debug)]
struct Count {
    layer: Broken,
    done: bool,
}

// === impl Broken ===

impl Broken {
    fn new(fault: Fault) -> Self {
        Self { fault, count: Arc::default() }
    }
}

impl<S> Layer<S> for Broken {
    type Service = BrokenService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BrokenService { inner, layer: self.clone(), ready: false }
    }
}

// === impl Count ===

impl Count {
    fn up(layer: &Broken) -> Self {
        layer.count.fetch_add(1, Relaxed);
        Self { layer: layer.clone(), done: false }
    }

    fn down(&mut self) {
        if !std::mem::replace(&mut self.done, true) {
            self.layer.count.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        if self.layer.fault != Fault::CountsNoDrop {
            self.down();
        }
    }
}

// === impl BrokenService ===

impl<S> Service<Request<Body>> for BrokenService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Clone,
    S::Future: Send + 'static,
{
    type Response = Response<BrokenBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let fault = self.layer.fault;
        if fault == Fault::ClonesReadiness && self.ready {
            return Poll::Ready(Ok(()));
        }
        let polled = self.inner.poll_ready(cx);
        self.ready = polled.is_ready();
        match polled {
            Poll::Pending if fault == Fault::TakesPendingForReady => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) if fault == Fault::WaitsOnReadyError => Poll::Pending,
            polled => polled,
        }
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let layer = self.layer.clone();
        let fault = layer.fault;
        self.ready = false;
        if fault == Fault::RewritesPath {
            *request.uri_mut() = http::Uri::from_static("/v1/files");
        }
        if fault == Fault::DropsRequestTrailers {
            request = request.map(|body| Body::new(NoTrailers(body)));
        }
        let mut count = Count::up(&layer);
        let inner = if fault == Fault::CallsFreshClone {
            self.inner.clone().call(request)
        } else {
            self.inner.call(request)
        };
        Box::pin(async move {
            let answer = if fault == Fault::SpawnsCall {
                tokio::spawn(inner).await.unwrap_or_else(|error| Err(error.into()))
            } else {
                inner.await
            };
            let response = match answer {
                Err(_) if fault == Fault::WaitsOnCallError => pending().await,
                Err(_) if fault == Fault::HidesCause => return Err("it failed".into()),
                other => other?,
            };
            let (mut parts, body) = response.into_parts();
            if fault == Fault::DropsHead {
                parts = Response::new(()).into_parts().0;
            }
            if body.is_end_stream() {
                count.down();
            }
            Ok(Response::from_parts(parts, BrokenBody { inner: Some(body), fault, failed: false, count }))
        })
    }
}

// === impl BrokenBody ===

impl http_body::Body for BrokenBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.failed && this.fault == Fault::StallsAfterError {
            return Poll::Pending;
        }
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let polled = ready!(Pin::new(&mut *inner).poll_frame(cx));
        let over = matches!(&polled, None | Some(Err(_))) || inner.is_end_stream();
        if over && (polled.is_none() || this.fault != Fault::CountsNoDrop) {
            this.count.down();
        }
        Poll::Ready(match polled {
            Some(Err(_)) if this.fault == Fault::EndsOnError => None,
            Some(Err(error)) => {
                this.failed = true;
                Some(Err(error))
            }
            Some(Ok(frame)) if frame.is_trailers() && this.fault == Fault::SwallowsTrailers => None,
            Some(Ok(frame)) if this.fault == Fault::UppercasesData => {
                Some(Ok(frame.map_data(|data| data.to_ascii_uppercase().into())))
            }
            polled => polled,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.fault != Fault::HidesEndOfStream && self.inner.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) if self.fault != Fault::ForgetsSizeHint => inner.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for BrokenBody {
    fn drop(&mut self) {
        if self.fault == Fault::LeaksBody {
            let inner = self.inner.take();
            tokio::spawn(async move {
                let _kept = inner;
                pending::<()>().await;
            });
        }
    }
}

/// A body without its trailers.
struct NoTrailers(Body);

impl http_body::Body for NoTrailers {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.filter(|frame| !frame.as_ref().is_ok_and(Frame::is_trailers)))
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
