//! The whole gateway over real sockets: client, gateway and upstream each on a port of their own.
//!
//! Faults are scripted in the simulated upstream, and tests wait for events, never for time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

mod aborted;
mod backpressure;
mod bad_input;
mod bodies;
mod caching;
mod cancellation;
mod cardinality;
mod clients;
mod configured;
mod drain;
mod extended_connect;
mod guard;
mod headers;
mod health;
mod hostile;
mod kinds;
mod loops;
mod matrix;
mod mount;
mod order;
mod pass_through;
mod real_openai;
mod reload;
mod routing;
mod stalled;
mod strangers;
mod streams;
mod tenants;
mod tls;
mod trailers;
mod websocket;
