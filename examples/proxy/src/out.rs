//! Standard output.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write as _},
};

/// Writes this. Who reads it may have enough before its end, as `head` has: a pipe that was closed is no error.
pub(crate) fn print(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
