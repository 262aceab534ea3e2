//! The listener's own TLS.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use towergate::server::{ConnectionClocks, Tls, TlsFiles};
use towergate_sim::{Fault, Gate};

use super::support::{Answer, Authority, World, chat, chat_stream, connect, counted, raw};

async fn open(authority: &Authority) -> Tls {
    TlsFiles::new(authority.path("tls.crt"), authority.path("tls.key")).open().await.unwrap()
}

async fn world(tls: &Tls) -> World {
    let tls = tls.clone();
    World::builder().server(|server| server.tls(tls)).start().await
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn request(body: &serde_json::Value) -> Request<Full<Bytes>> {
    Request::post("https://localhost/v1/chat/completions")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap()
}

/// One request on a connection of its own, by the protocol that was agreed on.
async fn ask(stream: TlsStream<TcpStream>, body: &serde_json::Value) -> Answer {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let (io, request) = (TokioIo::new(stream), request(body));
    let response = if is_http2 {
        let (mut sender, connection) = conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    Answer::read(response.unwrap()).await
}

async fn ends_well(connector: &TlsConnector, world: &World) -> bool {
    let answer = ask(connect(connector, world.address).await.unwrap(), &chat("gpt-4o")).await;
    answer.status == 200 && answer.whole
}

#[tokio::test]
async fn both_versions_are_offered_and_streams_are_whole() {
    let authority = Authority::new("versions");
    let world = world(&open(&authority).await).await;
    for (offered, agreed) in
        [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let stream = connect(&authority.connector(offered, false), world.address).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes));
        let answer = ask(stream, &chat_stream("gpt-4o")).await;
        assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{answer:?}");
    }
    let stranger = authority.connector(&["spdy/3"], false);
    assert!(connect(&stranger, world.address).await.is_err(), "no protocol in common");
}

#[tokio::test]
async fn under_load_no_request_is_lost_to_a_new_certificate() {
    let authority = Authority::new("rotation");
    let tls = open(&authority).await;
    let world = world(&tls).await;
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = futures_util::future::join_all((0..4).map(|client| {
        let connector = authority.connector(&[["h2", "http/1.1"][client % 2]], false);
        let (world, over, served) = (&world, &over, &served);
        async move {
            while !over.load(Relaxed) {
                assert!(ends_well(&connector, world).await);
                served.fetch_add(1, Relaxed);
            }
        }
    }));
    let rotations = async {
        for _ in 0..20 {
            let new = authority.renew();
            tls.reload().await.unwrap();
            let stream = connect(&authority.connector(&[], false), world.address).await.unwrap();
            assert_eq!(shown(&stream), new);
            let before = served.load(Relaxed);
            while served.load(Relaxed) < before + 3 {
                tokio::task::yield_now().await;
            }
        }
        over.store(true, Relaxed);
    };
    tokio::join!(load, rotations);
}

#[tokio::test]
async fn a_stream_outlives_the_certificate_that_it_began_with() {
    let authority = Authority::new("outlives");
    let tls = open(&authority).await;
    let world = world(&tls).await;
    let gate = Gate::new();
    world.sim.script([Fault::new().hold_at(3, &gate)]).unwrap();
    let stream = connect(&authority.connector(&["http/1.1"], false), world.address).await.unwrap();
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let held = sender.send_request(request(&chat_stream("gpt-4o"))).await.unwrap();
    authority.renew();
    tls.reload().await.unwrap();
    gate.open();
    let answer = Answer::read(held).await;
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"));
}

#[test]
fn a_bad_pair_leaves_the_old_one_in_force() {
    let counted = counted(async {
        let authority = Authority::new("bad-pair");
        let tls = open(&authority).await;
        let world = world(&tls).await;
        let connector = authority.connector(&[], false);
        let first = shown(&connect(&connector, world.address).await.unwrap());
        let (other, key) = authority.issue();
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let good = std::fs::read_to_string(authority.path("tls.key")).unwrap();
        for (file, text, says) in [
            ("tls.crt", other.as_str(), "does not belong to"),
            ("tls.crt", "canary", "no certificate in PEM"),
            ("tls.key", "canary", "no private key in PEM"),
            ("tls.key", &encrypted, "passphrase"),
            ("tls.key", &other, "no private key in PEM"),
        ] {
            let before = std::fs::read_to_string(authority.path(file)).unwrap();
            authority.write(file, text);
            let error = tls.reload().await.unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(file), "{error}");
            assert!(!error.contains("canary"), "{error}");
            assert_eq!(shown(&connect(&connector, world.address).await.unwrap()), first);
            authority.write(file, &before);
        }
        std::fs::remove_file(authority.path("tls.key")).unwrap();
        assert!(tls.reload().await.unwrap_err().to_string().contains("cannot be read"));
        authority.write("tls.key", &good);
        tls.reload().await.unwrap();
        assert!(ends_well(&connector, &world).await);
    });
    assert_eq!(counted["towergate_tls_reloads_total{refused}"], 6, "{counted:?}");
    assert_eq!(counted["towergate_tls_reloads_total{applied}"], 1, "{counted:?}");
}

