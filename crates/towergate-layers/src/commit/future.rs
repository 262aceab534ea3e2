//! The future: head first, then whatever is held.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use pin_project_lite::pin_project;
use towergate_core::{Body, BoxError, Facts, context::RequestRecord};

use super::{
    hold::{Hold, Start},
    layer::Settings,
};

pin_project! {
    /// The future of [`Commit`](super::Commit).
    #[derive(Debug)]
    pub struct ResponseFuture<F, B> {
        #[pin]
        state: State<F, B>,
        settings: Arc<Settings>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F, B> {
        Waiting { #[pin] inner: F, asked: Asked },
        Holding { hold: Hold<B> },
    }
}

/// What is known of the request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) facts: Option<Arc<Facts>>,
    pub(super) record: Option<Arc<RequestRecord>>,
    pub(super) is_head: bool,
}

// === impl ResponseFuture ===

impl<F, B> ResponseFuture<F, B> {
    pub(super) fn new(inner: F, settings: Arc<Settings>, asked: Asked) -> Self {
        Self { state: State::Waiting { inner, asked }, settings }
    }
}

impl<F, E, B> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let hold = match this.state.as_mut().project() {
                StateProj::Holding { hold } => return hold.poll(cx, this.settings),
                StateProj::Waiting { inner, asked } => {
                    let response = ready!(inner.poll(cx)).map_err(Into::into)?;
                    match Hold::start(response, this.settings, asked)? {
                        Start::Pass(response) => return Poll::Ready(Ok(response)),
                        Start::Hold(hold) => hold,
                    }
                }
            };
            this.state.set(State::Holding { hold });
        }
    }
}
