//! [`ResponseFuture`]: a request from its head to the call of the inner service.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Extensions, Request, header::CONTENT_LENGTH};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;
use towergate_core::{
    Body, BoxError, Error, Facts, Route, access::ClientAccess, context::RequestRecord, protocol::ReadRequest,
    tunnel::Upgrade,
};

use super::{collect::Collect, limits::Limits, peek::Peek};

pin_project! {
    /// Collects the body where it is read, then is the inner service's future.
    pub struct ResponseFuture<S, P>
    where
        S: Service<Request<Body>>,
    {
        #[pin]
        pub(super) state: State<S, S::Future>,
        pub(super) protocol: Arc<P>,
        pub(super) limits: Limits,
    }
}

pin_project! {
    #[project = StateProj]
    #[project_replace = StateOwned]
    pub(super) enum State<S, F> {
        Refused { error: BoxError },
        Collecting { collect: Collect, pending: Pending<S> },
        Peeking { peek: Peek, pending: Pending<S> },
        Called { #[pin] future: F },
        Done,
    }
}

/// A request whose body is being collected, and the instance that was polled ready for it.
pub(super) struct Pending<S> {
    pub(super) service: S,
    pub(super) request: Request<()>,
    pub(super) record: Arc<RequestRecord>,
    pub(super) route: &'static Route,
    pub(super) since: Instant,
}

// === impl ResponseFuture ===

impl<S, P> fmt::Debug for ResponseFuture<S, P>
where
    S: Service<Request<Body>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<S, P> Future for ResponseFuture<S, P>
where
    S: Service<Request<Body>>,
    S::Error: Into<BoxError>,
    P: ReadRequest,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Called { future } => return future.poll(cx).map_err(Into::into),
                StateProj::Collecting { collect, .. } => {
                    if let Err(error) = ready!(collect.poll(cx, this.limits)) {
                        this.state.set(State::Done);
                        return Poll::Ready(Err(error));
                    }
                }
                StateProj::Peeking { peek, .. } => {
                    if let Err(error) = ready!(peek.poll(cx, this.limits)) {
                        this.state.set(State::Done);
                        return Poll::Ready(Err(error));
                    }
                }
                StateProj::Refused { .. } => {}
                StateProj::Done => return Poll::Pending,
            }
            match this.state.as_mut().project_replace(State::Done) {
                StateOwned::Collecting { collect, pending } => {
                    let future = pending.collected(collect.into_bytes(), &**this.protocol)?;
                    this.state.set(State::Called { future });
                }
                StateOwned::Peeking { peek, pending } => {
                    let future = pending.peeked(peek, &**this.protocol)?;
                    this.state.set(State::Called { future });
                }
                StateOwned::Refused { error } => return Poll::Ready(Err(error)),
                StateOwned::Called { .. } | StateOwned::Done => {}
            }
        }
    }
}

// === impl Pending ===

impl<S: Service<Request<Body>>> Pending<S> {
    fn collected<P: ReadRequest>(mut self, body: Bytes, protocol: &P) -> Result<S::Future, Error> {
        let headers = self.request.headers_mut();
        if headers.get(CONTENT_LENGTH).is_some_and(|length| !says(length.as_bytes(), body.len())) {
            headers.remove(CONTENT_LENGTH);
        }
        let facts = protocol.read(self.route, &body)?;
        self.understand(facts)?;
        if let Some(access) = self.request.extensions().get::<Arc<ClientAccess>>() {
            protocol.check_body(access, self.route, &body)?;
        }
        Ok(self.call(body.into()))
    }

    fn peeked<P: ReadRequest>(mut self, peek: Peek, protocol: &P) -> Result<S::Future, Error> {
        let facts = match peek.facts() {
            Some(facts) => facts,
            None => protocol.read_head(self.route, self.request.uri())?,
        };
        self.understand(facts)?;
        let is_restricted = self.request.extensions().get::<Arc<ClientAccess>>().is_some();
        Ok(self.call(peek.into_body(is_restricted)))
    }

    fn understand(&mut self, facts: Facts) -> Result<(), Error> {
        self.record.add_upstream_time(self.since.elapsed());
        understood(self.request.extensions_mut(), &self.record, facts)
    }

    fn call(mut self, body: Body) -> S::Future {
        self.service.call(self.request.map(|()| body))
    }
}

fn says(header: &[u8], length: usize) -> bool {
    std::str::from_utf8(header).ok().and_then(|text| text.parse().ok()) == Some(length)
}

/// Puts down what is known of a request, if its client may ask for that.
pub(super) fn understood(
    extensions: &mut Extensions,
    record: &RequestRecord,
    facts: Facts,
) -> Result<(), Error> {
    let facts = Arc::new(facts);
    record.set_facts(Arc::clone(&facts));
    if let Some(access) = extensions.get::<Arc<ClientAccess>>() {
        access.check_model(&facts, extensions.get::<Upgrade>().is_some())?;
    }
    extensions.insert::<Arc<Facts>>(facts);
    Ok(())
}
