//! What the gateway costs, measured beside a bare hyper proxy. `docs/performance.md` has the commands
//! and the figures.
//!
//! Every module is a tool by itself; `towergate-bench --help` lists them.

pub mod bare;
pub mod client;
pub mod compare;
pub mod instructions;
pub mod load;
pub mod process;
pub mod request;
pub mod upstream;

/// What the tools fail with: a sentence for whoever runs them.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
