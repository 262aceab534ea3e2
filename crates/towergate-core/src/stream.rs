//! [`StreamState`]: what the one reader of an answer has seen so far.
//!
//! The leaf reads an answer once, as it passes, and publishes what it saw here, as a response
//! extension (`Arc<StreamState>`). The layers above look at it after each frame: none of them reads
//! the bytes a second time, and none of them knows the provider's format.
//!
//! Written by one reader, read on the same task: the atomics are there to share, not to
//! synchronise, and `Relaxed` is enough.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use http::StatusCode;

use crate::{Class, redact::Redaction};

/// How an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnswerKind {
    /// Not read at all: binary, compressed, or of an unknown route. It commits at the head.
    Opaque,
    /// One JSON document, small enough to be held before the head is released.
    Json,
    /// Server-sent events.
    Events,
}

/// What has been seen of an answer so far.
#[derive(Debug)]
pub struct StreamState {
    kind: AnswerKind,
    data_events: AtomicU64,
    malformed: AtomicU32,
    content: AtomicBool,
    complete: AtomicBool,
    mid_event: AtomicBool,
    ids: AtomicBool,
    failure: OnceLock<Failure>,
    usage: OnceLock<Usage>,
    redaction: OnceLock<Redaction>,
}

/// An error that an upstream reported inside an answer whose status was a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it means, as for an answer with that error and a status of its own.
    pub class: Class,
    /// The status that the error would have had as an answer of its own.
    pub status: StatusCode,
    /// The error as the upstream sent it: the JSON of an OpenAI error object, bounded in length.
    pub body: bytes::Bytes,
}

/// The tokens of one answer, as the upstream counted them. Details are parts of the totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input: u64,
    /// Tokens of the answer, reasoning included.
    pub output: u64,
    /// Of the input: read from the provider's cache.
    pub cached_input: Option<u64>,
    /// Of the input: written to the provider's cache.
    pub cache_write_input: Option<u64>,
    /// Of the output: spent on reasoning.
    pub reasoning_output: Option<u64>,
    /// Of the input: audio.
    pub audio_input: Option<u64>,
    /// Of the output: audio.
    pub audio_output: Option<u64>,
}

// === impl StreamState ===

impl StreamState {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(kind: AnswerKind) -> Self {
        Self {
            kind,
            data_events: AtomicU64::new(0),
            malformed: AtomicU32::new(0),
            content: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            mid_event: AtomicBool::new(false),
            ids: AtomicBool::new(false),
            failure: OnceLock::new(),
            usage: OnceLock::new(),
            redaction: OnceLock::new(),
        }
    }

    /// How the answer is read.
    #[must_use]
    pub fn kind(&self) -> AnswerKind {
        self.kind
    }

    /// Data events so far; comments and keep-alives are none.
    #[must_use]
    pub fn data_events(&self) -> u64 {
        self.data_events.load(Relaxed)
    }

    /// Whether an event that carries content has come: the commit point.
    #[must_use]
    pub fn has_content(&self) -> bool {
        self.content.load(Relaxed)
    }

    /// Whether the answer said that it is complete: a `finish_reason`, a terminal event, the end of
    /// a JSON document.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete.load(Relaxed)
    }

    /// Whether the bytes handed on so far end inside an event: nothing may be put in between.
    #[must_use]
    pub fn is_mid_event(&self) -> bool {
        self.mid_event.load(Relaxed)
    }

    /// Whether an event had an `id` field.
    #[must_use]
    pub fn has_ids(&self) -> bool {
        self.ids.load(Relaxed)
    }

    /// Events left out, or passed, because their JSON was malformed.
    #[must_use]
    pub fn malformed_events(&self) -> u32 {
        self.malformed.load(Relaxed)
    }

    /// The error reported inside the answer.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// The tokens, once they are known.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage.get().copied()
    }

    /// For whoever knows the secrets that went upstream: an error inside the answer must not quote them. To be said before
    /// the body is polled; the first word counts.
    pub fn set_redaction(&self, redaction: Redaction) {
        let _ = self.redaction.set(redaction);
    }

    /// For the reader: what an error inside the answer must not quote.
    #[must_use]
    pub fn redaction(&self) -> Option<&Redaction> {
        self.redaction.get()
    }

    /// For the reader: one more data event.
    pub fn count_data_event(&self) {
        self.data_events.fetch_add(1, Relaxed);
    }

    /// For the reader: one more malformed event.
    pub fn count_malformed(&self) {
        self.malformed.fetch_add(1, Relaxed);
    }

    /// For the reader: content has come.
    pub fn set_content(&self) {
        self.content.store(true, Relaxed);
    }

    /// For the reader: the answer is complete.
    pub fn set_complete(&self) {
        self.complete.store(true, Relaxed);
    }

    /// For the reader: whether the bytes handed on end inside an event.
    pub fn set_mid_event(&self, mid_event: bool) {
        self.mid_event.store(mid_event, Relaxed);
    }

    /// For the reader: an event had an `id` field.
    pub fn set_ids(&self) {
        self.ids.store(true, Relaxed);
    }

    /// For the reader: the first error wins.
    pub fn set_failure(&self, failure: Failure) {
        let _ = self.failure.set(failure);
    }

    /// For the reader: the first usage wins.
    pub fn set_usage(&self, usage: Usage) {
        let _ = self.usage.set(usage);
    }
}
