//! [`EventsBody`]: a stream of events, read as it passes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use towergate_core::{
    Body, BoxError, Error, ErrorKind, StreamState,
    redact::{Redaction, Redactor},
};

use super::{
    AFTER_END, AFTER_FINISH, MAX_COMMENTS, Malformed, Provider,
    judge::{Judge, Verdict},
    pieces::{Fate, Pieces},
    strip::strip_event,
};
use crate::{
    api::Api,
    sse::{EVENT_CAP, SseReader},
};

const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// Events that end in this tell of the failure of a part, such as a tool that was called.
const FAILED: &[u8] = b".failed";

/// Passes a stream on, event by event.
pub(super) struct EventsBody {
    inner: Body,
    api: Api,
    malformed: Malformed,
    /// The client did not ask for usage; the gateway did.
    strips_usage: bool,
    state: Arc<StreamState>,
    provider: Provider,
    reader: SseReader,
    judge: Judge,
    /// To be handed on.
    out: Pieces,
    /// Whether bytes of the unfinished event were handed on, it being too long to be held back.
    flowing: bool,
    /// Masks secrets in such an event: only its end shows whether it is an error.
    redactor: Option<Redactor>,
    /// Bytes of events without data, since the last that had some.
    comments: u64,
    /// `[DONE]` has come; what follows is passed, and not judged.
    done: bool,
    /// What comes after the pieces.
    end: Option<End>,
    /// Runs while the upstream is silent though the stream is complete.
    silence: Option<Pin<Box<Sleep>>>,
}

enum End {
    Clean,
    Failed(BoxError),
}

// === impl EventsBody ===

impl EventsBody {
    pub(super) fn new(
        inner: Body,
        api: Api,
        choices: u32,
        malformed: Malformed,
        strips_usage: bool,
        state: Arc<StreamState>,
        provider: Provider,
    ) -> Self {
        Self {
            inner,
            api,
            malformed,
            strips_usage,
            state,
            provider,
            reader: SseReader::new(),
            judge: Judge::new(api, choices),
            out: Pieces::default(),
            flowing: false,
            redactor: None,
            comments: 0,
            done: false,
            end: None,
            silence: None,
        }
    }

    /// Takes in a frame.
    fn read(&mut self, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        if self.done {
            return self.out.push(frame, false);
        }
        // Bytes before `kept` were dealt with; the next event begins, in this frame, at `at`.
        let (mut kept, mut at) = (0, 0);
        loop {
            let begin = at;
            let Some(event) = self.reader.next(&frame, &mut at) else {
                return self.hold_back(&frame, kept, begin);
            };
            let straddles = event.len > (at - begin) as u64;
            let has_data = event.data.is_some();
            self.comments = if has_data { 0 } else { self.comments.saturating_add(event.len) };
            if event.has_id {
                self.state.set_ids();
            }
            let verdict = self.judge.judge(&event);
            let strip = strip_event(&event, self.strips_usage);
            let tells_of_failure = event.name.ends_with(FAILED);
            let fate = self.decide(verdict, has_data).stripped(strip).masked(tells_of_failure);
            if straddles {
                let bytes = self.reader.take_bytes();
                match &fate {
                    _ if self.flowing => {
                        let end = self.flow(frame.slice(..at), true);
                        self.out.push(end, false);
                    }
                    Fate::Drop => self.out.drop_event(&bytes),
                    Fate::End(_) => {}
                    Fate::PassStripped(range) => self.out.push_stripped(&bytes, range),
                    Fate::PassMasked | Fate::PassAndEnd(_) => self.out.push(self.mask(bytes), false),
                    Fate::Pass | Fate::PassAll => self.out.push(bytes, false),
                }
                self.flowing = false;
                kept = at;
            }
            match fate {
                Fate::Drop if kept < at => {
                    self.out.push(frame.slice(kept..begin), false);
                    self.out.drop_event(&frame[begin..at]);
                    kept = at;
                }
                Fate::PassStripped(range) if kept < at => {
                    self.out.push(frame.slice(kept..begin), false);
                    self.out.push_stripped(&frame.slice(begin..at), &range);
                    kept = at;
                }
                Fate::PassMasked if kept < at => {
                    self.out.push(frame.slice(kept..begin), false);
                    self.out.push(self.mask(frame.slice(begin..at)), false);
                    kept = at;
                }
                Fate::Pass | Fate::PassMasked | Fate::Drop | Fate::PassStripped(_) => {}
                Fate::PassAll => return self.out.push(frame.slice(kept..), false),
                Fate::PassAndEnd(error) => {
                    if kept < at {
                        self.out.push(frame.slice(kept..begin), false);
                        self.out.push(self.mask(frame.slice(begin..at)), false);
                    }
                    return self.cut(error.into());
                }
                Fate::End(error) => {
                    self.out.push(frame.slice(kept..begin.max(kept)), false);
                    return self.cut(error.into());
                }
            }
        }
    }

