//! Clients that leave: upstream sees its request dropped at once, nothing is tried for them any more, and the outcome
//! is counted once, as what it was.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};
use towergate::openai::service::Http2;
use towergate_sim::{Counts, Fault, Gate};

use super::support::{World, chat, chat_stream, count, metered};

/// The promise is 100 ms; what is more is for a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// It closes its connection.
    Fin,
    /// It closes its sending half, as some do.
    HalfClose,
    /// It resets its connection.
    Reset,
    /// It resets its stream; the connection stays.
    Stream,
}

const WAYS: [Way; 4] = [Way::Fin, Way::HalfClose, Way::Reset, Way::Stream];

/// Where it leaves.
struct Point {
    name: &'static str,
    path: &'static str,
    body: Value,
    fault: fn(&Gate) -> Fault,
    /// Whether the client has its head by then.
    has_head: bool,
    /// Whether the upstream has answered by then.
    answered: bool,
}

fn points() -> Vec<Point> {
    let chat_path = "/v1/chat/completions";
    let point = |name, body, fault, has_head, answered| Point {
        name,
        path: chat_path,
        body,
        fault,
        has_head,
        answered,
    };
    vec![
        point("before the head", chat("m"), |gate| Fault::new().hold_head(gate), false, false),
        point(
            "before the head of a stream",
            chat_stream("m"),
            |gate| Fault::new().hold_head(gate),
            false,
            false,
        ),
        point("while the head is held", chat_stream("m"), |gate| Fault::new().hold_at(1, gate), false, true),
        point("while a document is collected", chat("m"), |gate| Fault::new().hold_at(1, gate), false, true),
        point("in a stream", chat_stream("m"), |gate| Fault::new().hold_at(5, gate), true, true),
        Point {
            path: "/v1/audio/speech",
            ..point(
                "in a file",
                json!({"model": "m", "input": "Hi", "voice": "alloy"}),
                |gate| Fault::new().hold_at(2, gate),
                true,
                true,
            )
        },
    ]
}

/// A client of HTTP/1.1 that has sent this.
async fn sent(world: &World, path: &str, length: usize, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all((head + body).as_bytes()).await.unwrap();
    socket
}

/// Leaves; what comes back keeps a connection that is only half closed.
async fn leave(mut socket: TcpStream, way: Way) -> Option<TcpStream> {
    match way {
        Way::HalfClose => {
            socket.shutdown().await.unwrap();
            return Some(socket);
        }
        Way::Reset => socket.set_zero_linger().unwrap(),
        Way::Fin | Way::Stream => {}
    }
    None
}

/// How long it takes until the upstream has counted what it is to count.
async fn noticed(world: &World, what: &str, wanted: impl Fn(Counts) -> bool) -> Duration {
    let began = Instant::now();
    let waited = timeout(AT_ONCE, world.sim.wait_until(|log| wanted(log.counts()))).await;
    waited.unwrap_or_else(|_| panic!("{what}: not seen upstream"));
    began.elapsed()
}

async fn leaves_at(world: &World, point: &Point, way: Way) -> Duration {
    let gate = Gate::new();
    world.sim.script([(point.fault)(&gate)]).unwrap();
    let before = world.sim.counts();
    let body = point.body.to_string();
    let what = format!("{} by {way:?}", point.name);
    let wanted = |counts: Counts| {
        if point.answered {
            counts.dropped_in_body == before.dropped_in_body + 1
        } else {
            counts.dropped_before_head == before.dropped_before_head + 1
        }
    };
    if way == Way::Stream {
        let http = world.http2();
        let request = http.json(point.path, &point.body);
        let (head, has_head) = tokio::sync::oneshot::channel();
        let client = tokio::spawn(async move {
            let _response = http.send(request).await;
            let _ = head.send(());
            std::future::pending::<()>().await;
        });
        gate.reached().await;
        if point.has_head {
            has_head.await.unwrap();
        }
        client.abort();
        return noticed(world, &what, wanted).await;
    }
    let mut socket = sent(world, point.path, body.len(), &body).await;
    gate.reached().await;
    if point.has_head {
        socket.read_u8().await.unwrap();
    }
    let _half = leave(socket, way).await;
    noticed(world, &what, wanted).await
}

async fn started(http2: bool) -> World {
    World::builder()
        .provider(move |provider| {
            provider.max_retries(3).leaf(move |leaf| leaf.http2(http2.then(Http2::default)))
        })
        .start()
        .await
}

