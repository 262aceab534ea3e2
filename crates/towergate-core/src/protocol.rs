//! The small traits through which a provider's protocol reaches the layers.
//!
//! The layers know HTTP and nothing of OpenAI. What is the provider's own (its routes, its request
//! fields, its error envelope, what its error codes mean) comes in through these.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use crate::{Class, Error, Facts, Route, access::ClientAccess};

/// The route table.
pub trait Routes: Send + Sync + 'static {
    /// The row that a request matches; never fails: what is unknown has a row of its own.
    ///
    /// `path` is below the base path and begins with `/`. It is as the client wrote it; a path that the server behind the
    /// gateway may read as that of a known row ([`normalize`](crate::path::normalize)) is of that row.
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
    ///
    /// `access` is what the client's key reaches, where that is not everything. Where it is
    /// [certain models](ClientAccess::restricts_models), the reader refuses each form that two readers could understand
    /// differently.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`](crate::ErrorKind::BadRequest) where that shows in the headers already.
    fn read_form(
        &self,
        _route: &'static Route,
        _headers: &HeaderMap,
        _access: Option<&Arc<ClientAccess>>,
    ) -> Result<Option<Box<dyn ReadForm>>, Error> {
        Ok(None)
    }

    /// Whether a client whose key does not reach everything may send what the head of its request says. Asked before the
    /// body is read. By default it may.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) where a model is named that the key does not reach.
    fn check_head(&self, _access: &ClientAccess, _route: &'static Route, _uri: &Uri) -> Result<(), Error> {
        Ok(())
    }

    /// Whether a client whose key does not reach everything may send a collected body that was [read](Self::read): every
    /// model that it names beside the one that was read, and what it refers to that is kept upstream. By default it may.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden);
    /// [`ErrorKind::BadRequest`](crate::ErrorKind::BadRequest) where two readers could understand the body differently.
    fn check_body(&self, _access: &ClientAccess, _route: &'static Route, _body: &Bytes) -> Result<(), Error> {
        Ok(())
    }
}

/// Reads a body as it streams through, without keeping it. What it costs is proportional to the bytes, in whatever
/// pieces they come.
pub trait ReadForm: Send {
    /// Takes the next bytes, before they are passed on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`](crate::ErrorKind::BadRequest) where what is read stands in it twice, and, where it is
    /// read strictly, where two readers could understand it differently.
    fn read(&mut self, data: &[u8]) -> Result<(), Error>;

    /// The body is over. By default nothing is made of that.
    ///
    /// # Errors
    ///
    /// As of [`read`](Self::read).
    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }

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
