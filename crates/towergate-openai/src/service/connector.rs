//! From a host to a connection: DNS, TCP, a proxy where there is one, and TLS, under one clock.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{
        Connected, Connection, HttpConnector,
        dns::{GaiAddrs, GaiResolver, Name},
        proxy::Tunnel,
    },
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;
use towergate_core::{BoxError, Clock, Error};

use super::{
    error::{LookupFailed, ProxyUnreachable, TunnelRefused},
    interim::BoundedInterim,
    plain_or_tls::PlainOrTls,
    proxy::Proxy,
};

type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;
type Http = HttpConnector<Resolver>;
/// A connection to the upstream itself.
type Stream = TokioIo<BoundedInterim<TokioIo<PlainOrTls<Hop>>>>;

/// The connector of hyper's client.
///
/// Always ready, as the parts that it is made of are.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tls: HttpsConnector<Route>,
    limit: Duration,
    http2_only: bool,
}

/// The settings of a connection.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) limit: Duration,
    pub(super) keep_alive: Option<Duration>,
    /// TLS towards the upstream.
    pub(super) tls: ClientConfig,
    /// The proxy, and TLS towards it.
    pub(super) proxy: Option<(Proxy, ClientConfig)>,
    /// Whether plain http goes through a tunnel too: HTTP/2 has no absolute form that a proxy of
    /// HTTP/1.1 would know.
    pub(super) tunnel_plain: bool,
}

/// How the first hop is reached.
#[derive(Debug, Clone)]
enum Route {
    Direct(Http),
    Proxied(Box<Proxied>),
}

#[derive(Debug, Clone)]
struct Proxied {
    tunnel: Tunnel<ProxyHop>,
    forward: ProxyHop,
    uri: Uri,
    tunnel_plain: bool,
}

/// The way to the proxy itself; tells its own failures from those of the tunnel.
#[derive(Debug, Clone)]
struct ProxyHop(HttpsConnector<Http>);

/// A connection to the first hop.
///
/// An upstream may answer before an upload is over, and close: what still goes to it fails then. hyper would take
/// that for the end of the exchange, and never read the answer. So once the peer is gone, what is written is thrown
/// away, what had come is read to its end, and there the failure is told.
#[derive(Debug)]
pub(super) struct Hop {
    io: PlainOrTls<TokioIo<TcpStream>>,
    /// How a write failed.
    gone: Option<io::ErrorKind>,
    /// Whether the proxy reads our requests, and wants them in absolute form.
    absolute_form: bool,
}

/// The system's resolver; marks its errors.
#[derive(Debug, Clone)]
struct Resolver(GaiResolver);

/// By how much the connect clock is ahead of other clocks of the same length.
const AHEAD: Duration = Duration::from_millis(20);

// === impl Connector ===

impl Connector {
    pub(super) fn new(options: Options) -> Self {
        let mut http = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(options.keep_alive);
        // Shared out among the addresses of a name, so that one that is dead leaves time for others.
        http.set_connect_timeout(Some(options.limit));
        let route = match options.proxy {
            None => Route::Direct(http),
            Some((proxy, tls)) => Route::proxied(proxy, ProxyHop((http, tls).into()), options.tunnel_plain),
        };
        Self { tls: (route, options.tls).into(), limit: options.limit, http2_only: false }
    }

    /// Whether HTTP/2 is spoken without a handshake that says so. Default no.
    pub(super) fn http2_only(mut self, http2_only: bool) -> Self {
        self.http2_only = http2_only;
        self
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tls.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let (limit, http2_only) = (self.limit, self.http2_only);
        // A head clock of the same length began a moment before; which of them goes off says what was waited for, and
        // whether anything was sent.
        let early = limit.saturating_sub((limit / 10).min(AHEAD));
        let connecting = self.tls.call(target);
        Box::pin(async move {
            match tokio::time::timeout(early, connecting).await {
                Ok(connected) => {
                    let stream = PlainOrTls::from(connected?);
                    let is_http2 = http2_only || stream.connected().is_negotiated_h2();
                    Ok(TokioIo::new(BoundedInterim::new(TokioIo::new(stream), is_http2)))
                }
                Err(_) => Err(Error::timeout(Clock::Connect, limit).into()),
            }
        })
    }
}

