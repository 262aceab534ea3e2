//! The standalone server: guarded connections, TLS, the operators' surface, graceful shutdown.
//!
//! An app with a server of its own mounts the [`Gateway`](crate::Gateway) there and needs nothing
//! of this, but may want [`GuardedIo`]: its page says why.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use towergate::{Gateway, server::Server};
//!
//! let gateway = Gateway::builder().build()?;
//! let server = Server::builder().listen("127.0.0.1:8080".parse()?).bind(gateway).await?;
//! println!("listening on http://{}", server.local_addr());
//! let report = server.serve(towergate::server::signal::shutdown()).await;
//! println!("{report}");
//! # Ok(()) }
//! ```

mod accept;
mod builder;
mod connection;
mod descriptors;
mod drain;
mod io;
mod places;
mod preface;
pub mod signal;
mod state;
mod stream;
mod surface;
pub mod telemetry;
pub mod tls;
mod upload;

#[cfg(test)]
mod tests;

pub use self::{
    accept::{BoundServer, Report},
    builder::{MIN_HEADER_BYTES, Server, ServerBuilder},
    connection::ConnectionGuard,
    descriptors::raise_descriptor_limit,
    io::{ConnectionClocks, GuardedIo},
    tls::{Tls, TlsError, TlsFiles},
};
