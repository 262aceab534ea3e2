//! The whole gateway over real sockets: client, gateway and upstream each on a port of their own.
//!
//! Faults are scripted in the simulated upstream, and tests wait for events, never for time.

mod support;

mod bad_input;
mod drain;
mod matrix;
mod streams;
