//! The edge of the stack for WebSockets: the one place that knows both the server's way of switching
//! protocols and the stack's.
//!
//! **Place.** Outermost, so that the body it takes off a 101 is that of the whole stack: permit,
//! outcome and span live in it, and so for as long as the tunnel.
//!
//! **Request.** Where one asks for a WebSocket (HTTP/1.1 only) and the server can switch, hyper's
//! `OnUpgrade` is taken out of its extensions, and an [`Upgrade`] put in. All others pass untouched,
//! and so does one whose server cannot switch: the leaf strips its `Upgrade` field then, as that of
//! any other protocol, and upstream gets an ordinary request.
//!
//! **Response.** A 101 goes out without its body. That is polled by a task of its own, the only one
//! that the gateway spawns: hyper hands the client's connection out after the head has gone, and
//! polls nothing any more. Any other answer passes untouched.
//!
//! **Shutdown.** [`Gateway::close`](crate::Gateway::close) has tunnels closed, and so has the proxy's
//! server when it closes connections; what is left at the drain timeout is dropped.
//!
//! **Dropped before the head**, nothing is left behind. Afterwards nobody can drop it: the tunnel
//! ends as its two sides and its clock say.

use std::{
    future::pending,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::upgrade::OnUpgrade;
use metrics::Counter;
use pin_project_lite::pin_project;
use tokio::sync::watch;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    Body, headers,
    tunnel::{Duplex, Upgrade},
};
use towergate_openai::service::UpgradedIo;

/// Bytes that went through WebSockets, their frames' heads included; label `direction`: `up` to the
/// provider, `down` to the client.
pub(crate) const TUNNEL_BYTES: &str = "towergate_tunnel_bytes_total";

/// Puts [`TunnelEdge`] around the stack.
#[derive(Debug, Clone)]
pub(crate) struct TunnelLayer {
    close: Arc<CloseTunnels>,
}

/// Runs the tunnels. See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct TunnelEdge<S> {
    inner: S,
    close: Arc<CloseTunnels>,
}

pin_project! {
    /// The future of [`TunnelEdge`].
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        inner: F,
        asked: Option<Asked>,
    }
}

/// A tunnel was asked for.
struct Asked {
    /// What the server says of its own end, where it is the proxy's.
    server: Option<Closing>,
}

/// Has tunnels closed; and has them dropped, when it is dropped itself.
#[derive(Debug)]
pub(crate) struct CloseTunnels(watch::Sender<bool>);

/// Hears of [`CloseTunnels`]. A request extension of the server's.
#[derive(Debug, Clone)]
pub(crate) struct Closing(watch::Receiver<bool>);

/// The client's connection, counted.
struct Counted {
    io: UpgradedIo,
    up: Counter,
    down: Counter,
}

// === impl CloseTunnels ===

impl CloseTunnels {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn close(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn closing(&self) -> Closing {
        Closing(self.0.subscribe())
    }
}

// === impl Closing ===

impl Closing {
    /// Resolves when tunnels are to be closed.
    async fn asked(this: Option<Self>) {
        let Some(Self(mut closing)) = this else { return pending().await };
        if closing.wait_for(|closing| *closing).await.is_err() {
            pending().await
        }
    }

    /// Resolves when nobody waits for tunnels any more.
    async fn gone(this: Option<Self>) {
        let Some(Self(mut closing)) = this else { return pending().await };
        while closing.changed().await.is_ok() {}
    }
}

// === impl TunnelLayer ===

impl TunnelLayer {
    pub(crate) fn new(close: Arc<CloseTunnels>) -> Self {
        Self { close }
    }
}

impl<S> Layer<S> for TunnelLayer {
    type Service = TunnelEdge<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TunnelEdge { inner, close: Arc::clone(&self.close) }
    }
}

// === impl TunnelEdge ===

impl<S> TunnelEdge<S> {
    fn prepare<B>(&self, request: &mut Request<B>) -> Option<Asked> {
        if !headers::asks_for_websocket(request) {
            return None;
        }
        let switching = request.extensions_mut().remove::<OnUpgrade>()?;
        let server = request.extensions_mut().remove::<Closing>();
        let client = async {
            let io = UpgradedIo::when_switched(switching).await?;
            Ok(Box::new(Counted::new(io)) as Box<dyn Duplex>)
        };
        // The tunnel may well outlive the last clone of the gateway, which is no reason to end.
        let close = Arc::clone(&self.close);
        let by_server = server.clone();
        let closing = async move {
            tokio::select! {
                () = Closing::asked(Some(close.closing())) => {}
                () = Closing::asked(by_server) => {}
            }
        };
        request.extensions_mut().insert(Upgrade::new(client, closing));
        Some(Asked { server })
    }
}

impl<S, B> Service<Request<B>> for TunnelEdge<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let asked = self.prepare(&mut request);
        ResponseFuture { inner: self.inner.call(request), asked }
    }
}

// === impl ResponseFuture ===

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(Asked { server }) = this.asked.take()
        {
            tokio::spawn(run(std::mem::take(response.body_mut()), server));
        }
        Poll::Ready(Ok(response))
    }
}

/// Polls a tunnel to its end, or to the end of the server.
async fn run(body: Body, server: Option<Closing>) {
    let mut body = pin!(body);
    let tunnel = async {
        loop {
            match body.frame().await {
                None => return,
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "a WebSocket ended early");
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = tunnel => {}
        () = Closing::gone(server) => {}
    }
}

// === impl Counted ===

impl Counted {
    fn new(io: UpgradedIo) -> Self {
        Self {
            io,
            up: metrics::counter!(TUNNEL_BYTES, "direction" => "up"),
            down: metrics::counter!(TUNNEL_BYTES, "direction" => "down"),
        }
    }
}

impl Duplex for Counted {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(self.io.poll_read(cx, buffer))?;
        self.up.increment(read as u64);
        Poll::Ready(Ok(read))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.io.poll_write(cx, data))?;
        self.down.increment(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_close(cx)
    }
}
