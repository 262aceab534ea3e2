//! One handshake, within its clock.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{HANDSHAKES, Tls};

/// The first byte of every TLS handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// Of a request that was sent in plain text so much is read, that the answer is not lost to a reset.
const MAX_DISCARDED: u64 = 64 << 10;

/// Its length is where the connection closes.
const PLAIN_HTTP: &str = concat!(
    "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n",
    r#"{"error":{"message":"this port speaks TLS, and the request came in plain HTTP: use https://","type":"invalid_request_error","param":null,"code":"no_tls"}}"#,
);

enum Failure {
    Failed,
    PlainHttp,
}

impl Tls {
    /// Takes a connection that was just accepted. `None`, and the connection is closed, where it does not come
    /// to an end within `limit`, or to none that is good.
    pub(in crate::server) async fn handshake(
        &self,
        stream: TcpStream,
        limit: Duration,
    ) -> Option<TlsStream<TcpStream>> {
        let (result, stream) = match timeout(limit, self.shake(stream)).await {
            Ok(Ok(stream)) => ("completed", Some(stream)),
            Ok(Err(Failure::Failed)) => ("failed", None),
            Ok(Err(Failure::PlainHttp)) => ("plain_http", None),
            Err(_) => ("timeout", None),
        };
        metrics::counter!(HANDSHAKES, "result" => result).increment(1);
        stream
    }

    async fn shake(&self, mut stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let mut first = [0];
        // Not taken from the stream: the handshake begins with it.
        match stream.peek(&mut first).await {
            Ok(1) if first[0] == HANDSHAKE => {}
            Ok(1) if first[0].is_ascii_uppercase() => {
                refuse(&mut stream).await;
                return Err(Failure::PlainHttp);
            }
            _ => return Err(Failure::Failed),
        }
        let acceptor = TlsAcceptor::from(self.0.current.load_full());
        acceptor.accept(stream).await.map_err(|error| {
            tracing::debug!(%error, "a TLS handshake failed");
            Failure::Failed
        })
    }
}

/// Tells a client that speaks plain HTTP where it is.
async fn refuse(stream: &mut TcpStream) {
    tracing::debug!("plain HTTP came to a port that speaks TLS");
    if stream.write_all(PLAIN_HTTP.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        // What is closed with bytes unread is reset, and the client may never see the answer.
        let _ = tokio::io::copy(&mut stream.take(MAX_DISCARDED), &mut tokio::io::sink()).await;
    }
}
