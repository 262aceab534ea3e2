//! Upstreams that mean harm, or are out of their mind: each is a named timeout or a 502 in bounded memory, and the
//! gateway serves the next request.

use std::time::Duration;

use http_body_util::BodyExt as _;
use towergate::layers::timeout::Timeouts;
use towergate_sim::{RawScript, RawUpstream};

use super::support::{Answer, World, chat, chat_stream};

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const WELL: &str = r#"{"id":"x","object":"chat.completion","choices":[]}"#;
const CONTENT: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\n";

/// A gateway in front of an upstream that follows this script once, and answers well after that.
async fn in_front_of(script: RawScript) -> (World, RawUpstream) {
    let clocks = Timeouts::uniform(Duration::from_millis(400));
    bounded(script, clocks, Duration::from_secs(3)).await
}

/// The same with clocks of its own, for an attempt and for the whole.
async fn bounded(script: RawScript, clocks: Timeouts, total: Duration) -> (World, RawUpstream) {
    let well = RawScript::new().read_request().write_json(WELL);
    let upstream = RawUpstream::start([script, well]).await.unwrap();
    let world = World::builder()
        .base_url(upstream.base_url())
        .provider(move |provider| provider.timeouts(clocks))
        .gateway(move |gateway| gateway.timeouts(Timeouts::default().with_total(total)))
        .start()
        .await;
    (world, upstream)
}

/// The gateway lives, and the next request has nothing of the one before.
async fn lives(world: &World) {
    let answer = world.http1().chat(&chat("gpt-4o")).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, WELL));
}

async fn ask(script: RawScript, stream: bool) -> Answer {
    let (world, _upstream) = in_front_of(script).await;
    let body = if stream { chat_stream("gpt-4o") } else { chat("gpt-4o") };
    let answer = world.http1().chat(&body).await;
    lives(&world).await;
    answer
}

fn answers(bytes: impl Into<bytes::Bytes>) -> RawScript {
    RawScript::new().read_request().write(bytes)
}

#[tokio::test]
async fn endless_comments_are_no_event() {
    // As fast as they can be read, so that no clock sees a silence; and now and then a byte of one.
    for comment in [": still thinking\n\n", "\n\n\n", "event: ping\n\n", "retry: 1\n\n"] {
        let answer = ask(answers(EVENTS).write_forever(comment.repeat(1000)), true).await;
        let code = answer.error()["code"].clone();
        // Single line ends take long to read without optimization, so that the clock may be first.
        let named = [(502, "upstream_bad_answer".into()), (504, "first_event_timeout".into())];
        assert!(named.contains(&(answer.status.as_u16(), code)), "{comment:?}: {answer:?}");
        let answer = ask(answers(EVENTS).trickle(comment.repeat(1000), Duration::from_millis(5)), true).await;
        assert_eq!(answer.status, 504, "{comment:?}");
        assert_eq!(answer.error()["code"], "first_event_timeout", "{comment:?}");
    }
}

#[tokio::test]
async fn comments_after_the_first_event_do_not_hold_the_idle_clock() {
    let begun = || answers(EVENTS).write(CONTENT);
    let trickle = begun().trickle(": x\n\n".repeat(1000), Duration::from_millis(5));
    // Long comments: a megabyte of short ones may take longer to read than the clock runs.
    let flood = begun().write_forever(format!(": {}\n\n", "x".repeat(8000)).repeat(10));
    for (script, code) in [(flood, "upstream_bad_answer"), (trickle, "idle_timeout")] {
        let answer = ask(script, true).await;
        assert!(!answer.whole && answer.status == 200, "{:?}", answer.status);
        assert!(answer.body.len() < 2 << 20, "{}", answer.body.len());
        let tail = answer.text().rsplit("data: ").next().unwrap();
        assert!(tail.contains(code), "{tail}");
    }
}

