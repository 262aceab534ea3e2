//! The simulated OpenAI from outside: in process, and over real sockets with a raw client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy allows them in test functions, not in their helpers"
)]

mod endpoints;
mod faults;
mod observing;
mod sockets;
mod support;
mod websockets;
