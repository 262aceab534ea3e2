//! [`DocumentBody`]: a JSON document, read as it passes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use towergate_core::{Body, BoxError, ErrorKind, StreamState, stream::AnswerKind};

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
        let mut body = Self { inner, api, strict, state, provider, document, stage: Stage::Open };
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
        }
        Ok(())
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
            self.state.set_failure(envelope::failure(&envelope));
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
        match std::mem::replace(&mut this.stage, Stage::Over) {
            Stage::Over => return Poll::Ready(None),
            Stage::Failing(error) => return Poll::Ready(Some(Err(error))),
            stage @ (Stage::Open | Stage::Checked) => this.stage = stage,
        }
        match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.read(data)?;
                }
                if frame.is_trailers() || this.inner.is_end_stream() {
                    this.check();
                }
                if frame.is_trailers()
                    && let Stage::Failing(error) = std::mem::replace(&mut this.stage, Stage::Over)
                {
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.stage = Stage::Over;
                Poll::Ready(Some(Err(self.provider.broken(error))))
            }
            None => {
                this.check();
                match std::mem::replace(&mut this.stage, Stage::Over) {
                    Stage::Failing(error) => Poll::Ready(Some(Err(error))),
                    _ => Poll::Ready(None),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.stage {
            Stage::Over => true,
            Stage::Checked => self.inner.is_end_stream(),
            Stage::Open | Stage::Failing(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
