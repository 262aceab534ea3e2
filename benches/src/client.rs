//! One keep-alive connection that sends requests and reads their responses.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinHandle};

use crate::{Error, request::Template};

/// How much of an error response is shown.
const SHOWN: usize = 300;

/// The connection. It is closed when it is dropped.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

/// Counts the lines of a stream that are not empty: each is an event of a chat completion. It does not
/// matter how the bytes are split, and how lines end.
#[derive(Debug, Default)]
struct Lines {
    /// Bytes of the line so far, its line feed not included.
    length: usize,
}

// === impl Connection ===

impl Connection {
    /// Connects to the target of these requests.
    ///
    /// # Errors
    ///
    /// Nothing listens there.
    pub async fn open(template: &Template) -> Result<Self, Error> {
        let socket = TcpStream::connect(&template.authority).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        // Whoever sends a request is told of its errors.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, driver })
    }

    /// Sends one request and reads its response to the end. `on_events` is told how many events have come,
    /// each time that some have.
    ///
    /// # Errors
    ///
    /// No whole response, an empty one, or a status other than 200.
    pub async fn exchange(
        &mut self,
        template: &Template,
        mut on_events: impl FnMut(usize),
    ) -> Result<(), Error> {
        let mut request = Request::new(Full::new(template.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = template.path.clone();
        *request.headers_mut() = template.headers.clone();
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let (mut lines, mut shown, mut size) = (Lines::default(), Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            size += data.len();
            if status != StatusCode::OK {
                shown.extend_from_slice(&data[..data.len().min(SHOWN - shown.len().min(SHOWN))]);
                continue;
            }
            let events = lines.count(&data);
            if events > 0 {
                on_events(events);
            }
        }
        if status != StatusCode::OK {
            return Err(format!("status {status}: {}", String::from_utf8_lossy(&shown)).into());
        }
        if size == 0 {
            return Err("an empty response".into());
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

// === impl Lines ===

impl Lines {
    fn count(&mut self, data: &[u8]) -> usize {
        let (mut start, mut count) = (0, 0);
        for end in memchr::memchr_iter(b'\n', data) {
            // A carriage return alone is an empty line, too.
            count += usize::from(self.length + end - start > 1);
            (self.length, start) = (0, end + 1);
        }
        self.length += data.len() - start;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_however_they_are_split() {
        for stream in [
            "data: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
            "data: {}\r\n\r\ndata: {}\r\n\r\ndata: [DONE]\r\n\r\n",
        ] {
            for size in 1..=stream.len() {
                let mut lines = Lines::default();
                let count: usize = stream.as_bytes().chunks(size).map(|chunk| lines.count(chunk)).sum();
                assert_eq!(count, 3, "{stream:?} in pieces of {size}");
            }
        }
    }
}
