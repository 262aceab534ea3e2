//! One contract for every layer.
//!
//! [`probe::check`] puts a layer around a scripted service and names the clauses it violates;
//! `broken.rs` shows for each clause that a layer which breaks it is found out, and `layers.rs`
//! holds every layer of this crate to all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod broken;
mod expect;
mod layers;
mod mock;
mod probe;
