//! WebSockets, tunnelled: a real client, the gateway, and a real server behind it.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self, Bytes, Message,
        client::IntoClientRequest as _,
        handshake::client::Response,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use towergate::{layers::timeout::Timeouts, openai::service::Http2, server::ConnectionClocks};
use towergate_sim::Event;

use super::support::{PROVIDER_KEY, World, counted};

type WebSocket = WebSocketStream<TcpStream>;

/// Longer than anything here takes: a test that waits in vain fails by it.
const LONG: Duration = Duration::from_secs(20);

async fn try_connect(
    address: SocketAddr,
    path: &str,
    fields: &[(&'static str, &str)],
) -> Result<(WebSocket, Response), tungstenite::Error> {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    for (name, value) in fields {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().append(HeaderName::from_static(name), value);
    }
    client_async(request, TcpStream::connect(address).await.unwrap()).await
}

async fn connect(world: &World, path: &str) -> WebSocket {
    try_connect(world.address, path, &[]).await.unwrap().0
}

/// The answer that came in place of a 101.
async fn refused(
    address: SocketAddr,
    path: &str,
    fields: &[(&'static str, &str)],
) -> http::Response<Vec<u8>> {
    match try_connect(address, path, fields).await {
        Err(tungstenite::Error::Http(response)) => response.map(Option::unwrap_or_default),
        other => panic!("not refused: {other:?}"),
    }
}

async fn next(socket: &mut WebSocket) -> Message {
    tokio::time::timeout(LONG, socket.next()).await.unwrap().unwrap().unwrap()
}

async fn event(socket: &mut WebSocket) -> Value {
    serde_json::from_str(next(socket).await.to_text().unwrap()).unwrap()
}

async fn echoes(socket: &mut WebSocket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    assert!(next(socket).await == message, "something else came back");
}

/// Reads the close frame, and on to the end, which tungstenite answers for.
async fn close_code(socket: &mut WebSocket) -> CloseCode {
    let code = loop {
        match next(socket).await {
            Message::Close(frame) => break frame.unwrap().code,
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?} in place of a close frame"),
        }
    };
    while let Some(Ok(_)) = tokio::time::timeout(LONG, socket.next()).await.unwrap() {}
    code
}

async fn upstream_saw_close(world: &World, wanted: u16) {
    let seen = world.sim.wait_until(|log| {
        log.events()
            .iter()
            .any(|event| matches!(event, Event::WebSocketClosed { code, .. } if *code == wanted))
    });
    tokio::time::timeout(LONG, seen).await.unwrap();
}

fn seen(world: &World) -> HeaderMap {
    world.sim.requests().last().unwrap().headers.clone()
}

#[tokio::test]
async fn messages_of_every_kind_go_both_ways() {
    let world = World::start().await;
    // No row of the route table: what is below the base path is upstream's to know.
    let mut socket = connect(&world, "/v1/echo").await;
    echoes(&mut socket, Message::text("hello")).await;
    echoes(&mut socket, Message::text("")).await;
    echoes(&mut socket, Message::binary(vec![0, 255, 10, 13])).await;
    let large: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[n as usize % 3]).collect();
    echoes(&mut socket, Message::binary(large)).await;
    socket.send(Message::Ping(Bytes::from_static(b"x"))).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Pong(Bytes::from_static(b"x")));

    let frame = CloseFrame { code: CloseCode::from(3001), reason: "done".into() };
    socket.close(Some(frame)).await.unwrap();
    assert_eq!(close_code(&mut socket).await, CloseCode::from(3001));
    upstream_saw_close(&world, 3001).await;
}

#[tokio::test]
async fn a_conversation_as_the_realtime_api_has_it() {
    let world = World::start().await;
    let fields = [
        ("authorization", "Bearer the-callers-own"),
        ("cookie", "session=1"),
        ("openai-beta", "realtime=v1"),
        ("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-callers-secret"),
        ("sec-websocket-protocol", "openai-organization.org-1, openai-beta.realtime-v1"),
    ];
    let path = "/v1/realtime?model=gpt-realtime";
    let (mut socket, response) = try_connect(world.address, path, &fields).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "realtime");
    assert_eq!(response.headers()["x-towergate-provider"], "openai");
    assert!(response.headers().contains_key("x-request-id"));

    let headers = seen(&world);
    assert_eq!(headers["authorization"], format!("Bearer {PROVIDER_KEY}"));
    assert_eq!(headers["openai-beta"], "realtime=v1");
    assert_eq!(headers["sec-websocket-protocol"], "realtime, openai-beta.realtime-v1");
    assert!(!headers.contains_key("cookie"));
    assert!(!format!("{headers:?}").contains("secret"));

    let session = event(&mut socket).await;
    assert_eq!(session["type"], "session.created");
    assert_eq!(session["session"]["model"], "gpt-realtime", "the query came along");
    for _ in 0..2 {
        socket.send(Message::text(json!({"type": "response.create"}).to_string())).await.unwrap();
        assert_eq!(event(&mut socket).await["type"], "response.created");
        while event(&mut socket).await["type"] == "response.output_text.delta" {}
    }
    socket.close(None).await.unwrap();
    upstream_saw_close(&world, 1005).await;
}

