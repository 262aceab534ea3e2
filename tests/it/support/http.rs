//! A plain HTTP client, and bytes by hand.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A client of one gateway.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
}

/// An answer whose body was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// What came of the body before it ended or broke.
    pub(crate) body: Bytes,
    /// Whether the body ended in good order.
    pub(crate) whole: bool,
}

/// A small chat request.
pub(crate) fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello!"}]})
}

/// The same as a stream.
pub(crate) fn chat_stream(model: &str) -> Value {
    let mut request = chat(model);
    request["stream"] = true.into();
    request
}

/// Sends bytes as they are and reads until the other side closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may refuse before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

impl Http {
    pub(crate) fn new(url: String, http2: bool) -> Self {
        let mut client = Client::builder(TokioExecutor::new());
        // Nothing is sent twice unseen, and streams that were given up end no connection.
        client.retry_canceled_requests(false).http2_max_local_error_reset_streams(None);
        Self { client: client.http2_only(http2).build_http(), url }
    }

    /// Scheme, host and port.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("{}{path}", self.url))
    }

    /// Sends, and gives back the head with the body still to be read.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.client.request(request).await.unwrap()
    }

    /// As [`send`](Self::send), where the gateway may be gone.
    pub(crate) async fn try_send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        self.client.request(request).await
    }

    pub(crate) async fn read(&self, request: Request<Full<Bytes>>) -> Answer {
        Answer::read(self.send(request).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.read(self.request(Method::GET, path).body(Full::default()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.read(self.json(path, body)).await
    }

    pub(crate) fn json(&self, path: &str, body: &Value) -> Request<Full<Bytes>> {
        self.request(Method::POST, path)
            .header("content-type", "application/json")
            .header("authorization", "Bearer the-callers-own")
            .body(Full::from(body.to_string()))
            .unwrap()
    }

    pub(crate) async fn chat(&self, body: &Value) -> Answer {
        self.post("/v1/chat/completions", body).await
    }
}

impl Answer {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (parts, mut body) = response.into_parts();
        let mut read = Vec::new();
        let whole = loop {
            match body.frame().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => read.extend_from_slice(&frame.into_data().unwrap_or_default()),
            }
        };
        Self { status: parts.status, headers: parts.headers, body: read.into(), whole }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The `error` of an envelope that has all four keys.
    pub(crate) fn error(&self) -> Value {
        let error = self.json()["error"].clone();
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "no {key} in {error}");
        }
        error
    }
}
