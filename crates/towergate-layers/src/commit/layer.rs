//! The layer, its settings and its service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{Body, BoxError, memory::MemoryBudget, protocol::Classify};

use super::future::{Asked, ResponseFuture};

/// Holds the head of an answer until it is known to be one; see the [module](super).
#[derive(Debug, Clone)]
pub struct CommitLayer {
    settings: Arc<Settings>,
}

/// The service of [`CommitLayer`].
#[derive(Debug, Clone)]
pub struct Commit<S> {
    inner: S,
    settings: Arc<Settings>,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) classify: Arc<dyn Classify>,
    pub(super) max_held: usize,
    pub(super) hold_max: Duration,
    pub(super) budget: MemoryBudget,
}

// === impl CommitLayer ===

impl CommitLayer {
    /// The default of [`max_held`](Self::max_held): 8 MiB.
    pub const MAX_HELD: usize = 8 * 1024 * 1024;
    /// The default of [`hold_max`](Self::hold_max): 15 s.
    pub const HOLD_MAX: Duration = Duration::from_secs(15);
    /// The default of [`budget`](Self::budget): 256 MiB for each layer made by [`new`](Self::new).
    pub const BUDGET: usize = 256 * 1024 * 1024;

    /// Reads errors with `classify`.
    pub fn new(classify: impl Classify) -> Self {
        Self {
            settings: Arc::new(Settings {
                classify: Arc::new(classify),
                max_held: Self::MAX_HELD,
                hold_max: Self::HOLD_MAX,
                budget: MemoryBudget::new(Self::BUDGET),
            }),
        }
    }

    /// How many bytes of one answer are held before its head is released.
    #[must_use]
    pub fn max_held(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.settings).max_held = bytes;
        self
    }

    /// How long a stream is held after its first data event, and the body of an error after its
    /// head.
    #[must_use]
    pub fn hold_max(mut self, hold_max: Duration) -> Self {
        Arc::make_mut(&mut self.settings).hold_max = hold_max;
        self
    }

    /// What all held answers together draw their memory from: share one over the process. Below an
    /// [intake](crate::intake) layer that one's budget holds instead.
    #[must_use]
    pub fn budget(mut self, budget: MemoryBudget) -> Self {
        Arc::make_mut(&mut self.settings).budget = budget;
        self
    }
}

impl<S> Layer<S> for CommitLayer {
    type Service = Commit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Commit { inner, settings: Arc::clone(&self.settings) }
    }
}

// === impl Commit ===

impl<S, B, ResBody> Service<Request<B>> for Commit<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    ResBody: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        let asked = Asked {
            facts: req.extensions().get().cloned(),
            record: req.extensions().get().cloned(),
            is_head: req.method() == Method::HEAD,
        };
        ResponseFuture::new(self.inner.call(req), Arc::clone(&self.settings), asked)
    }
}

// === impl Settings ===

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("max_held", &self.max_held)
            .field("hold_max", &self.hold_max)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
