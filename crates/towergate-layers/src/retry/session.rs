//! One request's way through tower's retry: the policy that is cloned for it.

use std::{
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};
use towergate_core::{
    Body, BoxError, Class, Error, Facts,
    classify::RetryAfter,
    context::{
        Attempt, CallerCredential, Deadline, GaveUp, OtherCredential, Patience, RequestId, RequestRecord,
        Standby,
    },
    headers::X_SHOULD_RETRY,
};

use super::{Attempted, Reason, Verdict, layer::Shared};

/// The policy that tower consults. tower clones it for each request, so `attempt` is that request's
/// own; the original, in the service, stays at the first attempt.
#[derive(Debug, Clone)]
pub(super) struct Session {
    shared: Arc<Shared>,
    attempt: NonZeroU32,
}

pin_project! {
    /// The time between two attempts. What it counts is counted when the next one begins: a client
    /// that leaves while it waits has not been retried.
    #[derive(Debug)]
    pub(super) struct Wait {
        #[pin]
        sleep: Sleep,
        retry: Planned,
        shared: Arc<Shared>,
        record: Option<Arc<RequestRecord>>,
    }
}

#[derive(Debug, Clone, Copy)]
struct Planned {
    delay: Duration,
    reason: Reason,
    maybe_billed: bool,
}

/// Marks a request that stands in for one that will not be sent again: tower asks a policy only
/// where it was given a clone.
#[derive(Debug, Clone)]
struct Hollow;

// === impl Session ===

impl Session {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, attempt: NonZeroU32::MIN }
    }

    /// Whether the same request may go out again at once, with another of the provider's credentials. That takes
    /// nothing from the retry budget: a credential that was refused is not tried again for a while, so these
    /// attempts do not add up.
    fn plan_other_credential<B>(&self, request: &Request<Body>, response: &Response<B>) -> Option<Planned> {
        response.extensions().get::<OtherCredential>()?;
        let again = self.attempt.get() < self.shared.max_attempts(request.extensions())
            && request.body().is_buffered()
            && request.extensions().get::<Hollow>().is_none();
        again.then_some(Planned {
            delay: Duration::ZERO,
            reason: Reason::OtherCredential,
            maybe_billed: false,
        })
    }

    /// What to do about an attempt that is worth repeating.
    fn plan<B>(
        &self,
        request: &Request<Body>,
        result: &Result<Response<B>, BoxError>,
        reason: Reason,
        maybe_billed: bool,
    ) -> Result<Planned, GaveUp> {
        let settings = &self.shared.settings;
        let time_left = time_left(request);
        let fits = |delay: Duration| time_left.is_none_or(|left| delay < left);

        // First, since it also tells the client whether to come again.
        let asked = asked_wait(result);
        if asked.is_some_and(|wait| wait > settings.max_retry_after || !fits(wait)) {
            return Err(GaveUp::WaitTooLong);
        }
        let standby = request.extensions().get::<Standby>().is_some();
        if standby && (asked.is_some() || matches!(reason, Reason::Timeout(_) | Reason::Connect)) {
            // Another provider answers sooner than this one would.
            return Err(GaveUp::HandedOver);
        }
        if self.attempt.get() >= self.shared.max_attempts(request.extensions()) {
            return Err(GaveUp::Exhausted);
        }
        if maybe_billed && !settings.retry_maybe_billed {
            return Err(GaveUp::MaybeBilled);
        }
        // An answer that came before the upload was over says nothing about the upload: the rest of
        // it may be long in coming.
        let replayable = match result {
            Ok(_) => request.body().is_buffered(),
            Err(_) => request.body().is_replayable(),
        };
        if !replayable || request.extensions().get::<Hollow>().is_some() {
            return Err(GaveUp::NotReplayable);
        }
        let delay = asked.unwrap_or_else(|| settings.backoff.delay(self.attempt.get() - 1, fastrand::f64()));
        if !fits(delay) {
            return Err(GaveUp::Exhausted);
        }
        if !self.shared.budget.withdraw() {
            self.shared.counters.budget_exhausted();
            return Err(GaveUp::Exhausted);
        }
        Ok(Planned { delay, reason, maybe_billed })
    }

    /// Goes on to the next attempt.
    fn begin<B>(
        &mut self,
        request: &mut Request<Body>,
        result: &Result<Response<B>, BoxError>,
        planned: Planned,
    ) -> Wait {
        self.log(request, result, &planned);
        self.attempt = self.attempt.saturating_add(1);
        request.extensions_mut().insert(Attempt(self.attempt));
        Wait {
            sleep: sleep(planned.delay),
            retry: planned,
            shared: Arc::clone(&self.shared),
            record: request.extensions().get().cloned(),
        }
    }

    fn log<B>(&self, request: &Request<Body>, result: &Result<Response<B>, BoxError>, planned: &Planned) {
        let extensions = request.extensions();
        let error = result.as_ref().err().and_then(|error| Error::find(&**error));
        tracing::warn!(
            attempt = self.attempt.get(),
            max_attempts = self.shared.max_attempts(extensions),
            request_id = extensions.get::<RequestId>().map(RequestId::as_str),
            model = extensions.get::<Arc<Facts>>().map(|facts| facts.shown_model()),
            provider = self.shared.counters.provider().as_str(),
            status = result.as_ref().ok().map(|response| response.status().as_u16()),
            code = error.map(Error::code),
            reason = planned.reason.as_str(),
            maybe_billed = planned.maybe_billed,
            delay_ms = u64::try_from(planned.delay.as_millis()).unwrap_or(u64::MAX),
            "the attempt failed, another follows",
        );
    }
}

