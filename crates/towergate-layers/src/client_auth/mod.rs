//! Who may come in: client keys of the gateway's own.
//!
//! **Place.** Inside `Respond`, which makes the 401, and outside of everything that costs: a
//! stranger takes no permit, and not a byte of its body is read.
//!
//! **Request.** A key is taken from `Authorization: Bearer`, `api-key`, `x-api-key`, or, as browsers
//! can set no header on a WebSocket, from the subprotocol `openai-insecure-api-key.<key>` in
//! `Sec-WebSocket-Protocol`. Whichever of them holds a right key is removed: it never goes upstream.
//! What holds something else stays, as it may be the caller's own provider key, which the auth layer
//! strips or passes on. The request gets [`ClientName`], also in its [`RequestRecord`], and, where the key
//! does not reach everything, an [`Arc<ClientAccess>`](towergate_core::access::ClientAccess), which the intake
//! layer enforces.
//!
//! **Errors.** Without a right key: [`ErrorKind::Unauthorized`], saying what to send and nothing of
//! what was sent; the inner service is not called. Responses and bodies are not touched. Nothing is
//! held, so a drop of the future or of the body needs nothing done.
//!
//! Keys are kept as SHA-256 digests and compared with all of the known ones in constant time.
//! tower-http's `ValidateRequestHeaderLayer` knows one bearer token, compares it with an early exit,
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

mod keys;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response,
    header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    BoxError, Error, ErrorKind,
    context::{ClientName, RequestRecord},
    label::Label,
};

pub use self::keys::{ClientKey, ClientKeys, InvalidClientKeys};
use crate::refusable::Refusable;

#[cfg(test)]
mod tests;

const API_KEY: HeaderName = HeaderName::from_static("api-key");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// How OpenAI's own WebSocket endpoints take a key from a browser.
const SUBPROTOCOL: &str = "openai-insecure-api-key.";

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
        if let Some(keys) = &self.keys {
            match admit(keys, request.headers_mut()) {
                Ok((name, key)) => {
                    let extensions = request.extensions_mut();
                    // Whatever turns it away from here on: it is known whose request it was.
                    RequestRecord::of(extensions).set_client(ClientName(name.clone()));
                    extensions.insert(ClientName(name));
                    if let Some(access) = key.restriction() {
                        extensions.insert(Arc::clone(access));
                    }
                }
                Err(error) => return ResponseFuture { inner: Refusable::refused(error) },
            }
        }
        ResponseFuture { inner: Refusable::called(self.inner.call(request)) }
    }
}

/// Finds the client, and removes every field that holds one of the gateway's keys.
fn admit(keys: &ClientKeys, headers: &mut HeaderMap) -> Result<(Label, ClientKey), Error> {
    let mut client = None;
    let mut shown = false;
    for name in [AUTHORIZATION, API_KEY, X_API_KEY] {
        let is_bearer = name == AUTHORIZATION;
        let mut values = headers.get_all(&name).iter().peekable();
        shown |= values.peek().is_some();
        let known = values
            .filter_map(|value| if is_bearer { bearer(value.as_bytes()) } else { Some(value.as_bytes()) })
            .find_map(|key| keys.find(key).cloned());
        if let Some(known) = known {
            headers.remove(name);
            client.get_or_insert(known);
        }
    }
    let (by_subprotocol, subprotocol_shown) = admit_subprotocol(keys, headers);
    client.or(by_subprotocol).ok_or_else(|| refusal(shown || subprotocol_shown))
}

/// Looks for a key among the subprotocols, and takes it from the list; the others stay, in order.
/// Also says whether one was shown.
fn admit_subprotocol(keys: &ClientKeys, headers: &mut HeaderMap) -> (Option<(Label, ClientKey)>, bool) {
    let shows_key = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(SUBPROTOCOL));
    if !headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().any(shows_key) {
        return (None, false);
    }
    let mut client = None;
    let kept: Vec<&str> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|protocol| {
            match protocol.strip_prefix(SUBPROTOCOL).and_then(|key| keys.find(key.as_bytes())) {
                Some(known) => {
                    client.get_or_insert_with(|| known.clone());
                    false
                }
                None => true,
            }
        })
        .collect();
    if client.is_some() {
        let kept = HeaderValue::try_from(kept.join(", ")).ok().filter(|kept| !kept.is_empty());
        headers.remove(SEC_WEBSOCKET_PROTOCOL);
        if let Some(kept) = kept {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, kept);
        }
    }
    (client, true)
}

/// The token of a bearer field; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn refusal(shown: bool) -> Error {
    let message = if shown {
        "the client key is not one of this gateway's; send one of its own as \"Authorization: Bearer <key>\""
    } else {
        "this gateway asks for a client key; send one as \"Authorization: Bearer <key>\""
    };
    Error::new(ErrorKind::Unauthorized, message)
}

// === impl ResponseFuture ===

impl<F, ResBody, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<ResBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}
