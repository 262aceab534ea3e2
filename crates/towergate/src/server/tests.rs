//! Real sockets; gates and events instead of sleeps.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    sync::{Notify, oneshot},
    task::JoinHandle,
};
use tower::util::BoxCloneSyncService;
use towergate_core::{Body, context::Downstream};

use super::*;

type App = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

fn app<F, Fut>(f: F) -> App
where
    F: Fn(Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    BoxCloneSyncService::new(tower::service_fn(move |request| {
        let answer = f(request);
        async move { Ok(answer.await) }
    }))
}

fn hello() -> App {
    app(|_| async { Response::new(Body::from("hello")) })
}

struct Running {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    report: JoinHandle<Report>,
}

async fn start(builder: ServerBuilder, app: App) -> Running {
    let server = builder.listen(([127, 0, 0, 1], 0).into()).bind(app).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    let (address, admin) = (server.local_addr(), server.admin_addr());
    let report = tokio::spawn(server.serve(async { drop(stopped.await) }));
    Running { address, admin, stop, report }
}

/// Sends bytes and reads until the server closes.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, path: &str) -> String {
    raw(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await
}

/// Reads until `needle` has come.
async fn read_until(stream: &mut TcpStream, needle: &str) -> String {
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(needle) {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed before {needle:?}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_operators_paths_are_answered_and_the_rest_handed_on() {
    let server = start(Server::builder(), hello()).await;
    assert!(get(server.address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(server.address, "/readyz").await.starts_with("HTTP/1.1 200"));
    // No recorder: the path is the app's.
    assert!(get(server.address, "/metrics").await.ends_with("hello"));
    assert!(get(server.address, "/v1/models").await.ends_with("hello"));
    let post = b"POST /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert!(raw(server.address, post).await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn the_operators_listener_serves_nothing_else() {
    let server = start(Server::builder().admin_listen(Some(([127, 0, 0, 1], 0).into())), hello()).await;
    let admin = server.admin.unwrap();
    assert!(get(admin, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(admin, "/v1/models").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn the_operators_answers_have_an_id_too() {
    let server = start(Server::builder().admin_listen(Some(([127, 0, 0, 1], 0).into())), hello()).await;
    for (address, path) in
        [(server.address, "/healthz"), (server.address, "/readyz"), (server.admin.unwrap(), "/elsewhere")]
    {
        assert!(get(address, path).await.contains("\r\nx-request-id: "), "{path}");
        let named =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-request-id: mine\r\nconnection: close\r\n\r\n");
        assert!(raw(address, named.as_bytes()).await.contains("\r\nx-request-id: mine\r\n"), "{path}");
    }
}

#[tokio::test]
async fn both_versions_are_served_on_one_port() {
    let server = start(Server::builder(), hello()).await;
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http::<Body>();
    let request = Request::get(format!("http://{}/", server.address)).body(Body::empty()).unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    assert!(get(server.address, "/").await.ends_with("hello"));
}

#[tokio::test]
async fn a_client_that_sends_nothing_or_trickles_its_head_is_closed() {
    let clocks = ConnectionClocks {
        first_byte: Duration::from_millis(50),
        header: Duration::from_millis(50),
        ..ConnectionClocks::default()
    };
    let server = start(Server::builder().clocks(clocks), hello()).await;
    assert_eq!(raw(server.address, b"").await, "");
    assert_eq!(raw(server.address, b"GET / HTTP/1.1\r\nhos").await, "");
    // The version is not known yet: hyper itself has no clock here.
    assert_eq!(raw(server.address, b"PRI * HT").await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let clocks = ConnectionClocks {
        header: Duration::from_millis(50),
        idle: Duration::from_millis(50),
        ..ConnectionClocks::default()
    };
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let app = app(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.notified().await;
            Response::new(Body::from("late"))
        }
    });
    let server = start(Server::builder().clocks(clocks), app).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // Longer than both clocks: they must not run while a request is under way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.notify_one();
    read_until(&mut stream, "late").await;
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "closed once idle");
}

#[tokio::test]
async fn a_clock_may_be_set_to_never() {
    let clocks = ConnectionClocks {
        first_byte: Duration::from_millis(20),
        header: Duration::from_millis(20),
        idle: Duration::MAX,
        write_progress: Duration::MAX,
        ..ConnectionClocks::default()
    };
    let server = start(Server::builder().clocks(clocks).drain_timeout(Duration::MAX), hello()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        read_until(&mut stream, "hello").await;
        // So that the clocks are looked at while it is idle.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(stream);
    server.stop.send(()).unwrap();
    assert_eq!(server.report.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_stalled_not_gone() {
    let clocks =
        ConnectionClocks { write_progress: Duration::from_millis(100), ..ConnectionClocks::default() };
    let (dropped, was_stalled) = oneshot::channel();
    let dropped = Arc::new(std::sync::Mutex::new(Some(dropped)));

    /// Endless; says at its end whether the client had stalled.
    struct Endless(Downstream, Arc<std::sync::Mutex<Option<oneshot::Sender<bool>>>>);
    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
            static CHUNK: [u8; 65536] = [b'x'; 65536];
            std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(&CHUNK)))))
        }
    }
    impl Drop for Endless {
        fn drop(&mut self) {
            if let Some(dropped) = self.1.lock().unwrap().take() {
                let _ = dropped.send(self.0.is_stalled());
            }
        }
    }

    let app = app(move |request| {
        let downstream = request.extensions().get::<Downstream>().unwrap().clone();
        let dropped = Arc::clone(&dropped);
        async move { Response::new(Body::new(Endless(downstream, dropped))) }
    });
    let server = start(Server::builder().clocks(clocks), app).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(was_stalled.await.unwrap());
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_that_the_client_does_not_take_is_bounded() {
    /// Can be written to, and never closed: TLS to a client that does not read.
    struct Unclosable;
    impl AsyncRead for Unclosable {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }
    impl AsyncWrite for Unclosable {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }
    let clocks = ConnectionClocks { write_progress: Duration::from_secs(60), ..ConnectionClocks::default() };
    let (mut io, _guard) = GuardedIo::new(Unclosable, clocks);
    let ended = tokio::time::timeout(Duration::from_secs(120), io.shutdown()).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = start(Server::builder(), hello()).await;
    let fields: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{fields}\r\n");
    assert!(raw(server.address, many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let large = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    assert!(raw(server.address, large.as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert!(get(server.address, "/").await.ends_with("hello"), "and the process lives");
}

#[tokio::test]
async fn what_is_under_way_ends_and_idle_connections_close() {
    let gate = Arc::new(Notify::new());
    let began = Arc::new(Notify::new());
    let (opened, begins) = (Arc::clone(&gate), Arc::clone(&began));
    let app = app(move |request: Request<Body>| {
        let (gate, began) = (Arc::clone(&opened), Arc::clone(&begins));
        async move {
            if request.uri().path() == "/slow" {
                began.notify_one();
                gate.notified().await;
            }
            Response::new(Body::from("done"))
        }
    });
    let server = start(Server::builder(), app).await;

    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut idle, "done").await;
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    began.notified().await;

    server.stop.send(()).unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0, "the idle connection closes");
    gate.notify_one();
    let answer = read_until(&mut busy, "done").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    let report = server.report.await.unwrap();
    assert_eq!((report.under_way, report.cut), (1, 0));
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn during_the_delay_it_still_serves_but_is_not_ready() {
    let server = start(Server::builder().drain_delay(Duration::from_millis(300)), hello()).await;
    server.stop.send(()).unwrap();
    // The stop is seen by another task; until then it is ready.
    while !get(server.address, "/readyz").await.starts_with("HTTP/1.1 503") {}
    let answer = get(server.address, "/v1/models").await;
    assert!(answer.ends_with("hello"), "{answer}");
    assert_eq!(server.report.await.unwrap().cut, 0);
}

#[tokio::test]
async fn what_outlasts_the_drain_timeout_is_cut_and_counted() {
    let began = Arc::new(Notify::new());
    let begins = Arc::clone(&began);
    let app = app(move |_| {
        let began = Arc::clone(&begins);
        async move {
            began.notify_one();
            std::future::pending().await
        }
    });
    let server = start(Server::builder().drain_timeout(Duration::from_millis(50)), app).await;
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    began.notified().await;
    server.stop.send(()).unwrap();
    let report = server.report.await.unwrap();
    assert_eq!((report.under_way, report.cut), (1, 1));
    assert!(report.to_string().contains("--drain-timeout"));
}

/// Lets everything in but `/refused`.
fn guarded() -> App {
    app(|request| {
        let refused = request.uri().path() == "/refused";
        if !refused {
            request.extensions().get::<Downstream>().unwrap().set_admitted();
        }
        async move {
            let mut response = Response::new(Body::from("hello"));
            if refused {
                *response.status_mut() = http::StatusCode::UNAUTHORIZED;
            }
            response
        }
    })
}

/// No clock but that of strangers.
fn for_strangers(authentication: Duration) -> ConnectionClocks {
    ConnectionClocks {
        handshake: Duration::MAX,
        first_byte: Duration::MAX,
        header: Duration::MAX,
        idle: Duration::MAX,
        authentication,
        write_progress: Duration::MAX,
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const REFUSED: &[u8] = b"GET /refused HTTP/1.1\r\nhost: x\r\n\r\n";
/// The preface of HTTP/2 and an empty SETTINGS frame.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0pingpong";

/// Sends `first`, then `again` every few milliseconds, until the server closes.
async fn dribble(address: SocketAddr, first: &[u8], again: &[u8]) {
    let (mut reading, mut writing) = TcpStream::connect(address).await.unwrap().into_split();
    writing.write_all(first).await.unwrap();
    let dribbling = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if writing.write_all(again).await.is_err() {
                return;
            }
        }
    };
    let closed = async { while reading.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} };
    tokio::select! {
        () = dribbling => {}
        () = closed => {}
    }
}

#[tokio::test]
async fn a_stranger_is_closed_whatever_it_sends() {
    let clocks = for_strangers(Duration::from_millis(200));
    let server = start(Server::builder().clocks(clocks), guarded()).await;
    let closed = async {
        tokio::join!(
            dribble(server.address, b"", b""),
            dribble(server.address, b"GET / HTTP/1.1\r\nx: ", b"y"),
            dribble(server.address, REFUSED, b""),
            dribble(server.address, REFUSED, REFUSED),
            dribble(server.address, b"", b"\r\n"),
            dribble(server.address, &HTTP2[..20], b""),
            dribble(server.address, HTTP2, b""),
            dribble(server.address, HTTP2, PING),
        )
    };
    tokio::time::timeout(Duration::from_secs(10), Box::pin(closed)).await.expect("closed");
}

#[tokio::test]
async fn whoever_was_let_in_once_and_whoever_is_being_answered_is_no_stranger() {
    let clocks = for_strangers(Duration::from_millis(100));
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let slow = app(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.notified().await;
            Response::new(Body::from("late"))
        }
    });
    let (known, slow) =
        (start(Server::builder().clocks(clocks), guarded()), start(Server::builder().clocks(clocks), slow));
    let (known, slow) = tokio::join!(known, slow);
    let mut let_in = TcpStream::connect(known.address).await.unwrap();
    let_in.write_all(GET).await.unwrap();
    read_until(&mut let_in, "hello").await;
    let mut under_way = TcpStream::connect(slow.address).await.unwrap();
    under_way.write_all(GET).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let_in.write_all(REFUSED).await.unwrap();
    read_until(&mut let_in, "hello").await;
    gate.notify_one();
    read_until(&mut under_way, "late").await;
}

#[tokio::test]
async fn strangers_make_way_the_oldest_first() {
    let clocks = for_strangers(Duration::MAX);
    let server = start(Server::builder().clocks(clocks).max_connections(3), guarded()).await;
    let mut let_in = TcpStream::connect(server.address).await.unwrap();
    let_in.write_all(GET).await.unwrap();
    read_until(&mut let_in, "hello").await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    silent.write_all(b"GET").await.unwrap();
    let mut refused = TcpStream::connect(server.address).await.unwrap();
    refused.write_all(REFUSED).await.unwrap();
    read_until(&mut refused, "hello").await;

    let mut newcomer = TcpStream::connect(server.address).await.unwrap();
    newcomer.write_all(GET).await.unwrap();
    read_until(&mut newcomer, "hello").await;
    assert!(matches!(silent.read(&mut [0; 1]).await, Ok(0) | Err(_)), "it made way");
    refused.write_all(REFUSED).await.unwrap();
    read_until(&mut refused, "hello").await;

    assert!(get(server.address, "/").await.ends_with("hello"));
    assert!(matches!(refused.read(&mut [0; 1]).await, Ok(0) | Err(_)), "it made way");
    for mut let_in in [let_in, newcomer] {
        let_in.write_all(GET).await.unwrap();
        read_until(&mut let_in, "hello").await;
    }
}

#[tokio::test]
async fn idle_connections_make_way_and_those_in_use_are_waited_for() {
    let gate = Arc::new(Notify::new());
    let (began, opened) = (Arc::new(Notify::new()), Arc::clone(&gate));
    let begins = Arc::clone(&began);
    let app = app(move |request: Request<Body>| {
        request.extensions().get::<Downstream>().unwrap().set_admitted();
        let (gate, began) = (Arc::clone(&opened), Arc::clone(&begins));
        async move {
            if request.uri().path() == "/slow" {
                began.notify_one();
                gate.notified().await;
            }
            Response::new(Body::from("hello"))
        }
    });
    let server = start(Server::builder().max_connections(2), app).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(GET).await.unwrap();
    read_until(&mut idle, "hello").await;
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    began.notified().await;
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    began.notified().await;
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0, "it made way");
    let third = get(server.address, "/");
    tokio::pin!(third);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut third).await.is_err(), "all are in use");
    gate.notify_one();
    assert!(third.await.ends_with("hello"));
    gate.notify_one();
    read_until(&mut busy, "hello").await;
}

#[tokio::test]
async fn operators_have_places_of_their_own() {
    let server = Server::builder().max_connections(1).admin_listen(Some(([127, 0, 0, 1], 0).into()));
    let server = start(server, hello()).await;
    let admin = server.admin.unwrap();
    let mut strangers = Vec::new();
    for address in [server.address, admin].repeat(40) {
        strangers.push(TcpStream::connect(address).await.unwrap());
    }
    for address in [admin, server.address] {
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    }
}
