//! Errors in a content coding, decoded: so that they can be judged, and searched for secrets.
//!
//! Only a response that is not a success is decoded. The rest goes on as it came. Memory is bounded by what the codings' windows
//! take: at most 16 MiB (brotli), 8 MiB (zstd, as RFC 9659 has it) or 32 KiB.

use std::io;

use async_compression::{
    tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder},
    zstd::DParameter,
};
use futures_util::{StreamExt as _, stream};
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
    response::Parts,
};
use http_body::{Body as _, Frame};
use http_body_util::{BodyDataStream, StreamBody};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio_util::io::{ReaderStream, StreamReader};
use towergate_core::Body;

/// The longest error that is decoded, in bytes: a few of them can be made to stand for gigabytes. What is longer ends
/// there, as one that broke off.
const MAX_DECODED: usize = 16 * 1024 * 1024;
/// How much is decoded at a time.
const PIECE: usize = 16 * 1024;
/// The largest window of zstd, as a power of two (RFC 9659).
const ZSTD_WINDOW: u32 = 23;
/// How many codings one upon the other are undone.
const MAX_CODINGS: usize = 2;

type Reader = Box<dyn AsyncRead + Send + Unpin>;

#[derive(Debug, thiserror::Error)]
#[error("the upstream's error is over {MAX_DECODED} bytes long, decoded")]
struct TooLong;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Decodes the body of a response that is not a success, and makes its head agree. What is in a coding that is not known
/// stays as it is.
pub(super) fn decode_error(parts: &mut Parts, body: Body) -> Body {
    // Of a body that is not there, as that of a 304, the head may tell all the same.
    if parts.status.as_u16() < 300 || body.is_end_stream() {
        return body;
    }
    let Some(codings) = codings(&parts.headers) else { return body };
    parts.headers.remove(CONTENT_ENCODING);
    parts.headers.remove(CONTENT_LENGTH);
    let mut length = 0;
    let pieces = stream::once(decoded(codings, body)).flatten().map(move |piece| {
        let piece = piece?;
        length += piece.len();
        if length > MAX_DECODED { Err(io::Error::other(TooLong)) } else { Ok(Frame::data(piece)) }
    });
    Body::new(StreamBody::new(pieces))
}

async fn decoded(codings: Vec<Coding>, body: Body) -> ReaderStream<Reader> {
    let data = BodyDataStream::new(body).map(|data| data.map_err(io::Error::other));
    let mut reader: Reader = Box::new(StreamReader::new(data));
    // The one that is named last was applied last.
    for coding in codings.into_iter().rev() {
        let mut encoded = BufReader::with_capacity(PIECE, reader);
        reader = match coding {
            Coding::Gzip => {
                let mut gzip = GzipDecoder::new(encoded);
                gzip.multiple_members(true);
                Box::new(gzip)
            }
            Coding::Deflate if is_zlib(&mut encoded).await => Box::new(ZlibDecoder::new(encoded)),
            Coding::Deflate => Box::new(DeflateDecoder::new(encoded)),
            Coding::Brotli => Box::new(BrotliDecoder::new(encoded)),
            Coding::Zstd => {
                Box::new(ZstdDecoder::with_params(encoded, &[DParameter::window_log_max(ZSTD_WINDOW)]))
            }
        };
    }
    ReaderStream::with_capacity(reader, PIECE)
}

/// Whether `deflate` is what RFC 9110, section 8.4.1.2, means by it: in the format of zlib (RFC 1950, section 2.2). There
/// are servers that leave that away.
async fn is_zlib(encoded: &mut BufReader<Reader>) -> bool {
    // An error comes again, to whoever reads on.
    let first = encoded.fill_buf().await.ok().and_then(|bytes| bytes.first().copied());
    first.is_none_or(|method| method & 0x0f == 8)
}

