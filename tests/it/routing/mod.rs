//! Several providers behind one gateway.

mod clients;
mod failover;
mod keys;
mod load;
mod names;
mod restricted;
mod scenarios;
