//! `/files`: an upload is counted and not kept; a download is made from the file's id.

use serde_json::json;

use super::{Answer, Answered, Ask, Content, Refusal, multipart::Form};
use crate::{
    plan::{Filling, Piece},
    text::{self, Random},
};

/// How long the content of a file is that was never uploaded here.
const LENGTH: usize = 32 << 10;

pub(super) fn collection(ask: &Ask<'_>) -> Answered {
    if ask.parts.method != http::Method::POST {
        return Ok(Answer::json(&json!({"object": "list", "data": [], "has_more": false})));
    }
    let upload = ask.upload;
    let form = Form::read(&ask.parts.headers, &upload.body);
    // Past what is kept of an upload its fields can't be told apart: then the body counts.
    let file = form.get("file").filter(|_| upload.is_whole());
    if file.is_none() && upload.is_whole() {
        return Err(Refusal::invalid("'file' is a required property", "file"));
    }
    let (bytes, checksum) = file.map_or((upload.length, upload.checksum), |file| {
        (file.content.len() as u64, text::hash(file.content))
    });
    Ok(Answer::json(&json!({
        "id": text::id("file-", checksum, 22),
        "object": "file",
        "bytes": bytes,
        "created_at": ask.settings.created,
        "filename": file.and_then(|file| file.filename).unwrap_or("upload"),
        "purpose": form.text("purpose").unwrap_or("assistants"),
        "status": "processed",
        "checksum": format!("{checksum:016x}"),
    })))
}

pub(super) fn one(ask: &Ask<'_>, id: &str) -> Answered {
    if ask.parts.method == http::Method::DELETE {
        return Ok(Answer::json(&json!({"id": id, "object": "file", "deleted": true})));
    }
    Ok(Answer::json(&json!({
        "id": id, "object": "file", "bytes": LENGTH, "created_at": ask.settings.created,
        "filename": "file.bin", "purpose": "assistants", "status": "processed",
    })))
}

pub(super) fn content(ask: &Ask<'_>, id: &str) -> Answer {
    let bytes = Random::new(text::hash(id.as_bytes())).bytes(LENGTH);
    let content = match ask.fault.bytes {
        None => Content::Whole(bytes.into()),
        Some(size) => {
            let fill = size.saturating_sub(LENGTH as u64);
            let piece = Piece { fill, filling: Filling::Letters, ..Piece::new(bytes) };
            Content::Blocks(Box::new(std::iter::once(piece)))
        }
    };
    Answer::new("application/octet-stream", content)
}
