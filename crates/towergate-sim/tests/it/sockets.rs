//! What needs real sockets: both protocols, connections, restarts, uploads, and the raw upstream.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use towergate_sim::{Event, Fault, Gate, RawEvent, RawScript, RawUpstream, Sim, SimServer};

use crate::support::{Client, Ended, chat, post, server, soon};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn http2_is_served_on_the_same_port() {
    let (sim, server) = server().await;
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let uri = format!("{}/chat/completions", server.base_url());
    let body = soon(sender.send_request(post(&uri, &chat("x", true)))).await.unwrap();
    assert!(body.into_body().collect().await.unwrap().to_bytes().ends_with(b"[DONE]\n\n"));

    let reason = |error: hyper::Error| {
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<h2::Error>());
        cause.and_then(h2::Error::reason)
    };
    for (fault, expected) in [
        ("fault:refuse-stream", h2::Reason::REFUSED_STREAM),
        ("fault:close-before-head", h2::Reason::INTERNAL_ERROR),
    ] {
        let error = soon(sender.send_request(post(&uri, &chat(fault, true)))).await.unwrap_err();
        assert_eq!(reason(error), Some(expected));
    }
    // The stream breaks behind what it has said, and the connection goes on.
    let mut body =
        soon(sender.send_request(post(&uri, &chat("fault:cut-after=2", true)))).await.unwrap().into_body();
    let mut read = Vec::new();
    let error = loop {
        match soon(body.frame()).await.unwrap() {
            Ok(frame) => read.extend(frame.into_data().unwrap()),
            Err(error) => break error,
        }
    };
    assert_eq!(reason(error), Some(h2::Reason::INTERNAL_ERROR));
    assert_eq!(crate::support::events(&read).len(), 2);
    assert_eq!(sim.counts().opened, 1);

    let error =
        soon(sender.send_request(post(&uri, &chat("fault:reset-before-head", true)))).await.unwrap_err();
    assert_eq!(reason(error), None);
    soon(sim.wait_until(|log| log.counts().open_connections() == 0)).await;
    assert!(soon(connection).await.unwrap().is_err());
    server.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_goes_is_seen() {
    for (fault, event) in
        [("stall-head", Event::DroppedBeforeHead(1)), ("stall-after=2", Event::DroppedInBody(1))]
    {
        let (sim, server) = server().await;
        let mut client = Client::connect(server.addr()).await;
        client.send(CHAT, fault, &chat("x", true)).await;
        soon(sim.wait_for(1)).await;
        if fault != "stall-head" {
            client.read_until("\n\n\r\n").await;
        }
        drop(client);
        soon(sim.wait_until(|log| log.events().contains(&event))).await;
        soon(sim.wait_until(|log| log.counts().open_connections() == 0)).await;
        server.shutdown().await;
    }
}