#[tokio::test]
async fn responses_and_bare_paths_of_the_table_are_tunnelled_too() {
    let world = World::start().await;
    for path in ["/v1/responses", "/realtime"] {
        let mut socket = connect(&world, path).await;
        socket.send(Message::text(r#"{"type": "response.create", "input": "Hi"}"#)).await.unwrap();
        while !matches!(
            event(&mut socket).await["type"].as_str(),
            Some("response.completed" | "response.done")
        ) {}
    }
}

#[tokio::test]
async fn a_stranger_is_refused_before_anything_is_switched() {
    let world = World::builder()
        .gateway(|gateway| gateway.client_keys(towergate::parse_client_keys("tg-alice").unwrap()))
        .start()
        .await;
    for fields in [&[][..], &[("sec-websocket-protocol", "realtime, openai-insecure-api-key.wrong")]] {
        let answer = refused(world.address, "/v1/realtime", fields).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["error"]["code"], "invalid_api_key");
    }
    assert_eq!(world.sim.counts().arrived, 0);

    // A browser can set no header: its key is among the subprotocols.
    let fields = [("sec-websocket-protocol", "realtime, openai-insecure-api-key.tg-alice")];
    let (mut socket, response) = try_connect(world.address, "/v1/realtime", &fields).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "realtime");
    assert_eq!(event(&mut socket).await["type"], "session.created");
    assert_eq!(seen(&world)["sec-websocket-protocol"], "realtime");
}

#[tokio::test]
async fn with_pass_through_auth_a_browsers_key_becomes_a_field() {
    let world = World::builder().provider(|provider| provider.pass_through_auth()).start().await;
    let protocols = format!("realtime, openai-insecure-api-key.{PROVIDER_KEY}");
    let fields = [("sec-websocket-protocol", protocols.as_str())];
    let (mut socket, _) = try_connect(world.address, "/v1/realtime", &fields).await.unwrap();
    assert_eq!(event(&mut socket).await["type"], "session.created");
    assert_eq!(seen(&world)["sec-websocket-protocol"], "realtime");
}

#[tokio::test]
async fn until_the_101_it_is_a_request_like_any_other() {
    let world = World::builder().quick_retries(1).start().await;
    world.sim.script(["status=503"]).unwrap();
    let (mut socket, response) = try_connect(world.address, "/v1/echo", &[]).await.unwrap();
    assert_eq!(response.headers()["x-towergate-attempts"], "2");
    echoes(&mut socket, Message::text("hello")).await;

    world.sim.script(["status=400; message=no such session"]).unwrap();
    let answer = refused(world.address, "/v1/echo", &[]).await;
    assert_eq!(answer.status(), 400);
    assert!(String::from_utf8_lossy(answer.body()).contains("no such session"));
    assert_eq!(refused(world.address, "/v1/nowhere", &[]).await.status(), 404);
    assert_eq!(refused(world.address, "/nowhere", &[]).await.status(), 404);
}

#[tokio::test]
async fn what_is_no_websocket_is_an_ordinary_request() {
    let world = World::start().await;
    let http = world.http1();
    let request = http
        .request(Method::GET, "/v1/models")
        .header("connection", "upgrade, http2-settings")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA");
    let answer = http.read(request.body(Default::default()).unwrap()).await;
    assert_eq!(answer.status, 200);
    let headers = seen(&world);
    for gone in ["upgrade", "connection", "http2-settings"] {
        assert!(!headers.contains_key(gone), "{headers:?}");
    }
}

