//! Clients that leave, by the thousand: nothing is left of them.

use std::num::NonZeroUsize;

use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;

use towergate::openai::service::Http2;

use super::support::{World, chat_stream};

/// How many streams are given up; `ABORTED` asks for another number.
fn count() -> usize {
    std::env::var("ABORTED").ok().and_then(|count| count.parse().ok()).unwrap_or(300)
}

/// What the process holds in memory, in KiB. Others run in it too, so it is printed only.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4
}

/// Streams of which the client reads one frame, many at a time, and then goes away.
async fn abort(world: &World, count: usize, http2: bool) {
    let http = if http2 { world.http2() } else { world.http1() };
    let (http, sim) = (&http, &world.sim);
    stream::iter(0..count)
        .for_each_concurrent(50, |turn| async move {
            if turn % 1000 == 999 {
                // Its memory of requests is not what is measured.
                sim.forget();
            }
            let request = http.json("/v1/chat/completions", &chat_stream("fault:stall-after=3"));
            let mut body = http.send(request).await.into_body();
            body.frame().await.unwrap().unwrap();
        })
        .await;
}

async fn leaves_nothing(http2: bool) {
    let world = World::start().await;
    // What is made once (connections, buffers) is made.
    abort(&world, 100, http2).await;
    world.sim.wait_until(|log| log.counts().in_flight() == 0).await;
    let (tasks, memory) = (Handle::current().metrics().num_alive_tasks(), resident());

    let count = count();
    abort(&world, count, http2).await;
    world.sim.wait_until(|log| log.counts().in_flight() == 0).await;
    let counts = world.sim.counts();
    println!(
        "{count} streams given up over HTTP/{}: {} KiB before, {} KiB after, {tasks} tasks before, {} after",
        if http2 { 2 } else { 1 },
        memory,
        resident(),
        Handle::current().metrics().num_alive_tasks(),
    );
    // Connections close in their own time; what matters is that they do not add up.
    assert!(counts.open_connections() <= 60, "{counts:?}");
    let settled = async {
        while Handle::current().metrics().num_alive_tasks() > tasks + 60 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), settled).await.expect("tasks add up");
}

#[tokio::test]
async fn streams_given_up_leave_nothing_over_http1() {
    leaves_nothing(false).await;
}

#[tokio::test]
async fn streams_given_up_leave_nothing_over_http2() {
    leaves_nothing(true).await;
}

#[tokio::test]
async fn streams_given_up_do_not_end_the_upstreams_connection() {
    let world = World::builder()
        .provider(|provider| provider.leaf(|leaf| leaf.http2(Some(Http2 { shards: NonZeroUsize::MIN }))))
        .start()
        .await;
    let http = world.http1();
    stream::iter(0..1600)
        .for_each_concurrent(100, |turn| {
            let (http, sim) = (&http, &world.sim);
            async move {
                if turn % 1000 == 999 {
                    sim.forget();
                }
                let request = http.json("/v1/chat/completions", &chat_stream("fault:tokens=100"));
                let mut body = http.send(request).await.into_body();
                body.frame().await.unwrap().unwrap();
            }
        })
        .await;
    assert_eq!(world.sim.counts().opened, 1, "{:?}", world.sim.counts());
}
