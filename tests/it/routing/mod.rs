//! Several providers behind one gateway.

mod clients;
mod failover;
mod load;
mod names;
mod scenarios;
