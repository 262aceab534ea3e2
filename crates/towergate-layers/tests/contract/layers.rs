//! Every layer of this crate, held to the contract: a line or two for each.
//!
//! The expectations say what a layer does by design: which header it consumes, that it collects the
//! request, that it answers errors itself, and how to see that it holds nothing.
