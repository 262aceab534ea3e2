//! `CONNECT` over HTTP/2, with and without a protocol (RFC 8441).

use bytes::Bytes;
use h2::ext::Protocol;
use http::{Method, Request};
use tokio::net::TcpStream;

use super::support::World;

#[tokio::test]
async fn a_websocket_over_http2_is_not_offered_and_a_tunnel_is_refused() {
    let world = World::start().await;
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);

    // The settings have come once anything was answered.
    let request = Request::builder().method(Method::GET).uri("http://x/v1/models").body(()).unwrap();
    client = client.ready().await.unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert!(!client.is_extended_connect_protocol_enabled(), "who asks first is told");

    // Who asks all the same, is told by the error of its stream, and the connection lives on.
    let mut request =
        Request::builder().method(Method::CONNECT).uri("http://x/v1/realtime").body(()).unwrap();
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    client = client.ready().await.unwrap();
    let (answer, _body) = client.send_request(request, false).unwrap();
    match answer.await {
        Ok(answer) => assert!(answer.status().is_client_error(), "{}", answer.status()),
        Err(error) => assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR), "{error}"),
    }

    let request = Request::builder().method(Method::CONNECT).uri("x:443").body(()).unwrap();
    client = client.ready().await.unwrap();
    let (answer, _body) = client.send_request(request, false).unwrap();
    let answer = answer.await.unwrap();
    assert!(answer.status().is_client_error(), "{}", answer.status());
    let mut body = answer.into_body();
    let mut text = Vec::<u8>::new();
    while let Some(data) = body.data().await {
        let data: Bytes = data.unwrap();
        text.extend_from_slice(&data);
    }
    assert!(String::from_utf8(text).unwrap().contains("\"error\""));

    let request = Request::builder().method(Method::GET).uri("http://x/v1/models").body(()).unwrap();
    client = client.ready().await.unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200, "the connection lives");
}
