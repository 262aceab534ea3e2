//! What the tests share: requests, and a client that sees every byte.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tower_service::Service as _;
use towergate_core::Body;
use towergate_sim::{Sim, SimServer};

/// Longer than anything here takes; a test that hangs fails.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it should have happened by now")
}

pub(crate) fn post(path: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(Full::new(body.to_string().into()))
        .unwrap()
}

pub(crate) fn chat(model: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hello there"}]})
}

pub(crate) async fn call(sim: &Sim, request: Request<Full<Bytes>>) -> Response<Body> {
    let Ok(response) = sim.clone().call(request).await;
    response
}

/// In process: status and body.
pub(crate) async fn ask(sim: &Sim, path: &str, body: &Value) -> (u16, Bytes) {
    let response = call(sim, post(path, body)).await;
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

pub(crate) async fn ask_json(sim: &Sim, path: &str, body: &Value) -> Value {
    let (status, body) = ask(sim, path, body).await;
    assert_eq!(status, 200, "{body:?}");
    serde_json::from_slice(&body).unwrap()
}

/// The data of the events of a stream.
pub(crate) fn events(body: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(body).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}

pub(crate) async fn ask_events(sim: &Sim, path: &str, body: &Value) -> Vec<String> {
    let (status, body) = ask(sim, path, body).await;
    assert_eq!(status, 200, "{body:?}");
    events(&body)
}

pub(crate) async fn server() -> (Sim, SimServer) {
    let sim = Sim::new();
    let server = SimServer::start(sim.clone()).await.unwrap();
    (sim, server)
}

/// A connection on which requests are written as bytes.
pub(crate) struct Client(pub(crate) TcpStream);

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Closed,
    Reset,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self(soon(TcpStream::connect(addr)).await.unwrap())
    }

    pub(crate) async fn send(&mut self, path: &str, fault: &str, body: &Value) {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: sim\r\nx-sim-fault: {fault}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }

    /// Everything to the end of the connection.
    pub(crate) async fn read_to_end(&mut self) -> (String, Ended) {
        let mut all = Vec::new();
        let ended = loop {
            let mut some = [0; 4096];
            match soon(self.0.read(&mut some)).await {
                Ok(0) => break Ended::Closed,
                Ok(size) => all.extend_from_slice(&some[..size]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break Ended::Reset,
                Err(error) => panic!("{error}"),
            }
        };
        (String::from_utf8(all).unwrap(), ended)
    }

    /// What comes, to this text.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        while !all.ends_with(end.as_bytes()) {
            all.push(soon(self.0.read_u8()).await.unwrap());
        }
        String::from_utf8(all).unwrap()
    }
}

/// One request with a fault on a connection of its own that is to end with it.
pub(crate) async fn broken(fault: &str, path: &str, body: &Value) -> (String, Ended) {
    let (_, server) = server().await;
    let mut client = Client::connect(server.addr()).await;
    client.send(path, fault, body).await;
    let answer = client.read_to_end().await;
    server.shutdown().await;
    answer
}

/// One request with a fault, whose answer is whole; status, head and body without framing.
pub(crate) async fn whole(fault: &str, path: &str, body: &Value) -> (u16, http::HeaderMap, Bytes) {
    let (_, server) = server().await;
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = post(path, body);
    request.headers_mut().insert("host", "sim".parse().unwrap());
    request.headers_mut().insert("x-sim-fault", fault.parse().unwrap());
    let (head, body) = soon(sender.send_request(request)).await.unwrap().into_parts();
    let body = soon(body.collect()).await.unwrap().to_bytes();
    drop(sender);
    server.shutdown().await;
    let _ = connection.await;
    (head.status.as_u16(), head.headers, body)
}