    /// The frame is used up; from `begin` on it holds an event that has not ended.
    fn hold_back(&mut self, frame: &Bytes, kept: usize, begin: usize) {
        let pending = self.reader.pending_len();
        // What nobody judges need not be held back.
        let may_hold = self.api != Api::Other && pending <= EVENT_CAP as u64;
        if may_hold || pending == 0 {
            return self.out.push(frame.slice(kept..begin), false);
        }
        if !self.flowing {
            self.flowing = true;
            // Of an unknown route no event counts as an error.
            let redaction = self.state.redaction().filter(|_| self.api != Api::Other);
            self.redactor = redaction.and_then(Redaction::redactor);
            let before = pending.saturating_sub((frame.len() - begin) as u64);
            if let Ok(before @ 1..) = usize::try_from(before) {
                let held = self.reader.take_bytes();
                let held = self.flow(held.slice(..before.min(held.len())), false);
                self.out.push(held, true);
            }
        }
        if self.redactor.is_none() {
            return self.out.push(frame.slice(kept..), true);
        }
        self.out.push(frame.slice(kept..begin), false);
        let piece = self.flow(frame.slice(begin..), false);
        self.out.push(piece, true);
    }

    /// A piece of an event that is too long to be held back, as it goes on.
    fn flow(&mut self, piece: Bytes, is_last: bool) -> Bytes {
        match &mut self.redactor {
            Some(redactor) if is_last => redactor.last(piece),
            Some(redactor) => redactor.next(piece),
            None => piece,
        }
    }

    /// A text of an error, without the secrets that went upstream.
    fn mask(&self, text: Bytes) -> Bytes {
        match self.state.redaction() {
            Some(redaction) => redaction.redact(text),
            None => text,
        }
    }

    /// Notes what an event says, and decides what becomes of it.
    fn decide(&mut self, verdict: Verdict, has_data: bool) -> Fate {
        if has_data {
            self.state.count_data_event();
        }
        if self.comments > MAX_COMMENTS && self.api != Api::Other {
            let message = "the upstream's stream has comments, and no events";
            return Fate::End(self.provider.in_body(ErrorKind::BadAnswer, message));
        }
        match verdict {
            Verdict::Content => {
                self.state.set_content();
                self.publish();
                Fate::Pass
            }
            Verdict::Other => {
                self.publish();
                Fate::Pass
            }
            Verdict::Done => {
                if self.api.says_complete() && !self.judge.may_be_complete() {
                    return Fate::End(self.truncated());
                }
                self.publish_if(self.judge.may_be_complete());
                self.done = true;
                // Another patience begins.
                self.silence = None;
                Fate::PassAll
            }
            Verdict::Failed(mut failure) => {
                failure.body = self.mask(failure.body);
                let error = self.provider.in_body(
                    ErrorKind::UpstreamStatus(failure.status),
                    "the upstream reported an error inside its stream",
                );
                self.state.set_failure(*failure);
                Fate::PassAndEnd(error.already_signalled())
            }
            Verdict::Malformed => {
                self.state.count_malformed();
                match self.malformed {
                    Malformed::Drop => Fate::Drop,
                    // It may well be an error in plain text.
                    Malformed::Pass => Fate::PassMasked,
                    Malformed::Fail => {
                        let message = "the upstream's stream has an event whose JSON is malformed";
                        Fate::End(
                            self.provider
                                .in_body(ErrorKind::BadAnswer, message)
                                .with_setting("malformed_events"),
                        )
                    }
                }
            }
        }
    }

    fn truncated(&self) -> Error {
        let message = "the upstream's stream ended before its answer was complete";
        self.provider.in_body(ErrorKind::Truncated, message)
    }

    fn publish(&self) {
        self.publish_if(self.judge.is_complete());
    }

    fn publish_if(&self, complete: bool) {
        if complete {
            self.state.set_complete();
            if let Some(usage) = self.judge.usage() {
                self.state.set_usage(usage);
            }
        }
    }

