//! The simulated OpenAI from outside: in process, and over real sockets with a raw client.

mod endpoints;
mod faults;
mod observing;
mod sockets;
mod support;
