//! The leaf over real sockets, against upstreams that are written by hand.

mod errors;
mod http2;
mod proxies;
mod tls_edge;
mod upgrades;
mod wire;

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tower::ServiceExt as _;
use towergate_core::{Body, BoxError, Error};

use super::*;

/// Longer than any test takes; a test that waits for something that never comes fails by it.
const LONG: Duration = Duration::from_secs(20);

/// An upstream that runs a script for each connection, numbered from 0.
struct Upstream {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(TcpStream, usize) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(script(stream, count.fetch_add(1, Ordering::SeqCst)));
            }
        });
        Self { address, accepted, task }
    }

    /// Reads one request on each connection and answers it with these bytes, then closes.
    async fn answering(answer: &'static str) -> Self {
        Self::start(move |mut stream, _| async move {
            read_request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        })
        .await
    }

    fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn builder(base_url: impl Into<String>) -> Builder {
    OpenAi::builder().base_url(base_url).name("test").proxy_from_env(false)
}

fn leaf(upstream: &Upstream) -> OpenAi {
    builder(upstream.base_url()).build().unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(Method::POST).uri("/v1/chat/completions").body(body.into()).unwrap()
}

async fn send(leaf: &OpenAi, request: Request<Body>) -> Result<Response<Body>, Error> {
    tokio::time::timeout(LONG, leaf.clone().oneshot(request)).await.expect("the leaf gave no answer")
}

async fn text(response: Response<Body>) -> String {
    let collected =
        tokio::time::timeout(LONG, response.into_body().collect()).await.expect("no end of the body");
    String::from_utf8(collected.unwrap().to_bytes().to_vec()).unwrap()
}

/// The error that an answer's body ends with, and the bytes before it.
async fn body_error(response: Response<Body>) -> (Bytes, Error) {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    loop {
        match tokio::time::timeout(LONG, body.frame()).await.expect("the body hangs") {
            Some(Ok(frame)) => bytes.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(error)) => {
                assert!(body.frame().await.is_none(), "an error is the end");
                return (bytes.into(), Error::from_boxed(error));
            }
            None => panic!("the body ended well"),
        }
    }
}

/// A body of unknown length, fed by a channel.
fn fed_body() -> (mpsc::Sender<Result<Bytes, BoxError>>, Body) {
    let (feed, mut source) = mpsc::channel::<Result<Bytes, BoxError>>(1);
    let stream = futures_util::stream::poll_fn(move |cx| {
        source.poll_recv(cx).map(|next| next.map(|piece| piece.map(Frame::data)))
    });
    (feed, Body::new(StreamBody::new(stream)))
}

/// Reads up to the empty line.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Reads a request: its head, and its body by length or by chunks.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> (String, Vec<u8>) {
    let head = read_head(stream).await;
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if let Some(length) = lower.split("content-length: ").nth(1) {
        body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
    } else if lower.contains("transfer-encoding: chunked") {
        while !body.ends_with(b"0\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => body.push(byte),
                Err(_) => break,
            }
        }
    }
    (head, body)
}

/// Waits until the peer has closed.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the peer stays");
}

/// Both ends of a test's IO.
trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}
