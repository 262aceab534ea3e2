//! `POST /audio/speech`, `/audio/transcriptions` and `/audio/translations`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answer, Answered, Ask, Content, Event, Events, Mark, Refusal, Shape, known, multipart::Form};
use crate::{
    api::sse::FILL,
    plan::{Filling, Piece},
    text::{self, Random},
};

/// Speech comes in blocks of this size, four of them at least.
const BLOCK: usize = 8 << 10;
const BLOCKS: usize = 4;
/// How many bytes of audio are taken for a second.
const BYTES_PER_SECOND: u64 = 16_000;

pub(super) fn speech(ask: &Ask<'_>) -> Answered {
    ask.model()?;
    let input = content(ask.required("input")?)?;
    ask.required("voice")?;
    let content_type = match ask.text("response_format").unwrap_or("mp3") {
        "mp3" => "audio/mpeg",
        "opus" => "audio/opus",
        "aac" => "audio/aac",
        "flac" => "audio/flac",
        "wav" => "audio/wav",
        "pcm" => "audio/pcm",
        other => {
            return Err(Refusal::invalid(format!("Invalid value: '{other}'."), "response_format"));
        }
    };
    let mut random = Random::new(ask.seed);
    let blocks: Vec<Bytes> = (0..BLOCKS).map(|_| random.bytes(BLOCK).into()).collect();
    if ask.text("stream_format") == Some("sse") {
        return Ok(Answer::events(speech_events(blocks, text::count(input))));
    }
    let extra = ask.fault.bytes.unwrap_or_default().saturating_sub((BLOCK * BLOCKS) as u64);
    let fill = Piece { fill: extra, filling: Filling::Letters, ..Piece::new("") };
    let pieces = blocks.into_iter().map(Piece::new).chain((extra > 0).then_some(fill));
    Ok(Answer::new(content_type, Content::Blocks(Box::new(pieces))))
}

fn content(input: &Value) -> Result<&str, Refusal> {
    input.as_str().ok_or_else(|| Refusal::invalid("'input' must be a string.", "input"))
}

fn speech_events(blocks: Vec<Bytes>, input: u64) -> Events {
    let delta = |audio: &str| {
        Event::named("speech.audio.delta", &json!({"type": "speech.audio.delta", "audio": audio}))
    };
    let output = blocks.len() as u64;
    let usage = json!({"input_tokens": input, "output_tokens": output, "total_tokens": input + output});
    let done = Event::named("speech.audio.done", &json!({"type": "speech.audio.done", "usage": usage}));
    let deltas = blocks.into_iter().map(move |block| delta(&STANDARD.encode(block)));
    Events {
        events: Box::new(deltas.chain([done.marked(Mark::Finish)])),
        shape: Shape::Data,
        sample: delta(FILL),
    }
}

pub(super) fn transcription(ask: &Ask<'_>) -> Answered {
    let form = Form::read(&ask.parts.headers, &ask.upload.body);
    let model = form.text("model").filter(|model| !model.is_empty());
    known(model.ok_or_else(|| Refusal::invalid("you must provide a model parameter", "model"))?)?;
    let file = form.get("file").ok_or_else(|| Refusal::invalid("you must provide a file", "file"))?;

    let seconds = (file.content.len() as u64).div_ceil(BYTES_PER_SECOND);
    let name = file.filename.unwrap_or("audio");
    let reply = text::reply(&format!("what is in {name}"), text::hash(file.content), ask.fault.tokens);
    let whole = reply.concat();
    let usage = json!({"type": "duration", "seconds": seconds});
    if form.text("stream") == Some("true") {
        return Ok(Answer::events(transcript_events(reply, &usage)));
    }
    let stamped = |start: &str, end: &str| format!("{start} --> {end}\n{whole}\n");
    let text = match form.text("response_format").unwrap_or("json") {
        "json" => return Ok(Answer::json(&json!({"text": whole, "usage": usage}))),
        "verbose_json" => {
            return Ok(Answer::json(&json!({
                "task": "transcribe", "language": "english", "duration": seconds, "text": whole,
                "segments": [{"id": 0, "start": 0.0, "end": seconds, "text": whole}], "usage": usage,
            })));
        }
        "text" => format!("{whole}\n"),
        "srt" => format!("1\n{}", stamped("00:00:00,000", "00:00:01,000")),
        "vtt" => format!("WEBVTT\n\n{}", stamped("00:00:00.000", "00:00:01.000")),
        other => {
            return Err(Refusal::invalid(format!("Invalid value: '{other}'."), "response_format"));
        }
    };
    Ok(Answer::new("text/plain; charset=utf-8", Content::Whole(text.into())))
}

fn transcript_events(reply: Vec<String>, usage: &Value) -> Events {
    let delta = |text: &str| Event::data(&json!({"type": "transcript.text.delta", "delta": text}));
    let done = json!({"type": "transcript.text.done", "text": reply.concat(), "usage": usage});
    let done = Event::data(&done).marked(Mark::Finish);
    let deltas = reply.into_iter().map(move |piece| delta(&piece));
    let events = deltas.chain([done, Event::done()]);
    Events { events: Box::new(events), shape: Shape::Data, sample: delta(FILL) }
}
