//! The small traits through which a provider's protocol reaches the layers.
//!
//! The layers know HTTP and nothing of OpenAI. What is the provider's own (its routes, its request
//! fields, its error envelope, what its error codes mean) comes in through these.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

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

    /// What is known of a request whose body streams through: from the route and the URI. By default from
    /// the route alone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`](crate::ErrorKind::BadRequest) where what is read stands in the URI twice.
    fn read_head(&self, route: &'static Route, _uri: &Uri) -> Result<Facts, Error> {
        Ok(self.facts(route))
    }

    /// A reader for a body that streams through, where facts are to be found in it: a form. By default none.
    fn read_form(&self, _route: &'static Route, _headers: &HeaderMap) -> Option<Box<dyn ReadForm>> {
        None
    }
}

/// Reads a body as it streams through, without keeping it.
pub trait ReadForm: Send {
    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`](crate::ErrorKind::BadRequest) where what is read stands in it twice.
    fn read(&mut self, data: &[u8]) -> Result<(), Error>;

    /// What was found, once there is something, or once it is known that nothing will be.
    fn facts(&self) -> Option<Facts>;
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
