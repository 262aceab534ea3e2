//! Clients that never read their answers: given up after the write progress clock, counted once as
//! what they are, and upstream is released.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use towergate::server::ConnectionClocks;

use super::support::{World, chat, chat_stream, count, metered};

/// More than any buffer between the upstream and the client.
const LARGE: &str = "fault:bytes=64MiB";

async fn impatient() -> World {
    let mut clocks = ConnectionClocks::default();
    clocks.write_progress = Duration::from_millis(200);
    World::builder().server(move |server| server.clocks(clocks)).start().await
}

fn post(world: &World, body: &serde_json::Value) -> Request<Full<Bytes>> {
    world
        .http2()
        .request(Method::POST, "/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap()
}

/// A connection whose streams have a window of `window` bytes each, opened only by reading.
async fn http2(world: &World, window: u32) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

#[test]
fn on_http1() {
    let metrics = metered(|_| async {
        let world = impatient().await;
        let body = chat_stream(LARGE).to_string();
        let mut client = TcpStream::connect(world.address).await.unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        world.sim.wait_until(|log| log.counts().dropped_in_body == 1).await;
        assert_eq!(world.http1().chat(&chat("gpt-4o")).await.status, 200);
    });
    for series in ["towergate_requests_total", "towergate_attempts_total"] {
        assert_eq!(count(&metrics, series, "client_stalled"), 1, "{metrics}");
        assert_eq!(count(&metrics, series, "client_gone_in_body"), 0, "{metrics}");
    }
}

#[test]
fn on_one_stream_of_http2_while_others_flow() {
    let metrics = metered(|_| async {
        let world = impatient().await;
        let mut client = http2(&world, 16 * 1024).await;
        let unread = client.send_request(post(&world, &chat_stream(LARGE))).await.unwrap();
        assert_eq!(unread.status(), 200);
        // A stream on the same connection that is read, and that is under way the whole time.
        let slow = chat_stream("fault:tokens=80;slow-chunks=10ms");
        let read = client.send_request(post(&world, &slow)).await.unwrap();
        let read = read.into_body().collect().await.unwrap().to_bytes();
        assert!(read.ends_with(b"data: [DONE]\n\n"));
        world.sim.wait_until(|log| log.counts().dropped_in_body == 1).await;
        // What had been sent is still there to be read; then the stream breaks.
        assert!(unread.into_body().collect().await.is_err());
    });
    for series in ["towergate_requests_total", "towergate_attempts_total"] {
        assert_eq!(count(&metrics, series, "client_stalled"), 1, "{metrics}");
        assert_eq!(count(&metrics, series, "completed"), 1, "{metrics}");
        assert_eq!(count(&metrics, series, "client_gone_in_body"), 0, "{metrics}");
    }
    assert!(metrics.contains("towergate_requests_in_flight 0"), "{metrics}");
}

#[test]
fn on_http2_a_connection_of_nothing_else_is_closed() {
    let metrics = metered(|_| async {
        let world = impatient().await;
        let mut client = http2(&world, 1).await;
        let mut unread = Vec::new();
        for _ in 0..3 {
            unread.push(client.send_request(post(&world, &chat_stream(LARGE))).await.unwrap());
        }
        world.sim.wait_until(|log| log.counts().dropped_in_body == 3).await;
        while !client.is_closed() {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(count(&metrics, "towergate_requests_total", "client_stalled"), 3, "{metrics}");
}

#[test]
fn a_slow_upstream_is_no_stalled_client() {
    let metrics = metered(|_| async {
        let world = impatient().await;
        let mut client = http2(&world, 1 << 20).await;
        // Silent for longer than the write progress clock, with nothing left to take.
        let slow = chat_stream("fault:delay-at=3:700ms");
        let read = client.send_request(post(&world, &slow)).await.unwrap();
        let read = read.into_body().collect().await.unwrap().to_bytes();
        assert!(read.ends_with(b"data: [DONE]\n\n"));
    });
    assert_eq!(count(&metrics, "towergate_requests_total", "completed"), 1, "{metrics}");
    assert_eq!(count(&metrics, "towergate_requests_total", "client_stalled"), 0, "{metrics}");
}
