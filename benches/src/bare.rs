//! The least that a reverse proxy of hyper costs: its server, hyper-util's pooled client, and what RFC
//! 9110 asks of an intermediary. It reads no body and knows no API.

use std::{
    io::Write as _,
    net::SocketAddr,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, Uri, header, uri::Scheme};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tower_service::Service;

use crate::Error;

/// What belongs to one connection (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The proxy as a service, for any request body.
#[derive(Debug)]
pub struct Bare<B> {
    authority: http::uri::Authority,
    client: Client<HttpConnector, B>,
}

// === impl Bare ===

impl<B> Bare<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    /// A proxy in front of this server.
    ///
    /// # Errors
    ///
    /// An address that no URI can have.
    pub fn new(upstream: SocketAddr) -> Result<Self, Error> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { authority: upstream.to_string().parse()?, client })
    }

    fn prepare(&self, request: &mut Request<B>) -> Result<(), http::uri::InvalidUriParts> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        *request.uri_mut() = Uri::from_parts(parts)?;
        remove_hop_by_hop(request.headers_mut());
        // The client puts in the upstream's.
        request.headers_mut().remove(header::HOST);
        Ok(())
    }
}

impl<B> Clone for Bare<B> {
    fn clone(&self) -> Self {
        Self { authority: self.authority.clone(), client: self.client.clone() }
    }
}

impl<B> Service<Request<B>> for Bare<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Error>,
{
    type Response = Response<Incoming>;
    type Error = legacy::Error;
    type Future = legacy::ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), legacy::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // A request without a path fails in the client, with its words.
        let _ = self.prepare(&mut request);
        self.client.request(request)
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Serves it until SIGTERM, and prints where.
///
/// # Errors
///
/// The address cannot be listened on.
pub async fn serve(listen: SocketAddr, upstream: SocketAddr) -> Result<(), Error> {
    let listener = TcpListener::bind(listen).await?;
    let bare = Bare::<Incoming>::new(upstream)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "the bare proxy is listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;
    loop {
        let socket = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(_) => {
                    // No file descriptors are left: some will be.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
            _ = terminate.recv() => return Ok(()),
        };
        let _ = socket.set_nodelay(true);
        let bare = bare.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let mut bare = bare.clone();
                async move {
                    let mut response = bare.call(request).await?;
                    remove_hop_by_hop(response.headers_mut());
                    Ok::<_, legacy::Error>(response)
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
