//! The requests that are sent: those of an official SDK.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri, header};

use crate::Error;

/// Where chat completions are, below the base URL.
pub const PATH: &str = "/chat/completions";

/// The header fields of openai-python 3.57.0 (synchronous client, CPython 3.11, Linux) for a chat
/// completion, streamed or not, in the order in which a listening socket received them.
/// `authorization`, `host` and `content-length` are added for each target.
const OPENAI_PYTHON: [(&str, &str); 14] = [
    ("accept-encoding", "gzip, deflate"),
    ("connection", "keep-alive"),
    ("accept", "application/json"),
    ("content-type", "application/json"),
    ("user-agent", "OpenAI/Python 3.57.0"),
    ("x-stainless-lang", "python"),
    ("x-stainless-package-version", "3.57.0"),
    ("x-stainless-os", "Linux"),
    ("x-stainless-arch", "x64"),
    ("x-stainless-runtime", "CPython"),
    ("x-stainless-runtime-version", "3.11.7"),
    ("x-stainless-async", "false"),
    ("x-stainless-retry-count", "0"),
    ("x-stainless-read-timeout", "600"),
];

/// Prose with the two escapes that prompts are full of.
const PROSE: &str =
    r#"Explain in two sentences why the \"old\" bridge over the river still carries\nthe evening train. "#;

/// A request that is sent many times.
#[derive(Debug, Clone)]
pub struct Template {
    /// `host:port` of the target.
    pub authority: String,
    /// The path of the target's chat completions.
    pub path: Uri,
    /// All header fields but `content-length`.
    pub headers: HeaderMap,
    /// The JSON body.
    pub body: Bytes,
}

// === impl Template ===

impl Template {
    /// A chat completion for the gateway with this base URL (`http://127.0.0.1:8080/v1`), sent with this
    /// key.
    ///
    /// # Errors
    ///
    /// A URL without an authority, or a key that is not a header value.
    pub fn new(base_url: &str, key: &str, body: Bytes) -> Result<Self, Error> {
        let url: Uri = format!("{}{PATH}", base_url.trim_end_matches('/')).parse()?;
        let authority = url.authority().ok_or_else(|| format!("{base_url} has no host"))?.as_str().to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, authority.parse()?);
        for (name, value) in OPENAI_PYTHON {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::AUTHORIZATION, format!("Bearer {key}").parse()?);
        Ok(Self { authority, path: Uri::try_from(url.path())?, headers, body })
    }
}

/// The body of a chat completion request of `size` bytes, or of the fewest that are possible. A stream
/// asks for usage, as its last event.
#[must_use]
pub fn chat_completion(size: usize, stream: bool) -> Bytes {
    let (start, end) = if stream {
        (
            r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":""#,
            r#""}],"stream_options":{"include_usage":true}}"#,
        )
    } else {
        (r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":""#, r#""}],"temperature":0.7}"#)
    };
    let prompt = size.saturating_sub(start.len() + end.len());
    let prose = PROSE.repeat(prompt / PROSE.len());
    let rest = "x".repeat(prompt % PROSE.len());
    [start, &prose, &rest, end].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_size_that_was_asked_for_and_is_json() {
        for (size, stream) in [(1024, false), (1024, true), (32 * 1024, false), (1024 * 1024, false)] {
            let body = chat_completion(size, stream);
            assert_eq!(body.len(), size);
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(json["stream"] == true, stream);
        }
    }
}