// === impl Route ===

impl Route {
    fn proxied(proxy: Proxy, hop: ProxyHop, tunnel_plain: bool) -> Self {
        let mut tunnel = Tunnel::new(proxy.uri.clone(), hop.clone());
        if let Some(auth) = proxy.auth {
            tunnel = tunnel.with_auth(auth);
        }
        Self::Proxied(Box::new(Proxied { tunnel, forward: hop, uri: proxy.uri, tunnel_plain }))
    }
}

impl Service<Uri> for Route {
    type Response = Hop;
    type Error = BoxError;
    type Future = BoxFuture<Hop, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Direct(http) => http.poll_ready(cx).map_err(Into::into),
            Self::Proxied(proxied) => proxied.forward.poll_ready(cx),
        }
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        match self {
            Self::Direct(http) => {
                let connecting = http.call(target);
                Box::pin(async move {
                    let io = MaybeHttpsStream::Http(connecting.await?);
                    Ok(Hop::new(io, false))
                })
            }
            Self::Proxied(proxied) => proxied.call(target),
        }
    }
}

// === impl Proxied ===

impl Proxied {
    fn call(&mut self, target: Uri) -> BoxFuture<Hop, BoxError> {
        if target.scheme_str() == Some("http") && !self.tunnel_plain {
            let connecting = self.forward.call(self.uri.clone());
            return Box::pin(async move { Ok(Hop::new(connecting.await?, true)) });
        }
        let connecting = self.tunnel.call(with_port(target));
        Box::pin(async move {
            match connecting.await {
                Ok(io) => Ok(Hop::new(io, false)),
                Err(error) => Err(tunnel_error(error.into())),
            }
        })
    }
}

/// The tunnel would take port 443 for every scheme.
fn with_port(target: Uri) -> Uri {
    let named = target.port().is_some() || target.scheme_str() != Some("http");
    match target.host() {
        Some(host) if !named => {
            let built =
                Uri::builder().scheme("http").authority(format!("{host}:80")).path_and_query("/").build();
            built.unwrap_or(target)
        }
        _ => target,
    }
}

fn tunnel_error(error: BoxError) -> BoxError {
    match error.source().and_then(|source| source.downcast_ref::<ProxyUnreachable>()) {
        Some(_) => error,
        None => TunnelRefused(error).into(),
    }
}

// === impl ProxyHop ===

impl Service<Uri> for ProxyHop {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, proxy: Uri) -> Self::Future {
        let connecting = self.0.call(proxy);
        Box::pin(async move { connecting.await.map_err(|error| ProxyUnreachable(error).into()) })
    }
}

// === impl Hop ===

impl Connection for Hop {
    fn connected(&self) -> Connected {
        let connected = self.io.connected();
        if self.absolute_form { connected.proxy(true) } else { connected }
    }
}

impl Hop {
    fn new(io: MaybeHttpsStream<TokioIo<TcpStream>>, absolute_form: bool) -> Self {
        Self { io: io.into(), gone: None, absolute_form }
    }

    /// What becomes of a write of so many bytes.
    fn written(&mut self, len: usize, result: io::Result<usize>) -> io::Result<usize> {
        match result {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                self.gone = Some(error.kind());
                Ok(len)
            }
            result => result,
        }
    }
}

