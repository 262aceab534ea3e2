//! Whether somebody else may do better.

use http::Response;
use towergate_core::{Body, BoxError, Class, Clock, Error, ErrorKind, context::CallerCredential};

/// What follows from what a candidate did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is an answer, or would be the same elsewhere.
    Final,
    /// Another provider may do better. The text is a metric label.
    Next(&'static str),
    /// Another model may take it.
    OtherModel(Class),
}

/// Looks at what came of a candidate.
pub(super) fn judge(result: &Result<Response<Body>, BoxError>) -> Verdict {
    match result {
        Ok(response) => {
            let class =
                response.extensions().get().copied().unwrap_or_else(|| Class::of_status(response.status()));
            match class {
                Class::Success | Class::CallerError => Verdict::Final,
                Class::ContextLength | Class::ContentPolicy => Verdict::OtherModel(class),
                // It is the caller's own key that was refused: elsewhere it is none at all.
                Class::AuthRefused if response.extensions().get::<CallerCredential>().is_some() => {
                    Verdict::Final
                }
                class => Verdict::Next(class.as_str()),
            }
        }
        Err(error) => match Error::find(&**error) {
            Some(error) => of_error(error),
            // A service of a stranger's own. Nothing of it has reached the client.
            None => Verdict::Next("other"),
        },
    }
}

fn of_error(error: &Error) -> Verdict {
    match error.kind() {
        ErrorKind::Timeout(clock) => match clock {
            Clock::Connect | Clock::Head | Clock::FirstEvent | Clock::Idle => Verdict::Next(clock.code()),
            // Over all candidates, or the client's own.
            Clock::Total | Clock::ClientPatience | Clock::RequestBody => Verdict::Final,
        },
        kind @ (ErrorKind::Connect
        | ErrorKind::Connection
        | ErrorKind::UpstreamStatus(_)
        | ErrorKind::UpstreamAuth
        | ErrorKind::BadAnswer
        | ErrorKind::Truncated
        | ErrorKind::Unavailable
        | ErrorKind::Draining
        | ErrorKind::Misconfigured
        | ErrorKind::LoopDetected) => Verdict::Next(kind.code()),
        _ => Verdict::Final,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;

    fn answer(status: u16, class: Option<Class>) -> Verdict {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(class) = class {
            response.extensions_mut().insert(class);
        }
        judge(&Ok(response))
    }

    #[test]
    fn what_another_provider_may_do_better_is_handed_on() {
        for status in [401, 408, 429, 500, 502, 503, 504, 529] {
            assert!(matches!(answer(status, None), Verdict::Next(_)), "{status}");
        }
        for status in [200, 204, 302, 400, 403, 404, 409, 413, 422] {
            assert_eq!(answer(status, None), Verdict::Final, "{status}");
        }
        assert_eq!(answer(403, Some(Class::QuotaExhausted)), Verdict::Next("quota_exhausted"));
        assert_eq!(answer(400, Some(Class::ContextLength)), Verdict::OtherModel(Class::ContextLength));
    }

    #[test]
    fn a_refusal_of_the_callers_own_key_is_the_callers() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        response.extensions_mut().insert(CallerCredential);
        assert_eq!(judge(&Ok(response)), Verdict::Final);
    }

    #[test]
    fn the_clocks_over_all_candidates_are_final() {
        let timeout = |clock| judge(&Err(Error::timeout(clock, Duration::from_secs(1)).into()));
        for clock in [Clock::Total, Clock::ClientPatience, Clock::RequestBody] {
            assert_eq!(timeout(clock), Verdict::Final);
        }
        for clock in [Clock::Connect, Clock::Head, Clock::FirstEvent, Clock::Idle] {
            assert_eq!(timeout(clock), Verdict::Next(clock.code()));
        }
    }

    #[test]
    fn a_strangers_error_is_handed_on_and_what_the_client_did_is_not() {
        assert_eq!(judge(&Err("no idea".into())), Verdict::Next("other"));
        for kind in
            [ErrorKind::BadRequest, ErrorKind::PayloadTooLarge, ErrorKind::ClientGone, ErrorKind::Internal]
        {
            assert_eq!(judge(&Err(Error::new(kind, "x").into())), Verdict::Final, "{kind:?}");
        }
    }
}
