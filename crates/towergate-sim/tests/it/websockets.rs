//! WebSockets, by a real client.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest as _,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use towergate_sim::{Event, Sim, SimServer};

use crate::support::soon;

type Connected = Result<WebSocketStream<TcpStream>, tungstenite::Error>;

async fn connect(server: &SimServer, path: &str, key: &str) -> Connected {
    let mut request = format!("ws://{}{path}", server.addr()).into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
    headers.insert("sec-websocket-protocol", "openai-beta.realtime-v1, realtime".parse().unwrap());
    let (socket, response) = client_async(request, TcpStream::connect(server.addr()).await.unwrap()).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], "realtime");
    Ok(socket)
}

async fn kind(socket: &mut WebSocketStream<TcpStream>) -> String {
    let message = soon(socket.next()).await.unwrap().unwrap();
    let event: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
    event["type"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_realtime_session() {
    let sim = Sim::new().require_key("sk-right");
    let server = SimServer::start(sim.clone()).await.unwrap();
    match connect(&server, "/v1/realtime", "sk-wrong").await {
        Err(tungstenite::Error::Http(refused)) => assert_eq!(refused.status(), 401),
        other => panic!("{other:?}"),
    }
    let mut socket = connect(&server, "/v1/realtime?model=gpt-realtime", "sk-right").await.unwrap();
    assert_eq!(kind(&mut socket).await, "session.created");
    for (say, answer) in [
        (r#"{"type": "session.update", "session": {}}"#, "session.updated"),
        (r#"{"type": "conversation.item.create", "item": {}}"#, "conversation.item.created"),
        (r#"{"type": "nonsense"}"#, "error"),
        ("no JSON", "error"),
        (r#"{"type": "response.create"}"#, "response.created"),
    ] {
        socket.send(Message::text(say)).await.unwrap();
        assert_eq!(kind(&mut socket).await, answer, "{say}");
    }
    while kind(&mut socket).await != "response.done" {}

    let frame = CloseFrame { code: CloseCode::Away, reason: "".into() };
    socket.close(Some(frame)).await.unwrap();
    soon(sim.wait_until(|log| log.counts().completed == 2 && log.counts().open_connections() == 0)).await;
    assert!(sim.events().contains(&Event::WebSocketClosed { request: 2, code: 1001 }));
    server.shutdown().await;
}

#[tokio::test]
async fn faults_hold_there_too() {
    let sim = Sim::new();
    let server = SimServer::start(sim.clone()).await.unwrap();
    sim.script(["status=503", "truncate-after=0", "cut-after=0", "reset-after=0"]).unwrap();
    assert!(matches!(connect(&server, "/v1/realtime", "").await, Err(tungstenite::Error::Http(_))));
    let mut socket = connect(&server, "/v1/realtime", "").await.unwrap();
    assert!(soon(socket.next()).await.unwrap().unwrap().is_close());
    while soon(socket.next()).await.is_some() {}
    for _ in 0..2 {
        let mut socket = connect(&server, "/v1/realtime", "").await.unwrap();
        assert!(soon(socket.next()).await.unwrap().is_err(), "no close frame");
    }
    soon(sim.wait_until(|log| log.counts().broken == 3)).await;
}

#[tokio::test]
async fn a_peer_that_goes_is_seen_and_a_server_that_is_killed_takes_it_along() {
    let sim = Sim::new();
    let server = SimServer::start(sim.clone()).await.unwrap();
    drop(connect(&server, "/v1/echo", "").await.unwrap());
    soon(sim.wait_until(|log| log.counts().dropped_in_body == 1)).await;

    let mut socket = connect(&server, "/v1/echo", "").await.unwrap();
    socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(soon(socket.next()).await.unwrap().unwrap().into_data(), vec![1, 2, 3]);
    server.shutdown().await;
    assert!(soon(socket.next()).await.is_none_or(|end| end.is_err()));
}