#[tokio::test]
async fn a_head_of_a_megabyte_is_no_answer() {
    for head in [
        format!("HTTP/1.1 200 OK\r\nx-big: {}\r\ncontent-length: 2\r\n\r\n{{}}", "x".repeat(1 << 20)),
        format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\n{{}}", "x-many: 1\r\n".repeat(100_000)),
        format!("HTTP/1.1 200 {}\r\ncontent-length: 2\r\n\r\n{{}}", "x".repeat(1 << 20)),
    ] {
        let answer = ask(answers(head), false).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(answer.error()["type"], "gateway_error");
    }
}

#[tokio::test]
async fn heads_that_never_end_are_bounded() {
    for piece in ["x-more: 1\r\n", "x"] {
        let script = answers("HTTP/1.1 200 OK\r\n").write_forever(piece.repeat(1000));
        let answer = ask(script, false).await;
        assert!(matches!(answer.status.as_u16(), 502 | 504), "{answer:?}");
    }
}

#[tokio::test]
async fn chunk_sizes_that_lie_are_no_answer() {
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    for chunks in [
        "FFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "2 2\r\n{}\r\n0\r\n\r\n",
        "zz\r\n{}\r\n0\r\n\r\n",
        "1\r\n{}\r\n0\r\n\r\n",
        "ff\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}",
    ] {
        let answer = ask(answers(format!("{chunked}{chunks}")), false).await;
        assert_eq!(answer.status, 502, "{chunks:?}: {answer:?}");
    }
    // Chunk extensions without end are hyper's to bound.
    let script = answers(format!("{chunked}2;")).write_forever("x".repeat(1000));
    let answer = ask(script, false).await;
    assert!(matches!(answer.status.as_u16(), 502 | 504), "{answer:?}");
}

#[tokio::test]
async fn lengths_that_lie_are_no_answer() {
    for length in ["9", "-1", "99999999999999999999999", "2, 3", "+2", "0x2"] {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{{}}"
        );
        let answer = ask(answers(head), false).await;
        assert_eq!(answer.status, 502, "{length}: {answer:?}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_does_not_cut_the_answer() {
    let chunk = format!("{:x}\r\n{WELL}\r\n0\r\n\r\n", WELL.len());
    for path in ["/v1/chat/completions", "/v1/files/file-1/content"] {
        for length in [5, 5000] {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n"
            );
            let (world, _upstream) = in_front_of(answers(head + &chunk)).await;
            let http = world.http1();
            let answer = if path.ends_with("completions") {
                http.chat(&chat("gpt-4o")).await
            } else {
                http.get(path).await
            };
            assert!(answer.whole, "{path} {length}: {answer:?}");
            assert_eq!((answer.status.as_u16(), answer.text()), (200, WELL), "{path} {length}");
            lives(&world).await;
        }
    }
}

#[tokio::test]
async fn an_old_http_upstream_makes_no_old_http_of_ours() {
    let whole = [CONTENT, &CONTENT.replace("null", "\"stop\""), "data: [DONE]\n\n"].concat();
    for (events, complete) in [(&*whole, true), (CONTENT, false)] {
        let old = EVENTS.replace("HTTP/1.1", "HTTP/1.0");
        let (world, _upstream) = in_front_of(answers(old + events)).await;
        let http = world.http1();
        let response = http.send(http.json("/v1/chat/completions", &chat_stream("gpt-4o"))).await;
        assert_eq!(response.version(), http::Version::HTTP_11);
        assert_eq!(response.headers()["transfer-encoding"], "chunked");
        let answer = Answer::read(response).await;
        // Without chunks the end of the connection would be a good one.
        assert_eq!(answer.whole, complete, "{answer:?}");
        assert!(answer.text().starts_with(events));
        lives(&world).await;
    }
}

