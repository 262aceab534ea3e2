//! What a log line may say of an error.

use std::{error::Error as StdError, fmt};

use towergate_core::{BoxError, Clock, Error, ErrorKind};

/// The causes of an error, for the log only, each after a colon.
///
/// Only those below an error of the transport or of the gateway itself: they are I/O errors and the
/// like. A cause of any other kind may quote what a client or an upstream sent.
pub(crate) struct Causes<'a>(&'a (dyn StdError + 'static));

impl<'a> Causes<'a> {
    pub(crate) fn of(error: &'a Error) -> Option<Self> {
        let told = matches!(
            error.kind(),
            ErrorKind::Connect
                | ErrorKind::Connection
                | ErrorKind::Truncated
                | ErrorKind::Timeout(Clock::Connect)
                | ErrorKind::Misconfigured
                | ErrorKind::Internal
        );
        error.source().filter(|_| told).map(Self)
    }
}

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// The error in a chain that is ours, or one that stands for a broken answer.
pub(crate) fn body_error(error: &BoxError) -> Result<&Error, Error> {
    Error::find(&**error).ok_or_else(|| Error::new(ErrorKind::Truncated, "the answer broke off"))
}