#[tokio::test]
async fn an_idle_connection_closes_unannounced() {
    for stream in [false, true] {
        let (sim, server) = server().await;
        let mut client = Client::connect(server.addr()).await;
        client.send(CHAT, "ok", &chat("x", stream)).await;
        soon(sim.wait_until(|log| log.counts().completed == 1)).await;
        client.send(CHAT, "close-idle", &chat("x", stream)).await;
        let (answers, ended) = client.read_to_end().await;
        assert_eq!(ended, Ended::Closed);
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
        assert!(!answers.to_lowercase().contains("connection: close"));
        assert!(answers.ends_with(if stream { "\r\n0\r\n\r\n" } else { "}" }));
        assert_eq!(sim.counts().opened, 1);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_server_is_killed_and_comes_back_on_its_port() {
    let (sim, server) = server().await;
    let addr = server.addr();
    let mut client = Client::connect(addr).await;
    client.send(CHAT, "stall-after=1", &chat("x", true)).await;
    client.read_until("\n\n\r\n").await;
    server.shutdown().await;
    assert!(!client.read_to_end().await.0.contains("\r\n0\r\n"));
    assert_eq!(sim.counts().open_connections(), 0);
    assert!(TcpStream::connect(addr).await.is_err());

    let server = SimServer::start_at(sim.clone(), addr).await.unwrap();
    let mut client = Client::connect(addr).await;
    client.send(CHAT, "ok", &chat("x", false)).await;
    client.read_until("}").await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_drained_server_ends_what_is_under_way() {
    let (sim, server) = server().await;
    let gate = Gate::new();
    sim.script([Fault::new().hold_at(2, &gate)]).unwrap();
    let mut busy = Client::connect(server.addr()).await;
    busy.send(CHAT, "ok", &chat("x", true)).await;
    soon(gate.reached()).await;
    let mut idle = Client::connect(server.addr()).await;
    idle.send(CHAT, "ok", &chat("x", false)).await;
    soon(sim.wait_until(|log| log.counts().completed == 1)).await;
    let addr = server.addr();
    let draining = tokio::spawn(server.drain());
    assert_eq!(idle.read_to_end().await.1, Ended::Closed);
    assert!(TcpStream::connect(addr).await.is_err());
    assert!(!draining.is_finished());
    gate.open();
    assert!(busy.read_to_end().await.0.ends_with("\r\n0\r\n\r\n"));
    soon(draining).await.unwrap();
}

#[tokio::test]
async fn a_panic_while_serving_is_not_lost() {
    let (sim, server) = server().await;
    sim.script_where(|_| panic!("planted"), ["ok"]).unwrap();
    let mut client = Client::connect(server.addr()).await;
    client.send(CHAT, "ok", &json!({})).await;
    client.read_to_end().await;
    let panic = tokio::spawn(server.shutdown()).await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref(), Some(&"planted"));
}

#[tokio::test]
async fn an_upload_is_counted_and_not_all_kept() {
    let (sim, server) = server().await;
    let mut client = Client::connect(server.addr()).await;
    let size = 9 << 20;
    let head = format!("PUT /v1/echo HTTP/1.1\r\nhost: sim\r\ncontent-length: {size}\r\n\r\n");
    client.0.write_all(head.as_bytes()).await.unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..9 {
        soon(client.0.write_all(&block)).await.unwrap();
    }
    let requests = soon(sim.wait_for(1)).await;
    assert_eq!((requests[0].body_len, requests[0].body.len()), (size, 8 << 20));
    let answer = client.read_until("}").await;
    assert!(answer.contains(&format!("\"body_len\":{size}")));

    // An upload that breaks off is no request.
    client.0.write_all(head.as_bytes()).await.unwrap();
    soon(sim.wait_until(|log| log.counts().arrived == 2)).await;
    drop(client);
    soon(sim.wait_until(|log| log.counts().uploads_failed + log.counts().dropped_before_head > 0)).await;
    assert_eq!(sim.counts().received, 1);
    server.shutdown().await;
}

#[tokio::test]
async fn an_answer_need_not_wait_for_the_upload() {
    let (sim, server) = server().await;
    let mut client = Client::connect(server.addr()).await;
    let head = "POST /v1/files HTTP/1.1\r\nhost: sim\r\nexpect: 100-continue\r\n\
        x-sim-fault: no-read;413\r\ncontent-length: 1000000\r\n\r\n";
    client.0.write_all(head.as_bytes()).await.unwrap();
    let answer = client.read_until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let requests = sim.requests();
    assert_eq!((requests[0].body_len, requests[0].body_complete), (0, false));

    let mut client = Client::connect(server.addr()).await;
    client.0.write_all(head.replace("no-read;413", "read-only=10;stall-head").as_bytes()).await.unwrap();
    assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 100"));
    client.0.write_all(&[b'x'; 10]).await.unwrap();
    assert_eq!(soon(sim.wait_for(2)).await[1].body_len, 10);
    // The rest of the upload is never read, and so nobody sees whether the peer is still there.
    assert_eq!(sim.counts().in_flight(), 1);
    server.shutdown().await;
    assert_eq!(sim.counts().dropped_before_head, 1);
}

#[tokio::test]
async fn weird_requests_do_not_hurt() {
    let (sim, server) = server().await;
    for weird in [
        &b"\x00\x01\x02\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"HEAD /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"GET /v1/files//content HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"GET http://a/v1/echo HTTP/1.0\r\n\r\n",
    ] {
        let mut client = Client::connect(server.addr()).await;
        client.0.write_all(weird).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(client.0.read_to_end(&mut answer)).await;
    }
    soon(sim.wait_until(|log| log.counts().open_connections() == 0)).await;
    assert_eq!(sim.counts().in_flight(), 0);
    server.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_leaves_a_long_stream_is_seen() {
    let sim = Sim::new();
    let server = SimServer::start(sim.clone()).await.unwrap();
    let mut client = Client::connect(server.addr()).await;
    client.send(CHAT, "bytes=1GiB", &chat("x", true)).await;
    client.read_until("\n\n\r\n").await;
    assert_eq!(sim.counts().in_flight(), 1);
    drop(client);
    soon(sim.wait_until(|log| log.events().contains(&Event::DroppedInBody(1)))).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_raw_upstream_follows_its_scripts() {
    let gate = Gate::new();
    let upstream = RawUpstream::start([
        RawScript::new().read_request().write("HTTP/1.1 200 OK\r\n").wait(&gate).write("half").reset(),
        RawScript::new().read_request().write_json("{}").read_request().write_json("[]"),
        RawScript::new().read_head().write_forever("x: y\r\n"),
        RawScript::new().wait_for_close(),
    ])
    .await
    .unwrap();
    let request = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";

    let mut client = Client::connect(upstream.addr()).await;
    client.0.write_all(request).await.unwrap();
    client.read_until("OK\r\n").await;
    gate.open();
    assert_eq!(client.read_to_end().await, ("half".to_owned(), Ended::Reset));

    let mut client = Client::connect(upstream.addr()).await;
    client.0.write_all(&[&request[..], b"GET / HTTP/1.1\r\n\r\n"].concat()).await.unwrap();
    let (answers, ended) = client.read_to_end().await;
    assert!(answers.ends_with("content-length: 2\r\n\r\n[]"));
    assert_eq!(ended, Ended::Closed);
    assert_eq!(upstream.requests()[..2], [Bytes::from(&request[..]), Bytes::from(&request[..])]);

    let mut client = Client::connect(upstream.addr()).await;
    client.0.write_all(request).await.unwrap();
    client.read_until("x: y\r\nx: y\r\n").await;
    drop(client);
    soon(upstream.wait_for(RawEvent::PeerClosed(3))).await;
    soon(upstream.wait_for(RawEvent::Ended(3))).await;

    for number in [4, 5] {
        let client = Client::connect(upstream.addr()).await;
        soon(upstream.wait_for(RawEvent::Opened(number))).await;
        drop(client);
        soon(upstream.wait_for(RawEvent::PeerClosed(number))).await;
    }
    upstream.shutdown().await;
}