/// The codings of a body; `None` where there are none, or any that cannot be undone.
fn codings(headers: &HeaderMap) -> Option<Vec<Coding>> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match &*name.to_ascii_lowercase() {
                "identity" => {}
                "gzip" | "x-gzip" => codings.push(Coding::Gzip),
                "deflate" => codings.push(Coding::Deflate),
                "br" => codings.push(Coding::Brotli),
                "zstd" => codings.push(Coding::Zstd),
                _ => return None,
            }
        }
    }
    (1..=MAX_CODINGS).contains(&codings.len()).then_some(codings)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use async_compression::{
        Level,
        tokio::bufread::{BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder},
    };
    use bytes::Bytes;
    use http::{HeaderValue, Response};
    use http_body_util::BodyExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    async fn encoded(coding: &str, text: &[u8]) -> Vec<u8> {
        let text = BufReader::new(text);
        let mut bytes = Vec::new();
        match coding {
            "gzip" | "X-GZIP" => GzipEncoder::new(text).read_to_end(&mut bytes).await.unwrap(),
            "deflate" => ZlibEncoder::new(text).read_to_end(&mut bytes).await.unwrap(),
            "raw deflate" => DeflateEncoder::new(text).read_to_end(&mut bytes).await.unwrap(),
            "br" => {
                BrotliEncoder::with_quality(text, Level::Precise(5)).read_to_end(&mut bytes).await.unwrap()
            }
            _ => ZstdEncoder::new(text).read_to_end(&mut bytes).await.unwrap(),
        };
        bytes
    }

    fn parts(status: u16, coding: &str) -> Parts {
        let builder = Response::builder().status(status).header(CONTENT_LENGTH, "1");
        builder.header(CONTENT_ENCODING, coding).body(()).unwrap().into_parts().0
    }

    fn pieces(bytes: &[u8], size: usize) -> Body {
        let pieces: Vec<_> = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
        Body::new(StreamBody::new(stream::iter(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(piece)))))
    }

    #[tokio::test]
    async fn every_coding_is_undone() {
        let text = "an error, ".repeat(10_000);
        for coding in ["gzip", "X-GZIP", "deflate", "raw deflate", "br", "zstd"] {
            let bytes = encoded(coding, text.as_bytes()).await;
            for size in [1, 7, 100_000] {
                let mut parts = parts(400, coding.trim_start_matches("raw "));
                let body = decode_error(&mut parts, pieces(&bytes, size));
                assert!(parts.headers.is_empty());
                assert!(body.collect().await.unwrap().to_bytes() == text, "{coding} {size}");
            }
        }
        let twice = encoded("br", &encoded("gzip", text.as_bytes()).await).await;
        for mut parts in [parts(302, "gzip, identity, br"), {
            let mut parts = parts(500, "gzip");
            parts.headers.append(CONTENT_ENCODING, HeaderValue::from_static("BR"));
            parts
        }] {
            let body = decode_error(&mut parts, pieces(&twice, 1000));
            assert!(body.collect().await.unwrap().to_bytes() == text);
        }
    }

    #[tokio::test]
    async fn what_is_no_error_and_what_is_not_known_stays() {
        for (status, coding, text) in [
            (200, "gzip", "x"),
            (206, "gzip", "x"),
            (400, "lzma", "x"),
            (400, "gzip, lzma", "x"),
            (400, "gzip, gzip, gzip", "x"),
            (400, "identity", "x"),
            (304, "gzip", ""),
        ] {
            let mut parts = parts(status, coding);
            let body = decode_error(&mut parts, Body::from(text));
            assert_eq!(parts.headers.len(), 2, "{status} {coding}");
            assert_eq!(body.as_bytes(), Some(text.as_bytes()));
        }
    }

    #[tokio::test]
    async fn what_cannot_be_decoded_breaks_off() {
        let whole = encoded("gzip", "an error".repeat(100).as_bytes()).await;
        for bytes in [&b"no gzip"[..], &whole[..whole.len() / 2]] {
            for coding in ["gzip", "deflate", "br", "zstd"] {
                let body = decode_error(&mut parts(400, coding), pieces(bytes, 10));
                assert!(body.collect().await.is_err(), "{coding}");
            }
        }
    }

    #[tokio::test]
    async fn an_endless_one_ends_at_a_bound() {
        for coding in ["gzip", "br", "zstd"] {
            let bytes = encoded(coding, &vec![0; MAX_DECODED + 1]).await;
            assert!(bytes.len() < 100_000);
            let mut body = decode_error(&mut parts(400, coding), Body::from(bytes));
            let mut length = 0;
            let error = loop {
                match body.frame().await.unwrap() {
                    Ok(frame) => {
                        let piece = frame.into_data().unwrap();
                        assert!(piece.len() <= PIECE, "it is decoded piece by piece");
                        length += piece.len();
                    }
                    Err(error) => break error,
                }
            };
            assert!(length <= MAX_DECODED && error.to_string().contains("16777216"), "{error}");
        }
        // A window that nobody needs.
        let text = BufReader::new(&b"an error"[..]);
        let params = [async_compression::zstd::CParameter::window_log(25)];
        let mut bytes = Vec::new();
        let mut encoder = ZstdEncoder::with_quality_and_params(text, Level::Default, &params);
        encoder.read_to_end(&mut bytes).await.unwrap();
        let body = decode_error(&mut parts(400, "zstd"), Body::from(bytes));
        assert!(body.collect().await.is_err());
    }
}
