//! `/echo` and everything below it, with any method: tells what came in.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Answer, Ask};

/// A longer body is not repeated, only counted.
const REPEATED: u64 = 1 << 20;

pub(super) fn answer(ask: &Ask<'_>) -> Answer {
    let (parts, upload) = (ask.parts, ask.upload);
    let headers: Value = parts
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let body = (upload.length <= REPEATED).then(|| STANDARD.encode(&upload.body));
    Answer::json(&json!({
        "object": "echo",
        "method": parts.method.as_str(),
        "path": parts.uri.path(),
        "query": parts.uri.query(),
        "version": format!("{:?}", parts.version),
        "headers": headers,
        "body_len": upload.length,
        "body_checksum": format!("{:016x}", upload.checksum),
        "body_base64": body,
    }))
}
