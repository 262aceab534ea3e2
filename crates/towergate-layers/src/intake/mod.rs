//! Looks at a request once, for all the layers below: which route it is, whether it is one that is
//! served, how large its body is, and what a JSON body says.
//!
//! **Where.** Below the total timeout, because a collected upload takes time and only that clock
//! stops one that trickles; below client authentication, because it takes memory; above whatever
//! picks a provider by the model. tower has nothing like it: `tower_http`'s body limit knows one
//! limit and reads nothing.
//!
//! **Reads** the method, the path, `Content-Type`, `Content-Encoding`, `Content-Length`, and the
//! body on routes that are read ([`Reads::Json`](towergate_core::route::Reads::Json)) where a POST, PUT or PATCH carries JSON:
//! `application/json`, `…+json`, or no content type at all. Such a body is collected once and handed
//! on as one piece of memory; it is not copied where it came in one frame, and its trailers are
//! dropped. All other bodies, compressed JSON among them, stream through untouched and are only
//! counted. A body of `GET`, `HEAD` or `DELETE` that no route reads has no meaning (RFC 9110, section 9.3.1), and servers
//! that do not read it take it for the next request of the connection: it is dropped, with `Content-Type`,
//! `Content-Length` and `Content-Encoding`. Of trailers [those that no trailers may have](towergate_core::headers::strip_request_trailers), the
//! caller's credentials first, are removed. A form the protocol reads along ([`ReadForm`](towergate_core::protocol::ReadForm)), and the
//! request waits for what it finds until [64 KiB](IntakeLayer::PEEKED) have come. Each piece of a form is read
//! before it goes on: what the reader refuses goes no further, and neither does the end of the form.
//!
//! **Reads** on the request also [`Arc<ClientAccess>`](ClientAccess): what the client's key reaches. The body of a client
//! that reaches certain models only is read in full where its endpoint's bodies are, or refused; so is a path of no known
//! endpoint.
//!
//! **Writes** [`Arc<Facts>`](Facts) into the request's extensions, and the route, the facts, the
//! client's name and the memory that all layers below draw from into the [`RequestRecord`]. A `Content-Length` that cannot be right (beside
//! `Transfer-Encoding`, or another length than was read) is removed. The time that a body took to
//! arrive is put down as not the gateway's own.
//!
//! **Refuses**, as errors and before a byte of the body is read wherever that is possible:
//!
//! | what | kind |
//! |---|---|
//! | a path with a `.` or `..` segment, however it is encoded | [`BadRequest`](towergate_core::ErrorKind::BadRequest) |
//! | another method than GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS | `BadRequest` |
//! | another transfer coding than `chunked` | `BadRequest` |
//! | more than one `Host`, one that is none, or none on a server's HTTP/1.1 connection | `BadRequest` |
//! | a path that is neither below the base path nor a bare one of the table | [`NotFound`](towergate_core::ErrorKind::NotFound) |
//! | a body over its limit, declared or sent | [`PayloadTooLarge`](towergate_core::ErrorKind::PayloadTooLarge) |
//! | a body for which no memory is left, over all requests | [`Overloaded`](towergate_core::ErrorKind::Overloaded) |
//! | one for which its client's share of it is used up | [`TooManyRequests`](towergate_core::ErrorKind::TooManyRequests) |
//! | an endpoint, a model or something stored that the client's key does not reach ([`ClientAccess`]) | [`Forbidden`](towergate_core::ErrorKind::Forbidden) |
//! | of a client that reaches certain models only, a body in which they cannot be looked for | `Forbidden` |
//! | a body that the protocol cannot read ([`ReadRequest::read`]) | what it says |
//! | a client that goes away while it uploads | [`ClientGone`](towergate_core::ErrorKind::ClientGone) |
//!
//! An upload that streams and outgrows its limit fails inside the body, and so fails the upstream
//! request. Unknown paths below the base path and empty segments (`//`) pass: upstream is the judge.
//!
//! **Dropped before the head**, the body is dropped with it, and its memory is given back.
//! **The response** and its body pass untouched.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Method, Request, Response};
//! use tower::{ServiceBuilder, ServiceExt as _, service_fn};
//! use towergate_core::{
//!     Body, BoxError, Error, ErrorKind, Facts, Route,
//!     label::Label,
//!     protocol::{ReadRequest, Routes},
//!     route::Reads,
//! };
//! use towergate_layers::intake::IntakeLayer;
//!
//! struct Echo;
//! static ECHO: Route = Route {
//!     name: "echo",
//!     index: 0,
//!     template: "/echo",
//!     reads: Reads::Json,
//!     requires_model: false,
//!     generates: false,
//!     holds_answer: false,
//!     bare: false,
//!     stateless: true,
//! };
//! impl Routes for Echo {
//!     fn route(&self, _: &Method, _: &str) -> &'static Route { &ECHO }
//!     fn base_path(&self) -> &str { "/v1" }
//! }
//! impl ReadRequest for Echo {
//!     fn facts(&self, route: &'static Route) -> Facts { Facts::of_route(route, Label::new("other")) }
//!     fn read(&self, route: &'static Route, body: &Bytes) -> Result<Facts, Error> {
//!         if body.starts_with(b"{") { Ok(self.facts(route)) } else {
//!             Err(Error::new(towergate_core::ErrorKind::BadRequest, "not an object"))
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let service = ServiceBuilder::new().layer(IntakeLayer::new(Echo).max_body(1024)).service(service_fn(
//!     |request: Request<Body>| async move { Ok::<_, BoxError>(Response::new(request.into_body())) },
//! ));
//! let answer = service.clone().oneshot(Request::post("/v1/echo").body(Body::from("{}"))?).await?;
//! assert_eq!(answer.body().as_bytes(), Some(&b"{}"[..]));
//!
//! let refused = service.oneshot(Request::post("/v1/echo").body(Body::from("[]"))?).await.unwrap_err();
//! assert_eq!(Error::find(&*refused).map(Error::kind), Some(towergate_core::ErrorKind::BadRequest));
//! # Ok(())
//! # }
//! ```

mod collect;
mod future;
mod head;
mod limits;
mod path;
mod peek;
#[cfg(test)]
mod tests;
mod upload;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    Request,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
};
use http_body::Body as _;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    Body, BoxError, Error, Route,
    access::ClientAccess,
    context::{ClientName, RequestRecord},
    memory::MemoryBudget,
    protocol::{ReadRequest, Routes},
};

