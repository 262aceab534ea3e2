//! A client that reads slowly slows the upstream down; nothing piles up in between.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::support::{Http, World, chat_stream};

const MIB: usize = 1 << 20;

/// An upstream that streams events without end, and counts the bytes that it could write.
async fn endless() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let written = Arc::<AtomicUsize>::default();
    let counting = Arc::clone(&written);
    tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        let _ = peer.read(&mut [0; 4096]).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        peer.write_all(head.as_bytes()).await.unwrap();
        let content = "x".repeat(1000);
        let event = format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}},\"finish_reason\":null}}]}}\n\n"
        );
        while peer.write_all(event.as_bytes()).await.is_ok() {
            counting.fetch_add(event.len(), Relaxed);
        }
    });
    (url, written)
}

async fn read(body: &mut Incoming, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let frame = body.frame().await.unwrap().unwrap();
        left = left.saturating_sub(frame.into_data().unwrap().len());
    }
}

/// What was written once nothing more can be.
async fn settled(written: &AtomicUsize) -> usize {
    loop {
        let before = written.load(Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
        if written.load(Relaxed) == before {
            return before;
        }
    }
}

async fn a_slow_client_stops_the_upstream(http: Http, written: &AtomicUsize) {
    let request = http.json("/v1/chat/completions", &chat_stream("gpt-4o"));
    let mut body = http.send(request).await.into_body();
    read(&mut body, 10_000).await;
    // The sockets on both sides hold some megabytes; what is more would be in the gateway.
    let first = settled(written).await;
    assert!(first < 16 * MIB, "{first} bytes were taken for 10,000 that were read");
    read(&mut body, 40 * MIB).await;
    let second = settled(written).await;
    assert!((first + 24 * MIB..first + 56 * MIB).contains(&second), "{first}, then {second}");
}

#[tokio::test]
async fn over_http1() {
    let (url, written) = endless().await;
    let world = World::builder().base_url(url).start().await;
    a_slow_client_stops_the_upstream(world.http1(), &written).await;
}

#[tokio::test]
async fn over_http2() {
    let (url, written) = endless().await;
    let world = World::builder().base_url(url).start().await;
    a_slow_client_stops_the_upstream(world.http2(), &written).await;
}

/// Prints what a gigabyte takes of memory, and how fast it is: `cargo test -p towergate-tests --test it -- --ignored
/// gigabyte --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn a_gigabyte() {
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4
    };
    let (url, _) = endless().await;
    let world = World::builder().base_url(url).start().await;
    let http = world.http1();
    let request = http.json("/v1/chat/completions", &chat_stream("gpt-4o"));
    let mut body = http.send(request).await.into_body();
    read(&mut body, MIB).await;
    let (before, began) = (resident(), tokio::time::Instant::now());
    read(&mut body, 1024 * MIB).await;
    println!("1 GiB in {:?}: {before} KiB resident before, {} KiB after", began.elapsed(), resident());
    // Ten kilobytes a second.
    for _ in 0..30 {
        read(&mut body, 1000).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("and 3 s at 10 KB/s: {} KiB", resident());
}
