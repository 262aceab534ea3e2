//! Clients that show no key hold nothing: neither places nor time.

use std::time::Duration;

use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use towergate::{
    core::label::Label,
    layers::client_auth::{ClientKey, ClientKeys},
    server::{ConnectionClocks, ServerBuilder, TlsFiles},
};

use super::support::{Authority, World, chat, connect, raw};

const SILENT: &[u8] = b"";
const HALF: &[u8] = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bea";
const REFUSED: &[u8] = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
const WRONG: &[u8] = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer wrong\r\n\r\n";
const PROBE: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n";
const RIGHT: &[u8] = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer right\r\n\r\n";
/// The preface of HTTP/2 and an empty SETTINGS frame.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The first bytes of a TLS record.
const HANDSHAKE: &[u8] = b"\x16\x03\x01\x02";

fn keys() -> ClientKeys {
    let key = ClientKey::new(&"right".to_owned().into()).unwrap();
    ClientKeys::new([(Label::new("client"), key)]).unwrap()
}

fn clocks(authentication: Duration) -> ConnectionClocks {
    let mut clocks = ConnectionClocks::default();
    clocks.authentication = authentication;
    clocks
}

async fn guarded(server: impl FnOnce(ServerBuilder) -> ServerBuilder + Send + 'static) -> World {
    World::builder().gateway(|gateway| gateway.client_keys(keys())).server(server).start().await
}

async fn opened(world: &World, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(first).await.unwrap();
    stream
}

/// Reads one response, whose body has a length.
async fn read(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let head = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = head.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return head.to_owned();
            }
        }
        assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "closed after {head:?}");
    }
}

/// Whether the server closes it, once what it had to say was read.
async fn closes(stream: &mut TcpStream) -> bool {
    let rest = async { while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} };
    timeout(Duration::from_secs(10), rest).await.is_ok()
}

#[tokio::test]
async fn strangers_of_every_kind_keep_nobody_out() {
    let world = guarded(|server| server.clocks(clocks(Duration::from_secs(600))).max_connections(8)).await;
    let mut strangers = Vec::new();
    for first in [SILENT, HALF, REFUSED, WRONG, PROBE, HTTP2].repeat(6) {
        strangers.push(opened(&world, first).await);
    }
    let mut client = opened(&world, RIGHT).await;
    assert!(read(&mut client).await.starts_with("HTTP/1.1 200"));
    assert!(
        raw(world.address, b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .ends_with("ok\n")
    );
    for first in [SILENT, HALF, REFUSED, WRONG, PROBE, HTTP2].repeat(6) {
        strangers.push(opened(&world, first).await);
    }
    client.write_all(RIGHT).await.unwrap();
    assert!(read(&mut client).await.starts_with("HTTP/1.1 200"), "it never made way");
}

#[tokio::test]
async fn handshakes_that_hang_keep_nobody_out() {
    let authority = Authority::new("strangers");
    let tls = TlsFiles::new(authority.path("tls.crt"), authority.path("tls.key")).open().await.unwrap();
    let mut clocks = clocks(Duration::from_secs(600));
    clocks.handshake = Duration::from_secs(600);
    let world = guarded(move |server| server.clocks(clocks).tls(tls).max_connections(4)).await;
    let mut strangers = Vec::new();
    for first in [SILENT, HANDSHAKE].repeat(6) {
        strangers.push(opened(&world, first).await);
    }
    let mut client = connect(&authority.connector(&["http/1.1"], false), world.address).await.unwrap();
    client.write_all(RIGHT).await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn only_a_right_key_makes_a_connection_last() {
    let world = guarded(|server| server.clocks(clocks(Duration::from_millis(300)))).await;
    for first in [SILENT, HALF, REFUSED, WRONG, PROBE, HTTP2] {
        let mut stranger = opened(&world, first).await;
        assert!(closes(&mut stranger).await, "{first:?}");
    }
    let mut client = opened(&world, RIGHT).await;
    read(&mut client).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    client.write_all(WRONG).await.unwrap();
    assert!(read(&mut client).await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn without_keys_whoever_uses_the_api_is_no_stranger() {
    let world =
        World::builder().server(|server| server.clocks(clocks(Duration::from_millis(300)))).start().await;
    assert!(closes(&mut opened(&world, SILENT).await).await);
    let mut client = opened(&world, REFUSED).await;
    assert!(read(&mut client).await.starts_with("HTTP/1.1 200"));
    tokio::time::sleep(Duration::from_millis(900)).await;
    client.write_all(REFUSED).await.unwrap();
    assert!(read(&mut client).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_stream_without_a_body_holds_nothing() {
    let world = guarded(|server| server.clocks(clocks(Duration::from_millis(300)))).await;
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut bodies = Vec::new();
    for _ in 0..20 {
        let request = http::Request::builder().method(Method::POST).uri("http://x/v1/chat/completions");
        client = client.ready().await.unwrap();
        let (response, body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        assert_eq!(response.await.unwrap().status(), 401, "without waiting for the body");
        bodies.push(body);
    }
    timeout(Duration::from_secs(10), connection).await.expect("it is closed").unwrap().ok();
    assert_eq!(world.sim.counts().received, 0);
    let request = world.http2().json("/v1/chat/completions", &chat("gpt-4o"));
    assert_eq!(world.http2().send(request).await.status(), 401);
}
