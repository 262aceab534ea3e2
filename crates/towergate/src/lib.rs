//! x
#[cfg(feature = "server")]
pub mod server;