#[tokio::test]
async fn over_http2_it_is_refused_in_words() {
    let world = World::start().await;
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    assert!(!client.is_extended_connect_protocol_enabled(), "it is not offered");
    let request = http::Request::connect(world.address.to_string()).body(()).unwrap();
    let (response, _body) = client.send_request(request, false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 400);
    let mut body = response.into_body();
    let text = body.data().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&text).contains("HTTP/1.1"), "{text:?}");
    connection.abort();
}

#[tokio::test]
async fn a_provider_spoken_to_in_http2_is_tunnelled_to_in_http1() {
    let world = World::builder()
        .provider(|provider| provider.leaf(|leaf| leaf.http2(Http2::default())))
        .start()
        .await;
    assert_eq!(world.http1().get("/v1/models").await.status, 200);
    let mut socket = connect(&world, "/v1/echo").await;
    echoes(&mut socket, Message::text("hello")).await;
    let versions: Vec<_> = world.sim.requests().iter().map(|request| request.version).collect();
    assert_eq!(versions, [http::Version::HTTP_2, http::Version::HTTP_11]);
}

#[tokio::test]
async fn it_holds_a_permit_for_as_long_as_it_lives() {
    let world = World::builder().gateway(|gateway| gateway.max_in_flight(1)).start().await;
    let mut socket = connect(&world, "/v1/echo").await;
    echoes(&mut socket, Message::text("hello")).await;
    assert_eq!(world.http1().get("/v1/models").await.status, 503);
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    let freed = async { while world.http1().get("/v1/models").await.status != 200 {} };
    tokio::time::timeout(LONG, freed).await.unwrap();
}

#[tokio::test]
async fn no_clock_of_a_request_bounds_it() {
    let short = Duration::from_millis(200);
    let clocks = Timeouts::default().with_total(short).with_idle(short).with_head(short);
    let world = World::builder()
        .gateway(move |gateway| gateway.timeouts(clocks))
        .provider(move |provider| provider.timeouts(clocks))
        .server(move |server| {
            let mut clocks = ConnectionClocks::default();
            (clocks.first_byte, clocks.header, clocks.idle) = (short, short, short);
            server.clocks(clocks)
        })
        .start()
        .await;
    let mut socket = connect(&world, "/v1/echo").await;
    tokio::time::sleep(short * 3).await;
    echoes(&mut socket, Message::text("still here")).await;
}

#[tokio::test]
async fn silence_has_a_clock_of_its_own() {
    let clocks = Timeouts::default().with_tunnel_idle(Duration::from_millis(200));
    let world = World::builder().provider(move |provider| provider.timeouts(clocks)).start().await;
    let mut socket = connect(&world, "/v1/echo").await;
    echoes(&mut socket, Message::text("hello")).await;
    assert_eq!(close_code(&mut socket).await, CloseCode::Away);
    upstream_saw_close(&world, 1001).await;
}

#[tokio::test]
async fn at_shutdown_both_sides_are_told() {
    let mut world = World::start().await;
    let mut socket = connect(&world, "/v1/echo").await;
    echoes(&mut socket, Message::text("hello")).await;
    world.begin_shutdown();
    assert_eq!(close_code(&mut socket).await, CloseCode::Away);
    upstream_saw_close(&world, 1001).await;
    let report = world.shutdown().await;
    assert_eq!((report.under_way, report.cut), (1, 0));
}

