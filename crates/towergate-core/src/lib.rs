//! The vocabulary of towergate: what its layers, its OpenAI service and its gateway say to each
//! other.
//!
//! This crate has no runtime: no tokio, no hyper and no tower. It changes slowly, so that a stack
//! built from single layers survives an upgrade of any of those.
//!
//! | module | what is in it |
//! |---|---|
//! | [`body`] | [`Body`], and its wrappers: [`Observed`](body::Observed) (told exactly once how a body ended) and replay |
//! | [`error`] | [`Error`]: what happened, to whom, when, whether anything was sent |
//! | [`outcome`] | [`Outcome`]: how a request or an attempt ended, exactly one each |
//! | [`classify`] | [`Class`]: what an upstream's answer means for retry and for the client |
//! | [`context`] | the newtypes that travel in extensions, and which of them a retry carries over |
//! | [`route`] | [`Route`] and [`Facts`]: what is known of a request |
//! | [`protocol`] | the small traits through which a provider's protocol reaches the layers |
//! | [`stream`] | [`StreamState`]: what the one reader of a stream has seen so far |
//! | [`headers`] | which fields may cross the gateway, in both directions |
//! | [`access`] | what a client's key reaches |
//! | [`credentials`] | where a provider's key comes from |
//! | [`redact`] | what an upstream may say of a secret that it was sent: nothing |
//! | [`weighted`] | turns by weight |
//! | [`memory`] | a bound on what all requests together may hold in memory |
//! | [`label`] | interned metric labels |
//! | [`path`] | paths that would climb out of where they are put |
//! | [`tunnel`] | how the two ends of an upgraded connection find each other |

pub mod access;
pub mod body;
pub mod classify;
pub mod context;
pub mod credentials;
pub mod error;
pub mod headers;
pub mod label;
pub mod memory;
pub mod outcome;
pub mod path;
pub mod protocol;
pub mod redact;
pub mod route;
pub mod stream;
pub mod tunnel;
pub mod weighted;

pub use self::{
    body::Body,
    classify::Class,
    error::{Clock, Error, ErrorKind, Origin, Phase, Sent},
    outcome::Outcome,
    route::{Facts, Route},
    stream::StreamState,
};

/// The error type of every service between the leaf and the edge of the stack.
///
/// Layers that can fail on their own widen to it, as tower's do; [`Error::find`] gets our own error
/// back out of it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
