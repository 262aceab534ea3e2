//! Tunnels between two connections in memory, under a paused clock.

use std::{future::pending, io};

use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf},
    sync::oneshot,
};

use super::*;

/// A connection in memory as one end of a tunnel.
struct Memory(DuplexStream);

impl Duplex for Memory {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
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

struct World {
    client: DuplexStream,
    upstream: DuplexStream,
    shutdown: oneshot::Sender<()>,
    /// How the body ended; it is polled by a task of its own.
    end: tokio::task::JoinHandle<Option<Error>>,
}

const IDLE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_secs(1);

fn side(near: DuplexStream) -> OnClient {
    Box::pin(async { Ok(Box::new(Memory(near)) as Box<dyn Duplex>) })
}

fn world() -> World {
    let (client, client_near) = tokio::io::duplex(1024);
    let (upstream, upstream_near) = tokio::io::duplex(1024);
    let (shutdown, closing) = oneshot::channel::<()>();
    let closing = Box::pin(async {
        if closing.await.is_err() {
            pending().await
        }
    });
    let provider = Label::new("test");
    let mut tunnel = Tunnel::new(side(client_near), side(upstream_near), closing, provider, IDLE);
    let end = tokio::spawn(async move {
        match tunnel.frame().await {
            Some(Ok(frame)) => panic!("no frame ever comes: {frame:?}"),
            Some(Err(error)) => Some(error),
            None => None,
        }
    });
    World { client, upstream, shutdown, end }
}

/// An unmasked frame; the tunnel does not ask who sent it.
fn text(payload: &str) -> Vec<u8> {
    let mut frame = vec![0x81, u8::try_from(payload.len()).unwrap()];
    frame.extend_from_slice(payload.as_bytes());
    frame
}

async fn read(stream: &mut DuplexStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn rest(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// The code of the close frame that these bytes are.
fn close_code(frame: &[u8], masked: bool) -> u16 {
    assert_eq!(frame[0], 0x88, "{frame:?}");
    assert_eq!(frame[1] & 0x80 != 0, masked);
    let (key, payload) = if masked { frame[2..].split_at(4) } else { (&[0; 4][..], &frame[2..]) };
    assert_eq!(payload.len(), usize::from(frame[1] & 0x7f));
    u16::from_be_bytes([payload[0] ^ key[0], payload[1] ^ key[1]])
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_answered_ends_it_in_good_order() {
    let mut world = world();
    world.client.write_all(&text("hello")).await.unwrap();
    assert_eq!(read(&mut world.upstream, 7).await, text("hello"));
    world.upstream.write_all(&text("hi")).await.unwrap();
    assert_eq!(read(&mut world.client, 4).await, text("hi"));

    let close = Close { code: 1000, reason: "" };
    world.client.write_all(&close.frame(true)).await.unwrap();
    assert_eq!(close_code(&read(&mut world.upstream, 8).await, true), 1000);
    world.upstream.write_all(&close.frame(false)).await.unwrap();
    assert_eq!(close_code(&rest(&mut world.client).await, false), 1000);
    assert!(world.end.await.unwrap().is_none());
    assert_eq!(rest(&mut world.upstream).await, b"");
}

#[tokio::test(start_paused = true)]
async fn a_close_that_nobody_answers_is_good_order_too() {
    let mut world = world();
    world.upstream.write_all(&Close { code: 1000, reason: "bye" }.frame(false)).await.unwrap();
    drop(world.upstream);
    assert_eq!(close_code(&rest(&mut world.client).await, false), 1000);
    // The client stays, and does not answer.
    assert!(world.end.await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_client_goes() {
    let mut world = world();
    world.client.write_all(&text("hello")).await.unwrap();
    drop(world.client);
    assert_eq!(world.end.await.unwrap().unwrap().kind(), ErrorKind::ClientGone);
    assert_eq!(rest(&mut world.upstream).await, text("hello"), "no word is put in its mouth");
}

#[tokio::test(start_paused = true)]
async fn the_upstream_goes() {
    let mut world = world();
    let cut = [text("hello"), vec![0x81, 100, b'x']].concat();
    world.upstream.write_all(&cut).await.unwrap();
    drop(world.upstream);
    assert_eq!(rest(&mut world.client).await, cut, "what came, and no close frame");
    drop(world.client);
    let error = world.end.await.unwrap().unwrap();
    assert_eq!(error.kind(), ErrorKind::Truncated);
    assert_eq!(error.provider().unwrap().as_str(), "test");
}

#[tokio::test(start_paused = true)]
async fn nobody_says_anything() {
    let mut world = world();
    tokio::time::sleep(IDLE - PAUSE).await;
    world.upstream.write_all(&text("still here")).await.unwrap();
    read(&mut world.client, 12).await;
    tokio::time::sleep(IDLE - PAUSE).await;
    assert!(!world.end.is_finished(), "a byte in either direction is enough");

    let started = Instant::now();
    assert_eq!(close_code(&rest(&mut world.client).await, false), 1001);
    assert_eq!(close_code(&rest(&mut world.upstream).await, true), 1001);
    assert!(started.elapsed() <= PAUSE * 2, "{:?}", started.elapsed());
    drop((world.client, world.upstream));
    let error = world.end.await.unwrap().unwrap();
    assert_eq!(error.kind(), ErrorKind::Timeout(Clock::Idle));
    assert_eq!(error.setting(), Some("timeouts.tunnel_idle"));
}

#[tokio::test(start_paused = true)]
async fn the_gateway_shuts_down_between_two_frames() {
    let mut world = world();
    world.client.write_all(&text("hello")).await.unwrap();
    read(&mut world.upstream, 7).await;
    world.shutdown.send(()).unwrap();
    assert_eq!(close_code(&rest(&mut world.client).await, false), 1001);
    assert_eq!(close_code(&rest(&mut world.upstream).await, true), 1001);
    let answer = Close { code: 1001, reason: "" };
    world.client.write_all(&answer.frame(true)).await.unwrap();
    let started = Instant::now();
    drop(world.upstream);
    assert_eq!(world.end.await.unwrap().unwrap().kind(), ErrorKind::Draining);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_waits_for_the_end_of_a_frame() {
    let mut world = world();
    let frame = text("a long message");
    let (first, second) = frame.split_at(5);
    world.upstream.write_all(first).await.unwrap();
    assert_eq!(read(&mut world.client, 5).await, first);
    world.shutdown.send(()).unwrap();
    assert_eq!(close_code(&rest(&mut world.upstream).await, true), 1001);
    // What comes after that frame is not sent on.
    world.upstream.write_all(&[second, &text("late")].concat()).await.unwrap();
    assert_eq!(read(&mut world.client, second.len()).await, second);
    assert_eq!(close_code(&rest(&mut world.client).await, false), 1001);
    drop((world.client, world.upstream));
    assert_eq!(world.end.await.unwrap().unwrap().kind(), ErrorKind::Draining);
}

#[tokio::test(start_paused = true)]
async fn peers_that_do_not_go_are_left_after_the_grace() {
    let world = world();
    let started = Instant::now();
    world.shutdown.send(()).unwrap();
    assert_eq!(world.end.await.unwrap().unwrap().kind(), ErrorKind::Draining);
    assert_eq!(started.elapsed().as_secs(), GRACE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_read_stops_whoever_writes() {
    let mut world = world();
    let written = tokio::time::timeout(PAUSE, async {
        let mut written = 0;
        loop {
            world.upstream.write_all(&[0; 512]).await.unwrap();
            written += 512;
            assert!(written < 64 * 1024, "somewhere it piles up");
        }
    });
    assert!(written.await.is_err());
    // The other direction flows on.
    world.client.write_all(&text("hello")).await.unwrap();
    assert_eq!(read(&mut world.upstream, 7).await, text("hello"));
}

#[tokio::test(start_paused = true)]
async fn a_side_that_never_comes() {
    let (upstream, near) = tokio::io::duplex(1024);
    let provider = Label::new("test");
    let failed = Box::pin(async { Err(io::ErrorKind::Unsupported.into()) });
    let mut tunnel = Tunnel::new(failed, side(near), Box::pin(pending()), provider.clone(), IDLE);
    assert_eq!(tunnel.frame().await.unwrap().unwrap_err().kind(), ErrorKind::ClientGone);
    assert!(tunnel.frame().await.is_none());
    drop(upstream);

    let (_upstream, near) = tokio::io::duplex(1024);
    let mut tunnel = Tunnel::new(Box::pin(pending()), side(near), Box::pin(pending()), provider, IDLE);
    let error = tunnel.frame().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout(Clock::Idle));
}