impl<B> tower::retry::Policy<Request<Body>, Response<B>, BoxError> for Session {
    type Future = Wait;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Wait> {
        let other = result.as_ref().ok().and_then(|response| self.plan_other_credential(request, response));
        if let Some(planned) = other {
            return Some(self.begin(request, result, planned));
        }
        let attempted = match result {
            Ok(response) => Attempted::Answer {
                status: response.status(),
                headers: response.headers(),
                class: class_of(response),
            },
            Err(error) => Attempted::Failed(&**error),
        };
        let gave_up = match self.shared.settings.policy.decide(&attempted) {
            Verdict::Return => None,
            Verdict::Retry { reason, maybe_billed } => match self.plan(request, result, reason, maybe_billed)
            {
                Ok(planned) => return Some(self.begin(request, result, planned)),
                Err(gave_up) => Some(gave_up),
            },
        };
        if gave_up == Some(GaveUp::NotReplayable)
            && let Err(error) = result
            && let Some(error) = error.downcast_mut::<Error>()
        {
            error.add(GaveUp::UNREPEATED);
        }
        if let Ok(response) = result {
            // Auth, below, says it on the answer; whoever is above may have said it on the request.
            let callers = request.extensions().get::<CallerCredential>().is_some()
                || response.extensions().get::<CallerCredential>().is_some();
            mark(response, gave_up, callers);
        }
        None
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let last = self.attempt.get() >= self.shared.max_attempts(request.extensions());
        let body = if last { None } else { request.body().try_clone() };
        let sendable = body.is_some();

        let mut copy = Request::new(body.unwrap_or_default());
        *copy.extensions_mut() = self.shared.carry_over(request.extensions());
        if sendable {
            *copy.method_mut() = request.method().clone();
            *copy.uri_mut() = request.uri().clone();
            *copy.version_mut() = request.version();
            *copy.headers_mut() = request.headers().clone();
        } else {
            copy.extensions_mut().insert(Hollow);
        }
        Some(copy)
    }
}

fn class_of<B>(response: &Response<B>) -> Class {
    response.extensions().get().copied().unwrap_or_else(|| Class::of_status(response.status()))
}

/// The wait that was asked for, by an answer or an error.
fn asked_wait<B>(result: &Result<Response<B>, BoxError>) -> Option<Duration> {
    let asked = match result {
        Ok(response) => match response.extensions().get() {
            Some(RetryAfter(wait)) => Some(*wait),
            None => RetryAfter::of(response.headers(), SystemTime::now()).map(|RetryAfter(wait)| wait),
        },
        Err(error) => Error::find(&**error).and_then(Error::retry_after),
    };
    asked.filter(|wait| !wait.is_zero())
}

/// How long somebody still waits for an answer.
fn time_left(request: &Request<Body>) -> Option<Duration> {
    let extensions = request.extensions();
    let deadline = extensions.get().map(|Deadline(at)| *at);
    let patience = extensions.get().map(|Patience(at)| *at);
    let end = deadline.into_iter().chain(patience).min()?;
    Some(Instant::from_std(end).saturating_duration_since(Instant::now()))
}

/// Tells whoever reads the answer whether to come again.
fn mark<B>(response: &mut Response<B>, gave_up: Option<GaveUp>, callers_credential: bool) {
    if let Some(gave_up) = gave_up {
        response.extensions_mut().insert(gave_up);
    }
    if gave_up == Some(GaveUp::WaitTooLong) {
        return;
    }
    let final_failure = match class_of(response) {
        // It is the caller's own key that was refused; that answer is not ours to change.
        Class::AuthRefused => !callers_credential,
        class => class.is_transient() || class == Class::QuotaExhausted,
    };
    if final_failure {
        response.headers_mut().entry(X_SHOULD_RETRY).or_insert(HeaderValue::from_static("false"));
    }
}

// === impl Wait ===

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        ready!(this.sleep.poll(cx));
        this.shared.counters.retried(this.retry.reason, this.retry.maybe_billed);
        if let Some(record) = this.record {
            record.add_upstream_time(this.retry.delay);
        }
        Poll::Ready(())
    }
}
