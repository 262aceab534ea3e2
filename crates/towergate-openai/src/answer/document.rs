//! [`DocumentBody`]: a JSON document, read as it passes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use towergate_core::{
    Body, BoxError, ErrorKind, StreamState,
    redact::{Redaction, Redactor},
    stream::AnswerKind,
};

use super::{Provider, usage::read_usage};
use crate::{
    api::Api,
    envelope,
    json::{Document, Fault},
};

/// A longer usage, or error, is not looked at.
const KEPT_CAP: usize = 64 * 1024;

/// Passes a document on, and checks that it is one.
pub(super) struct DocumentBody {
    inner: Body,
    api: Api,
    /// It must be a document, and not an error.
    strict: bool,
    state: Arc<StreamState>,
    provider: Provider,
    /// None once it was found to be no JSON, where that does not matter.
    document: Option<Document<4>>,
    /// Masks secrets from the frame on in which an error begins.
    redactor: Option<Redactor>,
    /// Waits for what was held back before it.
    next: Option<Frame<Bytes>>,
    stage: Stage,
}

enum Stage {
    Open,
    /// The end was looked at, and was bad.
    Failing(BoxError),
    /// The end was looked at; trailers may follow.
    Checked,
    Over,
}

impl DocumentBody {
    pub(super) fn new(
        inner: Body,
        api: Api,
        strict: bool,
        state: Arc<StreamState>,
        provider: Provider,
    ) -> Self {
        let document = Some(Document::new(["usage", "error", "status", "object"], KEPT_CAP));
        let mut body = Self {
            inner,
            api,
            strict,
            state,
            provider,
            document,
            redactor: None,
            next: None,
            stage: Stage::Open,
        };
        // Nothing comes, and nobody may ask: an empty answer is told at once.
        if body.inner.is_end_stream() {
            body.check();
        }
        body
    }

    fn read(&mut self, data: &Bytes) -> Result<(), BoxError> {
        let Some(document) = &mut self.document else { return Ok(()) };
        if document.feed(data).is_err() {
            self.document = None;
            if self.state.kind() == AnswerKind::Json {
                self.stage = Stage::Over;
                self.inner = Body::empty();
                return Err(self
                    .provider
                    .in_body(ErrorKind::BadAnswer, "the upstream's answer is not valid JSON")
                    .into());
            }
        } else if self.redactor.is_none() && document.first("error").is_some_and(|first| first != b'n') {
            self.redactor = self.state.redaction().and_then(Redaction::redactor);
        }
        Ok(())
    }

    /// What may go on of a frame.
    fn mask(&mut self, data: Bytes, is_last: bool) -> Bytes {
        match &mut self.redactor {
            Some(redactor) if is_last => redactor.last(data),
            Some(redactor) => redactor.next(data),
            None => data,
        }
    }

    /// Looks at the whole.
    fn check(&mut self) {
        if !matches!(self.stage, Stage::Open) {
            return;
        }
        self.stage = Stage::Checked;
        let Some(document) = &self.document else { return };
        match document.finish() {
            Ok(()) => {}
            // Acknowledged without a word: that is an answer wherever no model had to give one.
            Err(_) if document.is_empty() && !self.strict => return self.state.set_complete(),
            Err(_) if document.is_empty() => {
                let error =
                    self.provider.in_body(ErrorKind::BadAnswer, "the upstream's answer has an empty body");
                self.stage = Stage::Failing(error.into());
                return;
            }
            Err(Fault::End | Fault::Malformed) => {
                let error = self.provider.in_body(
                    ErrorKind::Truncated,
                    "the upstream's answer ended before its JSON was complete",
                );
                self.stage = Stage::Failing(error.into());
                return;
            }
        }
        if let Some(error) = document.kept("error").filter(|_| self.strict)
            && self.is_failure(document, error)
        {
            let envelope = [b"{\"error\":", error, b"}"].concat();
            let mut failure = envelope::failure(&envelope);
            if let Some(redaction) = self.state.redaction() {
                failure.body = redaction.redact(failure.body);
            }
            self.state.set_failure(failure);
            return;
        }
        if let Some(usage) = document.kept("usage").and_then(read_usage) {
            self.state.set_usage(usage);
        }
        self.state.set_content();
        self.state.set_complete();
    }

    /// A response has an `error` of its own, which counts only where its status says so. OpenAI's specification lets the
    /// status be left out: what says that it is a response is one then, too.
    fn is_failure(&self, document: &Document<4>, error: &[u8]) -> bool {
        let nothing: [&[u8]; 4] = [b"null", b"false", b"\"\"", b"{}"];
        !nothing.contains(&error)
            && (self.api != Api::Responses
                || match document.kept("status") {
                    Some(status) => status == b"\"failed\"",
                    None => document.kept("object") != Some(b"\"response\""),
                })
    }
}

impl http_body::Body for DocumentBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if let Some(frame) = this.next.take() {
                return Poll::Ready(Some(Ok(frame)));
            }
            match std::mem::replace(&mut this.stage, Stage::Over) {
                Stage::Over => return Poll::Ready(None),
                Stage::Failing(error) => return Poll::Ready(Some(Err(error))),
                stage @ (Stage::Open | Stage::Checked) => this.stage = stage,
            }
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    this.stage = Stage::Over;
                    return Poll::Ready(Some(Err(this.provider.broken(error))));
                }
                None => {
                    this.check();
                    if matches!(this.stage, Stage::Checked) {
                        this.stage = Stage::Over;
                    }
                    let rest = this.mask(Bytes::new(), true);
                    this.next = (!rest.is_empty()).then(|| Frame::data(rest));
                    continue;
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    this.read(&data)?;
                    let is_last = this.inner.is_end_stream();
                    if is_last {
                        this.check();
                    }
                    let data = this.mask(data, is_last);
                    if !data.is_empty() || this.redactor.is_none() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Err(trailers) => {
                    this.check();
                    if let Stage::Failing(error) = std::mem::replace(&mut this.stage, Stage::Over) {
                        return Poll::Ready(Some(Err(error)));
                    }
                    this.next = Some(trailers);
                    let rest = this.mask(Bytes::new(), true);
                    if !rest.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(rest))));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.stage {
            _ if self.next.is_some() => false,
            Stage::Over => true,
            Stage::Checked => self.inner.is_end_stream(),
            Stage::Open | Stage::Failing(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.inner.size_hint();
        let Some(held) = self.redactor.as_ref().map(|redactor| redactor.held() as u64) else { return rest };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(held)) {
            hint.set_upper(upper);
        }
        hint
    }
}