#[tokio::test]
async fn what_is_no_http_is_no_answer() {
    for bytes in [
        "\0\x01\x02\x03",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "\r\n\r\n\r\n",
    ] {
        let answer = ask(answers(bytes), false).await;
        assert_eq!(answer.status, 502, "{bytes:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_byte_now_and_then_is_no_progress() {
    let clocks = Timeouts::uniform(Duration::from_millis(400));
    let world = World::builder().provider(move |provider| provider.timeouts(clocks)).start().await;
    // Each byte comes in time; the event does not.
    let answer = world.http1().chat(&chat_stream("fault:byte-by-byte;slow-chunks=50ms")).await;
    assert_eq!((answer.status.as_u16(), &answer.error()["code"]), (504, &"first_event_timeout".into()));
    let sim = world.sim.clone();
    sim.wait_until(|log| log.counts().in_flight() == 0).await;
}

#[tokio::test]
async fn an_event_that_never_ends_ends_by_the_total_clock() {
    // Megabytes have to come before it is too long to be held: the clock over the first event leaves them all the time
    // that a busy machine may take.
    let clocks = Timeouts::uniform(Duration::from_secs(60)).with_idle(Duration::from_millis(400));
    let ends = async |piece: String| {
        let script = answers(EVENTS).write("data: ").write_forever(piece);
        let (world, _upstream) = bounded(script, clocks, Duration::from_secs(5)).await;
        let request = world.http1().json("/v1/chat/completions", &chat_stream("gpt-4o"));
        let response = world.http1().send(request).await;
        // It was too long to be held, and goes out unread.
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let ended = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                match body.frame().await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => break "broken",
                    None => break "whole",
                }
            }
        });
        assert_eq!(ended.await.unwrap(), "broken");
        lives(&world).await;
    };
    tokio::join!(ends("x".repeat(1 << 16)), ends(":\n".repeat(1 << 15)));
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_no_answer() {
    for upgrade in
        ["upgrade: websocket\r\nconnection: upgrade\r\n", "upgrade: h2c\r\nconnection: upgrade\r\n", ""]
    {
        let answer = ask(answers(format!("HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n")), false).await;
        assert_eq!(answer.status, 502, "{upgrade:?}: {answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_nobodys() {
    let whole = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let poison = r#"{"id":"poison","choices":[]}"#;
    let script =
        answers(whole(r#"{"id":"first","choices":[]}"#) + &whole(poison)).read_request().write(whole(poison));
    let (world, _upstream) = in_front_of(script).await;
    assert!(world.http1().chat(&chat("gpt-4o")).await.text().contains("first"));
    for _ in 0..3 {
        let answer = world.http1().chat(&chat("gpt-4o")).await;
        assert!(!answer.text().contains("poison"), "{answer:?}");
    }
}

#[tokio::test]
async fn informational_responses_without_end_are_no_answer() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    // No clock but the total: so it is where a model may think for as long as it wants to.
    let script = RawScript::new().read_request().write_forever(hints.repeat(100));
    let (world, _upstream) = bounded(script, Timeouts::default(), Duration::from_secs(30)).await;
    let answer = world.http1().chat(&chat("gpt-4o")).await;
    assert_eq!((answer.status.as_u16(), &answer.error()["code"]), (502, &"upstream_bad_answer".into()));
    assert!(answer.text().contains("informational (1xx)"), "{answer:?}");
    lives(&world).await;
    // One now and then holds up no clock: neither that of the head nor the total one.
    let slow = || RawScript::new().read_request().trickle(hints.repeat(1000), Duration::from_millis(2));
    let head = ask(slow(), false).await;
    assert_eq!((head.status.as_u16(), &head.error()["code"]), (504, &"head_timeout".into()));
    let (world, _upstream) = bounded(slow(), Timeouts::default(), Duration::from_millis(400)).await;
    let total = world.http1().chat(&chat("gpt-4o")).await;
    assert_eq!((total.status.as_u16(), &total.error()["code"]), (504, &"total_timeout".into()));
}

#[tokio::test]
async fn what_is_compressed_passes_unread() {
    // Ten megabytes of zeros in ten kilobytes: nobody here unpacks them.
    let bomb = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\u{b}\u{8}";
    let answer = ask(answers(bomb.as_bytes()[..bomb.len()].to_vec()), false).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-encoding")), (200, Some("gzip")));
    assert_eq!(answer.body.len(), 3);
}
