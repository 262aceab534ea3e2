//! The fields of a span, and the line that is written when it ends.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use towergate_core::{
    Clock, Outcome,
    body::{End, Observe},
};
use tracing::{Span, field::display, record_all};

use crate::{
    ending::{Ending, Scope},
    report::{self, Causes},
};

/// Fills in the span as things become known, and writes one line at the end.
pub(super) struct Line {
    scope: Scope,
    ending: Ending,
    span: Span,
    status: Option<StatusCode>,
    named: bool,
}

// === impl Line ===

impl Line {
    pub(super) fn begin(scope: Scope, ending: Ending, span: Span) -> Self {
        let mut line = Self { scope, ending, span, status: None, named: false };
        line.name();
        line
    }

    /// Says what the request is about, once intake knows.
    pub(super) fn name(&mut self) {
        if self.named {
            return;
        }
        if let Some(facts) = self.ending.record.facts() {
            self.named = true;
            if !self.span.is_disabled() {
                record_all!(self.span, route = facts.route.name, model = facts.shown_model());
                self.name_client();
            }
        }
    }

    fn name_client(&self) {
        if self.scope == Scope::Request
            && let Some(client) = self.ending.record.client()
        {
            self.span.record("client", client.0.as_str());
        }
    }

    pub(super) fn fail<E: 'static>(&mut self, error: &E) {
        self.ending.on_error(error);
    }

    /// Whether a body may follow.
    pub(super) fn head<B: Body>(&mut self, response: &Response<B>) -> bool {
        self.status = Some(response.status());
        self.ending.on_head(response)
    }

    fn write(&self, outcome: Outcome, end: &End<'_>) {
        let elapsed_ms = millis(self.ending.elapsed());
        let ttfb_ms = self.ending.first_byte().map(millis);
        if self.scope == Scope::Attempt {
            tracing::debug!(elapsed_ms, ttfb_ms, "attempt ended");
            return;
        }
        let attempts = self.ending.record.attempts();
        match level(outcome) {
            Level::Done => {
                let usage = self.ending.usage();
                let (input, output) = (usage.map(|usage| usage.input), usage.map(|usage| usage.output));
                tracing::info!(
                    elapsed_ms,
                    ttfb_ms,
                    attempts,
                    input_tokens = input,
                    output_tokens = output,
                    "request completed"
                );
            }
            Level::Client => tracing::info!(elapsed_ms, ttfb_ms, attempts, "request ended by the client"),
            Level::Shed => tracing::warn!(elapsed_ms, attempts, "request turned away"),
            Level::GaveUp => {
                let found = match end {
                    // An error told inside the stream has a line of its own.
                    End::Error(error) if self.ending.record.settled().is_none() => {
                        Some(report::body_error(error))
                    }
                    _ => None,
                };
                let error = found.as_ref().map(|found| match found {
                    Ok(error) => *error,
                    Err(made) => made,
                });
                let cause = error.and_then(Causes::of).map(display);
                let error = error.map(display);
                tracing::error!(elapsed_ms, ttfb_ms, attempts, error, cause, "gave up on the request");
            }
        }
    }
}

impl Observe for Line {
    fn on_data(&mut self, data: &Bytes) {
        self.ending.on_data(data.len());
    }

    fn on_end(self, end: End<'_>) {
        let outcome = self.ending.outcome(&end);
        if self.span.is_disabled() {
            // Its level is that of the gravest line, or an attempt's is the higher one.
            return;
        }
        if !self.named {
            // Refused before it was read; the route may be known all the same.
            if let Some(route) = self.ending.record.route() {
                self.span.record("route", route.name);
            } else {
                self.span.record("route", "other");
            }
            self.name_client();
        }
        match self.status {
            Some(status) => record_all!(self.span, status = status.as_u16(), outcome = outcome.as_str()),
            None => record_all!(self.span, outcome = outcome.as_str()),
        };
        self.span.in_scope(|| self.write(outcome, &end));
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

enum Level {
    Done,
    Client,
    Shed,
    GaveUp,
}

fn level(outcome: Outcome) -> Level {
    match outcome {
        Outcome::Completed => Level::Done,
        Outcome::ClientError
        | Outcome::ClientStalled
        | Outcome::ClientGoneBeforeHead
        | Outcome::ClientGoneInBody
        | Outcome::Timeout(Clock::RequestBody) => Level::Client,
        Outcome::Shed => Level::Shed,
        Outcome::UpstreamError | Outcome::Timeout(_) | Outcome::Truncated | Outcome::Internal => {
            Level::GaveUp
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