impl Read for Hop {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(gone) = self.gone else { return Pin::new(&mut self.io).poll_read(cx, buf) };
        let mut rest = [0; 4096];
        let len = rest.len().min(buf.remaining());
        let mut read = ReadBuf::new(&mut rest[..len]);
        ready!(Pin::new(&mut self.io).poll_read(cx, read.unfilled()))?;
        // The write has taken the failure away: to a reader, a cut answer would look whole.
        if read.filled().is_empty() && len > 0 {
            return Poll::Ready(Err(gone.into()));
        }
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Hop {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.gone.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = ready!(Pin::new(&mut self.io).poll_write(cx, buf));
        Poll::Ready(self.written(buf.len(), result))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gone.is_some() {
            return Poll::Ready(Ok(()));
        }
        let result = ready!(Pin::new(&mut self.io).poll_flush(cx)).map(|()| 0);
        Poll::Ready(self.written(0, result).map(drop))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if self.gone.is_some() {
            return Poll::Ready(Ok(len));
        }
        let result = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs));
        Poll::Ready(self.written(len, result))
    }
}

// === impl Resolver ===

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = LookupFailed;
    type Future = BoxFuture<GaiAddrs, LookupFailed>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LookupFailed>> {
        self.0.poll_ready(cx).map_err(LookupFailed)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let looking = self.0.call(name);
        Box::pin(async move { looking.await.map_err(LookupFailed) })
    }
}

/// `Proxy-Authorization` for requests in absolute form; a tunnel sends its own.
pub(super) fn request_auth(proxy: Option<&Proxy>, https: bool, tunnel_plain: bool) -> Option<HeaderValue> {
    proxy.filter(|_| !https && !tunnel_plain)?.auth.clone()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_connection_sends_at_once_and_is_kept_alive() {
        use crate::service::tls::Trust;
        let server = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = || Uri::try_from(format!("http://{}/", server.local_addr().unwrap())).unwrap();
        let after = Duration::from_secs(7);
        for keep_alive in [None, Some(after)] {
            let mut connector = Connector::new(Options {
                limit: Duration::from_secs(5),
                keep_alive,
                tls: Trust::none().client_config(&[], None).unwrap(),
                proxy: None,
                tunnel_plain: false,
            });
            let stream = connector.call(target()).await.unwrap();
            let PlainOrTls::Plain(io) = stream.inner().inner().inner() else { panic!("TLS") };
            let PlainOrTls::Plain(io) = &io.io else { panic!("TLS") };
            let socket = socket2::SockRef::from(io.inner());
            assert!(socket.tcp_nodelay().unwrap());
            assert_eq!(socket.keepalive().unwrap(), keep_alive.is_some());
            if let Some(after) = keep_alive {
                assert_eq!(socket.tcp_keepalive_time().unwrap(), after);
            }
        }
    }

    #[test]
    fn a_plain_connection_keeps_no_room_for_tls() {
        assert!(size_of::<PlainOrTls<Hop>>() < 128, "{}", size_of::<PlainOrTls<Hop>>());
    }

    #[tokio::test]
    async fn an_answer_is_read_though_the_upload_failed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut theirs, _) = listener.accept().await.unwrap();
        let mut hop = TokioIo::new(Hop::new(MaybeHttpsStream::Http(TokioIo::new(ours)), false));
        hop.write_all(b"head, and a bit").await.unwrap();
        theirs.readable().await.unwrap();
        theirs.write_all(b"answer").await.unwrap();
        // Closed with bytes unread: a reset.
        drop(theirs);
        for _ in 0..3 {
            hop.write_all(b"more").await.unwrap();
            hop.flush().await.unwrap();
        }
        let mut answer = [0; 6];
        hop.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        let error = hop.read(&mut answer).await.unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset));
    }

    #[test]
    fn a_tunnel_is_told_the_port_of_the_scheme() {
        for (target, with) in [
            ("http://host/", "http://host:80/"),
            ("http://[::1]/", "http://[::1]:80/"),
            ("http://host:81/", "http://host:81/"),
            ("https://host/", "https://host/"),
        ] {
            assert_eq!(with_port(target.parse().unwrap()), with);
        }
    }
}