#[tokio::test]
async fn new_files_are_put_in_force_once_both_are_there() {
    let authority = Authority::new("followed");
    let tls = open(&authority).await;
    // Read, and changed before anybody follows them.
    let early = authority.renew();
    let world = world(&tls).await;
    let connector = authority.connector(&[], false);
    let comes = async |new| {
        while shown(&connect(&connector, world.address).await.unwrap()) != new {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), comes(early)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), comes(authority.renew())).await.unwrap();
}

#[test]
fn clients_that_are_silent_or_speak_something_else_hold_nobody_up() {
    let counted = counted(async {
        let authority = Authority::new("silent");
        let tls = open(&authority).await;
        let clocks = |handshake| {
            let mut clocks = ConnectionClocks::default();
            clocks.handshake = handshake;
            clocks
        };
        let patient = clocks(Duration::from_secs(60));
        let world = {
            let tls = tls.clone();
            World::builder().server(move |server| server.tls(tls).clocks(patient)).start().await
        };
        let connector = authority.connector(&["h2"], false);
        let mut silent = Vec::new();
        for _ in 0..50 {
            silent.push(TcpStream::connect(world.address).await.unwrap());
        }
        assert!(ends_well(&connector, &world).await);
        for junk in [&b"\x16\x03\x01\x00\x05junk!"[..], b"\x00\x00", b"\xff"] {
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            stream.write_all(junk).await.unwrap();
            // Perhaps an alert; then it is closed, or reset.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        for plain in ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            stream.write_all(plain.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("use https://"), "{answer}");
        }
        // They do not hold up a shutdown either.
        let report = tokio::time::timeout(Duration::from_secs(20), world.shutdown()).await.unwrap();
        assert_eq!(report.cut, 0);

        let impatient = clocks(Duration::from_millis(50));
        let world = World::builder().server(move |server| server.tls(tls).clocks(impatient)).start().await;
        assert_eq!(raw(world.address, b"").await, "", "closed by its clock");
        assert_eq!(raw(world.address, b"\x16\x03\x01").await, "");
    });
    for (result, count) in [("completed", 1), ("failed", 3), ("plain_http", 2), ("timeout", 2)] {
        assert_eq!(counted[&format!("towergate_tls_handshakes_total{{{result}}}")], count, "{counted:?}");
    }
}

#[test]
fn a_client_that_does_not_read_is_stalled_here_too() {
    let counted = counted(async {
        let authority = Authority::new("stalled");
        let tls = open(&authority).await;
        let mut clocks = ConnectionClocks::default();
        clocks.write_progress = Duration::from_millis(200);
        let world = World::builder().server(move |server| server.tls(tls).clocks(clocks)).start().await;
        let mut client = connect(&authority.connector(&[], false), world.address).await.unwrap();
        let body = chat_stream("fault:bytes=64MiB").to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all((head + &body).as_bytes()).await.unwrap();
        let stalled = world.sim.wait_until(|log| log.counts().dropped_in_body == 1);
        tokio::time::timeout(Duration::from_secs(30), stalled).await.unwrap();
    });
    assert_eq!(counted["towergate_requests_total{client_stalled}"], 1, "{counted:?}");
}

#[tokio::test]
async fn only_clients_of_a_named_authority_come_in() {
    let authority = Authority::new("client-ca");
    let files = TlsFiles::new(authority.path("tls.crt"), authority.path("tls.key"));
    let world = world(&files.client_ca(authority.path("ca.crt")).open().await.unwrap()).await;
    assert!(ends_well(&authority.connector(&["h2"], true), &world).await);
    for stranger in [authority.connector(&["h2"], false), {
        // Its certificate is of another authority; it trusts the server all the same.
        let other = Authority::new("client-ca-other");
        authority.connector_with(&["h2"], &other)
    }] {
        // In TLS 1.3 the client learns of it with its first read.
        let refused = match connect(&stranger, world.address).await {
            Ok(mut stream) => stream.read_u8().await.is_err(),
            Err(_) => true,
        };
        assert!(refused);
    }
}

#[tokio::test]
async fn what_is_no_file_is_refused_at_once() {
    let authority = Authority::new("no-file");
    let folder = authority.folder();
    let error = TlsFiles::new(folder, folder).open().await.unwrap_err().to_string();
    assert!(error.contains("is not a regular file"), "{error}");
}
