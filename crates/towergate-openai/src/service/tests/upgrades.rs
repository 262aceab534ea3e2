//! Upgrades: the 101 that was asked for, and the one that is none.

use std::{future::pending, io, sync::Mutex};

use tokio::io::DuplexStream;
use towergate_core::{ErrorKind, Phase, Sent};

use super::{
    proxies::proxy,
    tls_edge::{Authority, url},
    *,
};

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\
                        sec-websocket-accept: x\r\nset-cookie: a=b\r\n\r\n";

/// The client's side of a tunnel, in memory.
struct Memory(DuplexStream);

impl Duplex for Memory {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = tokio::io::ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A handshake as the edge of a gateway hands it on, and the client that waits for it.
fn handshake() -> (Request<Body>, DuplexStream) {
    let (client, near) = tokio::io::duplex(1024);
    let mut request = get("/v1/realtime");
    request.headers_mut().insert("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
    let near = async { Ok(Box::new(Memory(near)) as Box<dyn Duplex>) };
    request.extensions_mut().insert(Upgrade::new(near, pending()));
    (request, client)
}

/// Switches, speaks at once, and sends back what it gets.
async fn switch(mut stream: impl Io) {
    let head = read_head(&mut stream).await;
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    stream.write_all(format!("{SWITCHED}first words ").as_bytes()).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let _ = tokio::io::copy(&mut read, &mut write).await;
}

/// Goes through the tunnel and back.
async fn tunnels(leaf: &OpenAi) {
    let (request, mut client) = handshake();
    let response = send(leaf, request).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["connection"], "upgrade");
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert_eq!(response.headers()["sec-websocket-accept"], "x");
    assert!(!response.headers().contains_key("set-cookie"));
    let tunnel = tokio::spawn(response.into_body().collect());
    client.write_all(b"and back").await.unwrap();
    let mut words = [0; 20];
    tokio::time::timeout(LONG, client.read_exact(&mut words)).await.unwrap().unwrap();
    assert_eq!(&words, b"first words and back");
    drop(client);
    let error = Error::from_boxed(tunnel.await.unwrap().unwrap_err());
    assert_eq!(error.kind(), ErrorKind::ClientGone);
}

#[tokio::test]
async fn what_the_upstream_says_with_its_101_is_not_lost() {
    let upstream = Upstream::start(|stream, _| switch(stream)).await;
    let leaf = leaf(&upstream);
    tunnels(&leaf).await;
    tunnels(&leaf).await;
    assert_eq!(upstream.accepted(), 2);
}

#[tokio::test]
async fn over_tls_it_asks_for_http1_where_others_ask_for_http2() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("localhost", &[b"h2", b"http/1.1"], false);
    let upstream = tls_edge::upstream(acceptor, switch).await;
    let leaf = builder(url(&upstream, "localhost"))
        .add_root_certificates(authority.pem())
        .http2(Http2::default())
        .build()
        .unwrap();
    tunnels(&leaf).await;
}

#[tokio::test]
async fn through_a_proxy_it_is_tunnelled_where_others_are_forwarded() {
    let upstream = Upstream::start(|stream, _| switch(stream)).await;
    let (proxy, heads) = proxy().await;
    let leaf =
        builder(upstream.base_url()).proxy(format!("http://user:canary@{}", proxy.address)).build().unwrap();
    tunnels(&leaf).await;
    let heads: Vec<String> = Mutex::lock(&heads).unwrap().clone();
    assert!(heads[0].starts_with(&format!("CONNECT {} HTTP/1.1\r\n", upstream.address)), "{heads:?}");
}

#[tokio::test]
async fn a_101_to_another_protocol_is_no_answer() {
    let upstream = Upstream::answering(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    )
    .await;
    let (request, _client) = handshake();
    let error = send(&leaf(&upstream), request).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.phase(), error.sent()),
        (ErrorKind::BadAnswer, Phase::Head, Sent::Unknown)
    );
}

#[tokio::test]
async fn any_other_answer_is_as_usual() {
    let upstream = Upstream::answering("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno").await;
    let (request, _client) = handshake();
    let response = send(&leaf(&upstream), request).await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(text(response).await, "no");
}

#[tokio::test]
async fn dropped_unpolled_it_lets_the_upstream_go() {
    let (told, mut gone) = mpsc::channel(1);
    let upstream = Upstream::start(move |mut stream, _| {
        let told = told.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(SWITCHED.as_bytes()).await.unwrap();
            closed(&mut stream).await;
            told.send(()).await.unwrap();
        }
    })
    .await;
    let (request, _client) = handshake();
    drop(send(&leaf(&upstream), request).await.unwrap());
    tokio::time::timeout(LONG, gone.recv()).await.unwrap().unwrap();
}