    /// The upstream's body is over, or has been silent for long enough.
    fn finish(&mut self) {
        if self.end.is_some() {
            return;
        }
        if !self.done && self.api != Api::Other {
            if self.flowing {
                return self.cut(self.truncated().into());
            }
            let rest = self.finish_pending();
            if self.end.is_some() {
                return;
            }
            if self.api.says_complete() && !self.judge.is_complete() {
                return self.cut(self.truncated().into());
            }
            let last = if self.api.ends_with_done() && !self.done { DONE } else { rest };
            self.out.push(last, false);
        }
        self.end = Some(End::Clean);
        self.inner = Body::empty();
        self.state.set_complete();
    }

    /// The event that lacks its blank line: whole, or cut. What is no event, a comment or the name of one, comes back:
    /// an event of ours behind it would be taken for a part of it, so it passes only where none follows.
    fn finish_pending(&mut self) -> Bytes {
        let Some(event) = self.reader.finish() else { return Bytes::new() };
        let has_data = event.data.is_some();
        let verdict = self.judge.judge(&event);
        // A tail that is no JSON was cut, whatever is done with those amid good ones.
        let is_cut = verdict == Verdict::Malformed;
        let strip = strip_event(&event, self.strips_usage);
        let tells_of_failure = event.name.ends_with(FAILED);
        let fate = self.decide(verdict, has_data).stripped(strip).masked(tells_of_failure);
        if is_cut {
            return Bytes::new();
        }
        let bytes = self.reader.take_bytes();
        // The LF of a CRLF that was split belongs to the event before.
        let blank: &'static [u8] = match &*bytes {
            b"\n" => b"",
            [.., b'\n'] => b"\n",
            _ => b"\n\n",
        };
        match &fate {
            Fate::Drop | Fate::End(_) => {}
            Fate::Pass if !has_data && !blank.is_empty() => return bytes,
            Fate::PassStripped(range) => {
                self.out.push_stripped(&bytes, range);
                self.out.push(Bytes::from_static(blank), false);
            }
            Fate::PassMasked | Fate::PassAndEnd(_) => {
                self.out.push(self.mask(bytes), false);
                self.out.push(Bytes::from_static(blank), false);
            }
            Fate::Pass | Fate::PassAll => {
                self.out.push(bytes, false);
                self.out.push(Bytes::from_static(blank), false);
            }
        }
        if let Fate::PassAndEnd(error) | Fate::End(error) = fate {
            self.cut(error.into());
        }
        Bytes::new()
    }

    /// The upstream's body failed. What was held back of an event is gone with it.
    fn fail(&mut self, error: BoxError) {
        if self.done || self.judge.has_ended() {
            self.end = Some(End::Clean);
            self.inner = Body::empty();
        } else {
            self.cut(self.provider.broken(error));
        }
    }

    /// The stream ends here, and the upstream's body with it.
    fn cut(&mut self, error: BoxError) {
        self.end = Some(End::Failed(error));
        self.inner = Body::empty();
    }

    /// Whether an upstream that is silent has been so for long enough.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let patience = if self.done || self.judge.has_ended() {
            AFTER_END
        } else if self.judge.awaits_done() {
            AFTER_FINISH
        } else {
            self.silence = None;
            return false;
        };
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(patience)));
        silence.as_mut().poll(cx).is_ready()
    }
}

impl http_body::Body for EventsBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if let Some((frame, mid_event)) = this.out.next() {
                this.state.set_mid_event(mid_event);
                return Poll::Ready(Some(Ok(frame)));
            }
            match this.end.take() {
                None => {}
                Some(End::Clean) => {
                    this.end = Some(End::Clean);
                    return Poll::Ready(None);
                }
                Some(End::Failed(error)) => {
                    this.end = Some(End::Clean);
                    return Poll::Ready(Some(Err(error)));
                }
            }
            match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        this.read(data);
                        if this.inner.is_end_stream() {
                            this.finish();
                        }
                    }
                    Err(frame) => {
                        this.finish();
                        if let Some(End::Clean) = &this.end {
                            this.out.push_frame(frame);
                        }
                    }
                },
                Poll::Ready(Some(Err(error))) => this.fail(error),
                Poll::Ready(None) => this.finish(),
                Poll::Pending if this.is_overdue(cx) => this.finish(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.end, Some(End::Clean)) && self.out.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.api == Api::Other { self.inner.size_hint() } else { SizeHint::default() }
    }
}
