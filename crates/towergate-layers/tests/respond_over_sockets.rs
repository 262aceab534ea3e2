//! An error inside a stream reaches a client over real sockets: the event is flushed before the
//! transport breaks, and the end is never a clean one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![cfg(feature = "respond")]

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::{body::Incoming, client, server};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tower::{ServiceBuilder, service_fn};
use towergate_core::{Body, BoxError, Error, ErrorKind, Route, protocol::RenderError};
use towergate_layers::respond::RespondLayer;

const EVENT: &str = "event: error\ndata: cut\n\n";

struct Plain;

impl RenderError for Plain {
    fn body(&self, _: StatusCode, error: &Error) -> Bytes {
        error.to_string().into()
    }

    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("text/plain")
    }

    fn event(&self, _: Option<&'static Route>, _: &Error) -> Bytes {
        Bytes::from_static(EVENT.as_bytes())
    }
}

/// One event, and then at once an error.
async fn cut_stream(_: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let frames =
        [Ok(Frame::data(Bytes::from_static(b"data: 1\n\n"))), Err(Error::new(ErrorKind::Truncated, "cut"))];
    let mut response = Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

/// All that was received, and how it ended.
async fn read(mut body: Incoming) -> (String, Result<(), hyper::Error>) {
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap()),
            Err(error) => return (text, Err(error)),
        }
    }
    (text, Ok(()))
}

/// A connection to a server that serves one.
async fn connect(http2: bool) -> TokioIo<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let layer = RespondLayer::new(Plain).grace(Duration::from_millis(50));
        let service =
            TowerToHyperService::new(ServiceBuilder::new().layer(layer).service(service_fn(cut_stream)));
        let io = TokioIo::new(socket);
        let served: Result<(), BoxError> = if http2 {
            let builder = server::conn::http2::Builder::new(TokioExecutor::new());
            builder.serve_connection(io, service).await.map_err(Into::into)
        } else {
            server::conn::http1::Builder::new().serve_connection(io, service).await.map_err(Into::into)
        };
        drop(served);
    });
    TokioIo::new(TcpStream::connect(address).await.unwrap())
}

fn request() -> Request<Empty<Bytes>> {
    Request::get("http://localhost/").header("host", "localhost").body(Empty::new()).unwrap()
}

#[tokio::test]
async fn over_http_1() {
    let (mut send, connection) = client::conn::http1::handshake(connect(false).await).await.unwrap();
    tokio::spawn(connection);
    let (text, end) = read(send.send_request(request()).await.unwrap().into_body()).await;
    assert_eq!(text, format!("data: 1\n\n{EVENT}"));
    end.unwrap_err();
}

#[tokio::test]
async fn over_http_2() {
    let io = connect(true).await;
    let (mut send, connection) = client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let (text, end) = read(send.send_request(request()).await.unwrap().into_body()).await;
    assert_eq!(text, format!("data: 1\n\n{EVENT}"));
    end.unwrap_err();
}