// Named in the module's documentation only.
#[cfg(doc)]
use towergate_core::Facts;

pub use self::future::ResponseFuture;
use self::{
    collect::Collect,
    future::{Pending, State, understood},
    limits::Limits,
    peek::Peek,
    upload::Upload,
};

/// Makes [`Intake`]. See the [module](self).
pub struct IntakeLayer<P> {
    protocol: Arc<P>,
    limits: Limits,
}

/// Looks at each request once. See the [module](self).
pub struct Intake<S, P> {
    inner: S,
    protocol: Arc<P>,
    limits: Limits,
}

// === impl IntakeLayer ===

impl<P> IntakeLayer<P> {
    /// 64 MiB.
    pub const MAX_BODY: usize = 64 << 20;
    /// 1 GiB.
    pub const MAX_UPLOAD: u64 = 1 << 30;
    /// 1 GiB.
    pub const MEMORY: usize = 1 << 30;

    /// How far into a form is looked before the request goes on: 64 KiB.
    pub const PEEKED: usize = 64 << 10;

    /// Takes requests of a protocol, with the default limits.
    #[must_use]
    pub fn new(protocol: P) -> Self {
        let memory = MemoryBudget::new(Self::MEMORY);
        let limits = Limits { max_body: Self::MAX_BODY, max_upload: Self::MAX_UPLOAD, memory };
        Self { protocol: Arc::new(protocol), limits }
    }

    /// How many bytes a JSON body may have; setting `server.max_body`. Default:
    /// [`MAX_BODY`](Self::MAX_BODY).
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.limits.max_body = bytes;
        self
    }

    /// How many bytes a body may have that streams through; setting `server.max_upload`. Default:
    /// [`MAX_UPLOAD`](Self::MAX_UPLOAD).
    #[must_use]
    pub fn max_upload(mut self, bytes: u64) -> Self {
        self.limits.max_upload = bytes;
        self
    }

    /// What all collected bodies together may take; setting `limits.memory`. A body keeps what it takes
    /// until its last copy is gone. Layers below draw what they keep from it, too. Default: [`MEMORY`](Self::MEMORY), for this
    /// layer alone.
    #[must_use]
    pub fn memory(mut self, budget: MemoryBudget) -> Self {
        self.limits.memory = budget;
        self
    }
}

