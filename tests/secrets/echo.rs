//! An upstream that quotes the secrets that it was sent, wherever it can.

use std::io;

use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use tokio::io::AsyncReadExt as _;
use towergate::Body;

use super::support::Upstream;

/// What stands beside the secrets in each error, and has to reach the client.
pub(crate) const KEPT: &str = "blue-team has sent";

/// How an answer quotes what was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) status: u16,
    pub(crate) place: Place,
    pub(crate) form: Form,
    /// Bytes in front of the secrets.
    pub(crate) padding: usize,
    /// The size of the pieces in which the body comes; none: it is announced, and comes as one.
    pub(crate) pieces: Option<usize>,
    pub(crate) coding: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In an error as the body.
    Error,
    Header(&'static str),
    Trailer,
    /// In an event, as the first of the stream.
    FirstEvent(&'static str),
    /// In an event, behind content.
    LaterEvent(&'static str),
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Slashes,
    Json,
    JsonInJson,
    Percent,
    Html,
}

impl Case {
    pub(crate) const ERROR: Self =
        Self { status: 400, place: Place::Error, form: Form::Plain, padding: 0, pieces: None, coding: None };

    pub(crate) fn all() -> Vec<Self> {
        let error = Self::ERROR;
        let mut all = Vec::new();
        for status in [300, 302, 307, 400, 401, 403, 404, 409, 413, 422, 429, 451, 500, 503, 508, 599] {
            all.push(Self { status, ..error });
            all.push(Self { status, pieces: Some(3), ..error });
        }
        for form in [Form::Slashes, Form::Json, Form::JsonInJson, Form::Percent, Form::Html] {
            all.push(Self { form, ..error });
            all.push(Self { form, pieces: Some(1), status: 302, ..error });
        }
        for padding in [60_000, 70_000, 300_000, 2_000_000] {
            all.push(Self { padding, ..error });
            all.push(Self { padding, pieces: Some(16_000), ..error });
        }
        for coding in ["gzip", "deflate", "br", "zstd", "lzma", "gzip, lzma"] {
            for status in [302, 400, 429, 500] {
                all.push(Self { coding: Some(coding), status, ..error });
            }
            all.push(Self { coding: Some(coding), padding: 300_000, pieces: Some(100), ..error });
        }
        for name in ["location", "x-echo", "retry-after", "www-authenticate", "server-timing"] {
            for status in [200, 302, 400, 429] {
                all.push(Self { place: Place::Header(name), status, ..error });
                all.push(Self { place: Place::Header(name), status, form: Form::Percent, ..error });
            }
        }
        for status in [200, 302, 400] {
            all.push(Self { place: Place::Trailer, status, ..error });
        }
        // Inside of a success.
        all.push(Self { status: 200, ..error });
        all.push(Self { status: 200, pieces: Some(3), ..error });
        for event in ["data: {}\n\n", "event: error\ndata: {}\n\n", "event: error\r\ndata: {}\r\n\r\n"] {
            for pieces in [1, 40, 100_000] {
                for place in [Place::FirstEvent(event), Place::LaterEvent(event)] {
                    all.push(Self { place, pieces: Some(pieces), status: 200, ..error });
                }
            }
            let place = Place::LaterEvent(event);
            all.push(Self { place, padding: 600_000, pieces: Some(50_000), status: 200, ..error });
        }
        all
    }

    /// Whether the rest of the body has to reach the client.
    pub(crate) fn keeps_rest(&self) -> bool {
        match self.place {
            Place::Error => {
                let replaced = self.status == 401 || self.status >= 500;
                !replaced && !self.coding.is_some_and(|coding| coding.contains("lzma"))
            }
            Place::FirstEvent(_) | Place::LaterEvent(_) => true,
            _ => false,
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.place, Place::FirstEvent(_) | Place::LaterEvent(_))
    }

    async fn answer(self, sent: &HeaderMap) -> Response<Body> {
        let secrets: Vec<&str> = sent.values().map(|value| value.to_str().unwrap()).collect();
        let secrets = self.form.write(&secrets.join(", "));
        let error = format!(
            r#"{{"error":{{"message":"{}{KEPT} {secrets}","type":"x","code":"invalid_x"}}}}"#,
            "-".repeat(self.padding)
        );
        let mut response = Response::builder().status(self.status).header("content-type", "application/json");
        let mut trailers = None;
        let body = match self.place {
            Place::Error => error,
            Place::Header(name) => {
                response = response.header(name, secrets);
                OK.to_owned()
            }
            Place::Trailer => {
                trailers = Some(HeaderMap::from_iter([(X_ECHO, HeaderValue::from_str(&secrets).unwrap())]));
                response = response.header("trailer", "x-echo");
                OK.to_owned()
            }
            Place::FirstEvent(event) => event.replace("{}", &error),
            Place::LaterEvent(event) => format!("{CONTENT}{}", event.replace("{}", &error)),
        };
        if self.is_stream() {
            response
                .headers_mut()
                .unwrap()
                .insert("content-type", HeaderValue::from_static("text/event-stream"));
        }
        let mut bytes = body.into_bytes();
        if let Some(coding) = self.coding {
            response = response.header(header::CONTENT_ENCODING, coding);
            bytes = encoded(coding, &bytes).await;
        }
        let pieces = self.pieces.or(trailers.is_some().then_some(bytes.len()));
        let body = match pieces {
            None => Body::from(bytes),
            Some(size) => {
                let pieces: Vec<_> =
                    bytes.chunks(size).map(Bytes::copy_from_slice).map(Frame::data).collect();
                let frames = pieces.into_iter().chain(trailers.map(Frame::trailers));
                Body::new(StreamBody::new(stream::iter(frames.map(Ok::<_, io::Error>))))
            }
        };
        response.body(body).unwrap()
    }
}

const X_ECHO: header::HeaderName = header::HeaderName::from_static("x-echo");
const OK: &str = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
const CONTENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";

impl Form {
    fn write(self, text: &str) -> String {
        let each = |write: fn(char) -> String| text.chars().map(write).collect();
        match self {
            Self::Plain => text.to_owned(),
            Self::Slashes => text.replace('/', "\\/"),
            Self::Json => each(|c| format!("\\u{:04x}", c as u32)),
            Self::JsonInJson => each(|c| format!("\\\\u{:04X}", c as u32)),
            Self::Percent => each(|c| format!("%{:02X}", c as u32)),
            Self::Html => each(|c| format!("&#{};", c as u32)),
        }
    }
}

async fn encoded(coding: &str, text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match coding {
        "gzip" => GzipEncoder::new(text).read_to_end(&mut bytes).await.unwrap(),
        "deflate" => ZlibEncoder::new(text).read_to_end(&mut bytes).await.unwrap(),
        "br" => BrotliEncoder::new(text).read_to_end(&mut bytes).await.unwrap(),
        "zstd" => ZstdEncoder::new(text).read_to_end(&mut bytes).await.unwrap(),
        // Nobody can read it, so it need not be that coding.
        _ => return text.to_vec(),
    };
    bytes
}

/// Answers as `?case=` of the request says, and quotes the fields `authorization`, `cf-access-client-secret` and
/// `x-tenant`.
pub(crate) async fn start() -> Upstream {
    Upstream::start(|request: Request<Incoming>| async move {
        let case = request.uri().query().and_then(|query| query.strip_prefix("case="));
        let case = case.map_or(Case::ERROR, |case| Case::all()[case.parse::<usize>().unwrap()]);
        let mut sent = request.headers().clone();
        let quoted = ["authorization", "cf-access-client-secret", "x-tenant"];
        let names: Vec<_> = sent.keys().filter(|name| !quoted.contains(&name.as_str())).cloned().collect();
        names.iter().for_each(|name| drop(sent.remove(name)));
        assert_eq!(sent.len(), quoted.len(), "{:?}", request.headers());
        case.answer(&sent).await
    })
    .await
}
