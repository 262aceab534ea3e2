//! What a request body may take, and how one that takes more is refused.

use std::{error::Error as StdError, io};

use http_body_util::LengthLimitError;
use towergate_core::{
    BoxError, Error, ErrorKind,
    memory::{MemoryBudget, Reservation},
};

/// See the methods of [`IntakeLayer`](super::IntakeLayer).
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) max_body: usize,
    pub(super) max_upload: u64,
    pub(super) memory: MemoryBudget,
}

// === impl Limits ===

impl Limits {
    /// Whether a collected body may have so many bytes: no more than ever fit into the memory, either.
    pub(super) fn check_body(&self, length: u64, reservation: &Reservation) -> Result<(), Error> {
        let most = reservation.most();
        let (limit, setting) = if most.limit() < self.max_body {
            (most.limit(), most.setting())
        } else {
            (self.max_body, "server.max_body")
        };
        if length <= limit as u64 {
            return Ok(());
        }
        let message = format!("the request body is larger than the {limit} bytes allowed");
        Err(Error::new(ErrorKind::PayloadTooLarge, message).with_setting(setting))
    }

    pub(super) fn upload_too_large(&self) -> Error {
        let message = format!("the upload is larger than the {} bytes allowed", self.max_upload);
        Error::new(ErrorKind::PayloadTooLarge, message).with_setting("server.max_upload")
    }

    /// What it means that a body could not be read. An error of ours (a clock over the upload) says
    /// it itself.
    pub(super) fn read_error(&self, error: BoxError) -> BoxError {
        if Error::find(&*error).is_some() {
            return error;
        }
        let error = match why(&*error) {
            Why::Limit => {
                Error::new(ErrorKind::PayloadTooLarge, "the request body is larger than the server allows")
            }
            Why::Gone => {
                Error::new(ErrorKind::ClientGone, "the client went away before it had sent the request body")
                    .with_source(error)
            }
            Why::Malformed => {
                Error::new(ErrorKind::BadRequest, "the request body could not be read: its framing is broken")
                    .with_source(error)
            }
        };
        error.into()
    }
}

enum Why {
    /// A limit of whoever mounted the service.
    Limit,
    Gone,
    Malformed,
}

/// Goes by the types in the chain, never by the text.
fn why(error: &(dyn StdError + 'static)) -> Why {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Why::Limit;
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            use io::ErrorKind::{
                BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut, UnexpectedEof,
            };
            return match io.kind() {
                BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut
                | UnexpectedEof => Why::Gone,
                _ => Why::Malformed,
            };
        }
        cause = error.source();
    }
    Why::Malformed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_broke_the_upload_is_read_from_the_types() {
        let limits = Limits { max_body: 1, max_upload: 1, memory: MemoryBudget::new(1) };
        let kind = |error: BoxError| Error::find(&*limits.read_error(error)).unwrap().kind();
        let io = |kind| io::Error::new(kind, "x");
        assert_eq!(kind(io(io::ErrorKind::UnexpectedEof).into()), ErrorKind::ClientGone);
        assert_eq!(kind(io(io::ErrorKind::InvalidInput).into()), ErrorKind::BadRequest);
        assert_eq!(kind("other".into()), ErrorKind::BadRequest);
        let ours = Error::new(ErrorKind::Draining, "stopped");
        assert_eq!(kind(io::Error::other(ours).into()), ErrorKind::Draining);
    }
}