impl<P> Clone for IntakeLayer<P> {
    fn clone(&self) -> Self {
        Self { protocol: Arc::clone(&self.protocol), limits: self.limits.clone() }
    }
}

impl<P> fmt::Debug for IntakeLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntakeLayer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<S, P> Layer<S> for IntakeLayer<P> {
    type Service = Intake<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Intake { inner, protocol: Arc::clone(&self.protocol), limits: self.limits.clone() }
    }
}

// === impl Intake ===

impl<S: Clone, P> Clone for Intake<S, P> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), protocol: Arc::clone(&self.protocol), limits: self.limits.clone() }
    }
}

impl<S: fmt::Debug, P> fmt::Debug for Intake<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake")
            .field("inner", &self.inner)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl<S, P, B> Service<Request<B>> for Intake<S, P>
where
    S: Service<Request<Body>> + Clone,
    S::Error: Into<BoxError>,
    P: Routes + ReadRequest,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let state = self.admit(request).unwrap_or_else(|error| State::Refused { error: error.into() });
        ResponseFuture { state, protocol: Arc::clone(&self.protocol), limits: self.limits.clone() }
    }
}

impl<S, P> Intake<S, P>
where
    S: Service<Request<Body>> + Clone,
    P: Routes + ReadRequest,
{
    /// All that can be said before the body.
    fn admit<B>(&mut self, mut request: Request<B>) -> Result<State<S, S::Future>, Error>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let route = head::find_route(&*self.protocol, request.method(), request.uri())?;
        head::one_host(&request)?;
        head::only_chunked(request.headers())?;
        let record = RequestRecord::of(request.extensions_mut());
        record.set_route(route);
        record.set_memory(self.limits.memory.clone());
        if let Some(client) = request.extensions().get::<ClientName>() {
            record.set_client(client.clone());
        }

        let access = request.extensions().get::<Arc<ClientAccess>>().cloned();
        if let Some(access) = &access {
            access.check_route(route)?;
            self.protocol.check_head(access, route, request.uri())?;
        }
        let strict = access.as_ref().is_some_and(|access| access.restricts_models());

        if request.headers().contains_key(TRANSFER_ENCODING) {
            // RFC 9112, section 6.3: the length is then not to be believed.
            request.headers_mut().remove(CONTENT_LENGTH);
        }
        let declared = head::declared_length(&request);
        if head::is_read(route, &request, strict) {
            let reservation = record.reservation(&self.limits.memory);
            self.limits.check_body(declared.unwrap_or_default(), &reservation)?;
            let (parts, body) = request.into_parts();
            let collect = Collect::new(Body::new(body), declared, reservation);
            let pending = self.pending(Request::from_parts(parts, ()), record, route);
            return Ok(State::Collecting { collect, pending });
        }

        if declared.is_some_and(|length| length > self.limits.max_upload) {
            return Err(self.limits.upload_too_large());
        }
        let is_unexpected = head::expects_no_body(route, request.method()) && !request.body().is_end_stream();
        if is_unexpected {
            for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING] {
                request.headers_mut().remove(name);
            }
        }
        let limits = &self.limits;
        let mut request = request.map(|body| {
            let body = Body::new(body);
            match body.as_bytes() {
                _ if is_unexpected || body.is_end_stream() => Body::empty(),
                Some(bytes) if bytes.len() as u64 <= limits.max_upload => body,
                _ => Body::new(Upload::new(body, limits.max_upload, limits.upload_too_large())),
            }
        });
        if let Some(form) = self.protocol.read_form(route, request.headers(), access.as_ref())? {
            let (parts, body) = request.into_parts();
            let peek = Peek::new(body, form, declared, record.reservation(&self.limits.memory));
            let pending = self.pending(Request::from_parts(parts, ()), record, route);
            return Ok(State::Peeking { peek, pending });
        }
        if let Some(access) = access.filter(|_| !http_body::Body::is_end_stream(request.body())) {
            access.check_unread(route)?;
        }
        let facts = self.protocol.read_head(route, request.uri())?;
        understood(request.extensions_mut(), &record, facts)?;
        Ok(State::Called { future: self.inner.call(request) })
    }

    /// The instance that was polled ready goes with the request.
    fn pending(
        &mut self,
        request: Request<()>,
        record: Arc<RequestRecord>,
        route: &'static Route,
    ) -> Pending<S> {
        let clone = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, clone);
        Pending { service, request, record, route, since: Instant::now() }
    }
}
