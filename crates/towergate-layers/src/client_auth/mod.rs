//! Who may come in: client keys of the gateway's own.
//!
//! **Place.** Inside `Respond`, which makes the 401, and outside of everything that costs: a
//! stranger takes no permit, and not a byte of its body is read.
//!
//! **Request.** A key is taken from `Authorization: Bearer`, `api-key`, `x-api-key`, or, as browsers
//! can set no header on a WebSocket, from the subprotocol `openai-insecure-api-key.<key>` in
//! `Sec-WebSocket-Protocol`. Whichever of them holds a right key is removed: it never goes upstream.
//! What holds something else stays, as it may be the caller's own provider key, which the auth layer
//! strips or passes on. The request gets [`ClientName`], also in its [`RequestRecord`], with what this client's
//! requests hold in memory ([`ClientMemory`](towergate_core::memory::ClientMemory)), and, where the key
//! does not reach everything, an [`Arc<ClientAccess>`](towergate_core::access::ClientAccess), which the intake
//! layer enforces. Where the keys are those of several clients, an `Idempotency-Key` is replaced by one that belongs to the
//! client: the same again for the same value, and another one for every other client. The [`Downstream`] of its connection
//! is told that a request was let in, also where everybody is.
//!
//! **Response.** It says in [`X_TOWERGATE_MODIFIED`] that the `Idempotency-Key` was replaced. Bodies are not touched.
//!
//! **Errors.** Without a right key: [`ErrorKind::Unauthorized`], saying what to send and nothing of
//! what was sent, and for a CORS preflight, which nobody answered further out, the setting; the inner service is not
//! called. Nothing is held, so a drop of the future or of the body needs nothing done.
//!
//! **Cost.** Four credentials of a request are looked at, in the order of the places above, and each costs one
//! SHA-256 digest and one lookup, whether there is 1 key or 100,000. What comes after the fourth is not looked at, and
//! is removed where the request is let in: it could be a key of the gateway's. A credential over 8 KiB is not a key
//! and is not hashed.
//!
//! Keys are kept as SHA-256 digests, found through a hash table under a random key of the process, and compared in
//! constant time. tower-http's `ValidateRequestHeaderLayer` knows one bearer token, compares it with an early exit,
//! and answers by itself with an empty 401.
//!
//! ```
//! use http::{Request, Response};
//! use secrecy::SecretString;
//! use tower::{Layer, ServiceExt, service_fn};
//! use towergate_core::{BoxError, context::ClientName, label::Label};
//! use towergate_layers::client_auth::{ClientAuthLayer, ClientKey, ClientKeys};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let key = ClientKey::new(&SecretString::from("tg-alice"))?;
//! let keys = ClientKeys::new([(Label::new("alice"), key)])?;
//! let service = ClientAuthLayer::new(keys).layer(service_fn(async |request: Request<()>| {
//!     assert!(!request.headers().contains_key("authorization"));
//!     let ClientName(name) = request.extensions().get().unwrap();
//!     Ok::<_, BoxError>(Response::new(name.to_string()))
//! }));
//!
//! let request = |key: &str| Request::builder().header("authorization", format!("Bearer {key}")).body(());
//! assert_eq!(service.clone().oneshot(request("tg-alice")?).await?.body(), "alice");
//! assert!(service.oneshot(request("tg-mallory")?).await.is_err());
//! # Ok(())
//! # }
//! ```

mod admit;
mod idempotency;
mod keys;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{
    HeaderValue, Method, Request, Response,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    BoxError, Error, ErrorKind,
    context::{ClientName, Downstream, RequestRecord},
    headers::X_TOWERGATE_MODIFIED,
};

pub use self::keys::{ClientKey, ClientKeys, InvalidClientKeys};
use self::{admit::admit, keys::Client};
use crate::refusable::Refusable;

#[cfg(test)]
mod tests;

/// Puts [`ClientAuth`] around a service.
#[derive(Debug, Clone)]
pub struct ClientAuthLayer {
    keys: Option<ClientKeys>,
}

/// Lets in only requests that show a client key.
#[derive(Debug, Clone)]
pub struct ClientAuth<S> {
    inner: S,
    keys: Option<ClientKeys>,
}

pin_project! {
    /// The future of [`ClientAuth`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Refusable<F>,
        // The request has another `Idempotency-Key` than the client sent.
        scoped: bool,
    }
}

// === impl ClientAuthLayer ===

impl ClientAuthLayer {
    /// Lets in whoever shows one of these keys.
    #[must_use]
    pub fn new(keys: ClientKeys) -> Self {
        Self { keys: Some(keys) }
    }

    /// Lets everybody in, and touches nothing.
    #[must_use]
    pub fn off() -> Self {
        Self { keys: None }
    }
}

impl<S> Layer<S> for ClientAuthLayer {
    type Service = ClientAuth<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientAuth { inner, keys: self.keys.clone() }
    }
}

// === impl ClientAuth ===

impl<S, B, ResBody> Service<Request<B>> for ClientAuth<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut scoped = false;
        if let Some(keys) = &self.keys {
            match admit(keys, request.headers_mut()) {
                Ok(Client { name, access, memory }) => {
                    scoped = keys.are_of_several() && idempotency::scope(name, request.headers_mut());
                    let extensions = request.extensions_mut();
                    // Whatever turns it away from here on: it is known whose request it was.
                    let record = RequestRecord::of(extensions);
                    record.set_client(ClientName(name.clone()));
                    record.set_client_memory(memory.clone());
                    extensions.insert(ClientName(name.clone()));
                    if let Some(access) = access {
                        extensions.insert(Arc::clone(access));
                    }
                }
                Err(error) => {
                    let error = if is_preflight(&request) { preflight_refusal() } else { error };
                    return ResponseFuture { inner: Refusable::refused(error), scoped };
                }
            }
        }
        if let Some(connection) = request.extensions().get::<Downstream>() {
            connection.set_admitted();
        }
        ResponseFuture { inner: Refusable::called(self.inner.call(request)), scoped }
    }
}

/// Whether a browser asks for leave to send what a page wants to send (Fetch, section 3.3.2). It shows no key.
fn is_preflight<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight_refusal() -> Error {
    let message = "this is a browser's CORS preflight, which carries no key: web pages of other origins may call only \
                   where CORS is set up";
    Error::new(ErrorKind::Unauthorized, message).with_setting("server.cors")
}

// === impl ResponseFuture ===

impl<F, ResBody, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<ResBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if *this.scoped {
            response.headers_mut().append(X_TOWERGATE_MODIFIED, HeaderValue::from_static("idempotency-key"));
        }
        Poll::Ready(Ok(response))
    }
}