#[tokio::test]
async fn at_the_drain_timeout_a_peer_that_does_not_answer_is_cut() {
    let mut world =
        World::builder().server(|server| server.drain_timeout(Duration::from_millis(200))).start().await;
    let mut stream = handshake_by_hand(&world, "/v1/echo").await;
    world.begin_shutdown();
    let mut words = [0; 4];
    stream.read_exact(&mut words).await.unwrap();
    assert_eq!((words[0], u16::from_be_bytes([words[2], words[3]])), (0x88, 1001));
    // No answer.
    let report = tokio::time::timeout(Duration::from_secs(3), world.shutdown()).await.unwrap();
    assert_eq!((report.under_way, report.cut), (1, 1));
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(3), stream.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn an_app_that_closes_its_gateway_closes_its_websockets() {
    let world = World::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = world.gateway.clone();
    let app = example_axum_app::nested(gateway.clone());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let (mut socket, _) = try_connect(address, "/ai/v1/echo", &[]).await.unwrap();
    echoes(&mut socket, Message::text("hello")).await;
    gateway.close();
    assert_eq!(close_code(&mut socket).await, CloseCode::Away);
    upstream_saw_close(&world, 1001).await;
    assert_eq!(refused(address, "/ai/v1/echo", &[]).await.status(), 503);
    server.abort();
}

#[tokio::test]
async fn in_hypers_own_server() {
    let world = World::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(example_hyper_app::serve(listener, world.gateway.clone()));
    let (mut socket, _) = try_connect(address, "/v1/echo", &[]).await.unwrap();
    server.abort();
    echoes(&mut socket, Message::text("the server that took it in is no longer needed")).await;
}

/// A handshake, and the connection as it is.
async fn handshake_by_hand(world: &World, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    // The example of RFC 6455, section 1.3.
    assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    stream
}

/// What was counted of one tunnel: the outcomes of the request and of the attempt, each exactly one.
fn outcome(run: impl Future<Output = World>) -> (String, std::collections::BTreeMap<String, u64>) {
    let counted = counted(async {
        let mut world = run.await;
        world.begin_shutdown();
        let _ = world.shutdown().await;
    });
    let of = |name: &str| {
        let found: Vec<_> = counted.iter().filter(|(key, _)| key.starts_with(name)).collect();
        assert!(found.len() == 1 && *found[0].1 == 1, "{counted:?}");
        found[0].0.split(['{', '}']).nth(1).unwrap().to_owned()
    };
    let request = of("towergate_requests_total");
    assert_eq!(of("towergate_attempts_total"), request);
    (request, counted)
}

#[test]
fn one_that_was_closed_counts_once_as_completed_with_its_bytes() {
    let (outcome, counted) = outcome(async {
        let world = World::start().await;
        let mut socket = connect(&world, "/v1/echo").await;
        echoes(&mut socket, Message::binary(vec![7; 1000])).await;
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
        world
    });
    assert_eq!(outcome, "completed");
    // Heads of 4 and 2 bytes, and a mask of 4 on what the client sends.
    assert_eq!(counted["towergate_tunnel_bytes_total{up}"], 1000 + 8 + 6);
    assert_eq!(counted["towergate_tunnel_bytes_total{down}"], 1000 + 4 + 2);
}

#[test]
fn a_client_that_goes_counts_as_gone_and_the_upstream_is_let_go() {
    let (outcome, _) = outcome(async {
        let world = World::start().await;
        let mut socket = connect(&world, "/v1/echo").await;
        echoes(&mut socket, Message::text("hello")).await;
        drop(socket);
        let gone = world.sim.wait_until(|log| log.counts().open_connections() == 0);
        tokio::time::timeout(Duration::from_secs(2), gone).await.unwrap();
        assert_eq!(world.sim.counts().websockets_closed, 0, "no word is put in its mouth");
        world
    });
    assert_eq!(outcome, "client_gone_in_body");
}

#[test]
fn an_upstream_that_goes_is_a_truncated_answer_and_the_client_sees_no_close_frame() {
    for fault in ["reset-after=1", "cut-after=1"] {
        let (outcome, _) = outcome(async {
            let world = World::start().await;
            world.sim.script([fault]).unwrap();
            let mut socket = connect(&world, "/v1/echo").await;
            echoes(&mut socket, Message::text("first")).await;
            socket.send(Message::text("second")).await.unwrap();
            let end = tokio::time::timeout(LONG, socket.next()).await.unwrap();
            assert!(matches!(end, Some(Err(_))), "{fault}: {end:?}");
            drop(socket);
            world
        });
        assert_eq!(outcome, "truncated", "{fault}");
    }
}

#[test]
fn a_client_that_does_not_read_ends_by_the_servers_clock() {
    let (outcome, _) = outcome(async {
        let mut clocks = ConnectionClocks::default();
        clocks.write_progress = Duration::from_millis(300);
        let world = World::builder().server(move |server| server.clocks(clocks)).start().await;
        let mut socket = connect(&world, "/v1/echo").await;
        // It writes, and never reads what comes back.
        let flood = async {
            let message = Message::binary(vec![0; 1 << 20]);
            while socket.send(message.clone()).await.is_ok() {}
        };
        tokio::time::timeout(LONG, flood).await.unwrap();
        world
    });
    assert_eq!(outcome, "client_stalled");
}
