//! [`Attempt`]: what came of one attempt, and what that says of its provider.

use std::fmt;

use http::Response;
use towergate_core::{
    BoxError, Class, Clock, Error, ErrorKind, Outcome,
    body::{End, Observe},
};

use super::{handle::BreakerHandle, machine::Admission};

/// An attempt that was let pass, until it is known what came of it.
pub struct Attempt {
    breaker: BreakerHandle,
    /// None once it is settled.
    admission: Option<Admission>,
    has_head: bool,
}

// === impl Attempt ===

impl Attempt {
    pub(super) fn new(breaker: BreakerHandle, admission: Admission) -> Self {
        Self { breaker, admission: Some(admission), has_head: false }
    }

    pub(super) fn on_result<B>(&mut self, result: &Result<Response<B>, BoxError>) {
        self.has_head = result.is_ok();
        let said = match result {
            Ok(response) => {
                let class = response.extensions().get().copied();
                of_class(class.unwrap_or_else(|| Class::of_status(response.status())))
            }
            Err(error) => of_error(error),
        };
        if said == Said::Failing {
            self.breaker.note(match result {
                Ok(response) => format!("it answered {}", response.status().as_u16()),
                Err(error) => told(&**error),
            });
        }
        match (said, self.admission) {
            // Whether the rest comes is seen at the end; that it answers at all is known now.
            (Said::Well, Some(admission)) if admission.probe => self.settle(said),
            (Said::Well, _) => {}
            _ => self.settle(said),
        }
    }

    fn settle(&mut self, said: Said) {
        let Some(admission) = self.admission.take() else { return };
        match said {
            Said::Well => self.breaker.succeed(admission),
            Said::Failing => self.breaker.fail(admission),
            Said::Nothing => self.breaker.release(admission),
        }
    }
}

impl Observe for Attempt {
    fn on_end(mut self, end: End<'_>) {
        let said = match end {
            End::Error(error) => match Outcome::of_body_error(error) {
                Outcome::Truncated
                | Outcome::UpstreamError
                | Outcome::Timeout(Clock::FirstEvent | Clock::Idle) => Said::Failing,
                _ => Said::Nothing,
            },
            End::Complete | End::Dropped if self.has_head => Said::Well,
            End::Complete | End::Dropped => Said::Nothing,
        };
        if let (Said::Failing, End::Error(error)) = (said, end) {
            self.breaker.note(told(&**error));
        }
        self.settle(said);
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

/// An error in words that may be shown: a stranger's may hold anything.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    Error::find(error).map_or_else(|| "it failed".to_owned(), ToString::to_string)
}

/// What an attempt says of its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Well,
    Failing,
    Nothing,
}

fn of_class(class: Class) -> Said {
    match class {
        Class::ServerError | Class::Overloaded | Class::RequestTimeout => Said::Failing,
        Class::RateLimited | Class::QuotaExhausted | Class::AuthRefused => Said::Nothing,
        // It did look at the request.
        _ => Said::Well,
    }
}

fn of_error(error: &BoxError) -> Said {
    // A foreign error is a connection that broke, for all that is known.
    let Some(error) = Error::find(&**error) else { return Said::Failing };
    match error.kind() {
        ErrorKind::UpstreamStatus(status) => of_class(Class::of_status(status)),
        ErrorKind::Connect
        | ErrorKind::Connection
        | ErrorKind::BadAnswer
        | ErrorKind::Truncated
        | ErrorKind::Timeout(Clock::Connect | Clock::Head | Clock::FirstEvent | Clock::Idle) => Said::Failing,
        _ => Said::Nothing,
    }
}