#[test]
fn at_any_point_it_is_seen_upstream_and_counted_once() {
    for http2 in [false, true] {
        let metrics = metered(|_| async move {
            let world = started(http2).await;
            let mut longest = Duration::ZERO;
            for point in points() {
                for way in WAYS {
                    longest = longest.max(leaves_at(&world, &point, way).await);
                }
            }
            println!("seen upstream after {longest:?} at most");
            assert_eq!(world.sim.counts().received, 24, "nothing was tried again");
        });
        let requests = |outcome| count(&metrics, "towergate_requests_total", outcome);
        assert_eq!(requests("client_gone_before_head"), 4 * 4, "{metrics}");
        assert_eq!(requests("client_gone_in_body"), 2 * 4, "{metrics}");
        let all = metrics.lines().filter(|line| line.starts_with("towergate_requests_total"));
        let all: u64 = all.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(all, 24, "{metrics}");
        for gauge in
            ["towergate_requests_in_flight 0\n", "towergate_attempts_in_flight{provider=\"openai\"} 0\n"]
        {
            assert!(metrics.contains(gauge), "{metrics}");
        }
    }
}

async fn idle(metrics: &PrometheusHandle, what: &str) {
    let idle = async {
        while !metrics.render().contains("towergate_requests_in_flight 0\n") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(AT_ONCE, idle).await.unwrap_or_else(|_| panic!("{what}: still under way"));
}

#[test]
fn in_a_backoff_no_further_attempt_is_made() {
    let metrics = metered(|metrics| async move {
        let world = started(false).await;
        for way in WAYS {
            world.sim.script(["status=503"]).unwrap();
            let completed = world.sim.counts().completed;
            let body = chat("m");
            if way == Way::Stream {
                let http = world.http2();
                let client = tokio::spawn(async move { http.chat(&body).await });
                world.sim.wait_until(|log| log.counts().completed > completed).await;
                client.abort();
                let _ = client.await;
            } else {
                let body = body.to_string();
                let socket = sent(&world, "/v1/chat/completions", body.len(), &body).await;
                world.sim.wait_until(|log| log.counts().completed > completed).await;
                let half = leave(socket, way).await;
                idle(&metrics, &format!("{way:?}")).await;
                drop(half);
            }
            idle(&metrics, &format!("{way:?}")).await;
        }
        // The shortest backoff is 750 ms.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(world.sim.counts().received, 4);
    });
    assert_eq!(count(&metrics, "towergate_requests_total", "client_gone_before_head"), 4, "{metrics}");
}

#[test]
fn in_a_stalled_upload_it_is_seen_upstream() {
    let metrics = metered(|metrics| async move {
        let world = started(false).await;
        for way in [Way::Fin, Way::HalfClose, Way::Reset] {
            let what = format!("{way:?}");
            // A form streams through, and is known upstream; JSON is collected first, and is not.
            let before = world.sim.counts();
            let socket = sent(&world, "/v1/files", 100_000, &"x".repeat(1000)).await;
            world.sim.wait_until(|log| log.counts().arrived > before.arrived).await;
            let half = leave(socket, way).await;
            noticed(&world, &what, |counts| counts.uploads_failed > before.uploads_failed).await;
            drop(half);
            let socket = sent(&world, "/v1/chat/completions", 100_000, "{").await;
            while metrics.render().contains("towergate_requests_in_flight 0\n") {
                tokio::task::yield_now().await;
            }
            let half = leave(socket, way).await;
            idle(&metrics, &what).await;
            drop(half);
        }
    });
    let gone = ["client_gone_before_head", "client_gone"];
    let gone: u64 = gone.iter().map(|outcome| count(&metrics, "towergate_requests_total", outcome)).sum();
    assert_eq!(gone, 6, "{metrics}");
}

#[test]
fn an_upload_whose_stream_is_reset_is_no_whole_one() {
    let reasons = [h2::Reason::CANCEL, h2::Reason::NO_ERROR, h2::Reason::INTERNAL_ERROR];
    let metrics = metered(|metrics| async move {
        let world = started(false).await;
        let stream = TcpStream::connect(world.address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for (path, form) in [("/v1/files", true), ("/v1/chat/completions", false)] {
            for reason in reasons {
                let before = world.sim.counts();
                let content_type = if form { "multipart/form-data; boundary=x" } else { "application/json" };
                let request =
                    http::Request::post(format!("http://x{path}")).header("content-type", content_type);
                client = client.ready().await.unwrap();
                let (answer, mut upload) = client.send_request(request.body(()).unwrap(), false).unwrap();
                // All of it, but that nobody has said so.
                let body = if form { "--x--\r\n".to_owned() } else { chat("m").to_string() };
                upload.send_data(body.into(), false).unwrap();
                if form {
                    world.sim.wait_until(|log| log.counts().arrived > before.arrived).await;
                } else {
                    while metrics.render().contains("towergate_requests_in_flight 0\n") {
                        tokio::task::yield_now().await;
                    }
                }
                upload.send_reset(reason);
                idle(&metrics, &format!("{path} {reason}")).await;
                drop(answer);
                world.sim.wait_until(|log| log.counts().in_flight() == 0).await;
            }
        }
        assert_eq!(world.sim.counts().received, 0, "none of them was whole");
    });
    assert_eq!(count(&metrics, "towergate_requests_total", "client_gone_before_head"), 6, "{metrics}");
}
