//! Times that are longer than any clock can hold.

use std::time::Duration;

/// What is longer is a mistake where it is configured; to a clock it is for ever, and an instant holds no more.
pub(crate) const CENTURY: Duration = Duration::from_secs(3_155_760_000);
