//! The small traits through which a provider's protocol reaches the layers.
//!
//! The layers know HTTP and nothing of OpenAI. What is the provider's own (its routes, its request
//! fields, its error envelope, what its error codes mean) comes in through these.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::{Class, Error, Facts, Route};

/// The route table.
pub trait Routes: Send + Sync + 'static {
    /// The row that a request matches; never fails: what is unknown has a row of its own.
    ///
    /// `path` is below the base path and begins with `/`.
    fn route(&self, method: &Method, path: &str) -> &'static Route;

    /// The base path, without a trailing slash: `/v1`.
    fn base_path(&self) -> &str;
}

/// A shallow look at a request.
pub trait ReadRequest: Send + Sync + 'static {
    /// What is known before the body: from the route alone.
    fn facts(&self, route: &'static Route) -> Facts;

    /// Reads a collected body.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`](crate::ErrorKind::BadRequest) where the body cannot be what the
    /// route requires: not an object, a duplicate of a key that is read, no `model`. What is merely
    /// unknown passes: upstream is the judge.
    fn read(&self, route: &'static Route, body: &Bytes) -> Result<Facts, Error>;
}

/// The error envelope.
pub trait RenderError: Send + Sync + 'static {
    /// The body of an error answer.
    fn body(&self, status: StatusCode, error: &Error) -> Bytes;

    /// Its content type.
    fn content_type(&self) -> HeaderValue;

    /// The bytes that tell a stream's client of an error after the head: one event in the shape of
    /// that route's stream.
    fn event(&self, route: Option<&'static Route>, error: &Error) -> Bytes;
}

/// What an upstream's error answer means.
pub trait Classify: Send + Sync + 'static {
    /// Classifies an answer. `body` is there where it was small enough to be read.
    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: Option<&[u8]>) -> Class;
}

/// Knows no codes: goes by the status alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByStatus;

impl Classify for ByStatus {
    fn classify(&self, status: StatusCode, _: &HeaderMap, _: Option<&[u8]>) -> Class {
        Class::of_status(status)
    }
}
