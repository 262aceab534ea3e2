//! Key ring: one provider's keys, each used by its share, and set aside while the provider refuses it.
//!
//! **Place.** Inside retry, so that each attempt picks a key of its own, and outside commit, which says what
//! an answer means. [`Auth`](crate::auth), further in, sends what was picked.
//!
//! **Which.** Of the keys that are not set aside, by their weights, exact to within one attempt. Where all are
//! set aside, the one that is free again soonest: whether the provider is asked at all is for a router to say,
//! which can [see](KeyRing::limited_until) it.
//!
//! **Set aside.** After a 429, this key for this model: for the time that the answer asks for, else a second,
//! and five minutes at most. After a refused credential or a used-up quota, the whole key: for a minute, or
//! until its source gives another one. An answer that it gets meanwhile puts it back at once. A model with a name
//! longer than [`Facts::MAX_SHOWN`] counts as none, so that what is remembered stays small.
//!
//! **Reads** the request's model from [`Arc<Facts>`](Facts), the answer's [`Class`] and [`RetryAfter`], else its
//! status and headers. **Writes** on the request the [`Credential`], where there are several keys; on an answer
//! that set a key aside while another is free [`OtherCredential`]. Bodies, frames and hints pass untouched.
//!
//! **Dropped** at any time: nothing is held for an attempt.
//!
//! A key that is set aside is one warning in the log and one count, both with its name and never with the key:
//!
//! | metric | labels |
//! |---|---|
//! | `towergate_keys_set_aside_total` | `provider`, `key`, `reason` |
//!
//! ```
//! use http::Request;
//! use secrecy::SecretString;
//! use tower::{Layer as _, ServiceExt as _, service_fn};
//! use towergate_core::{Body, BoxError, credentials::Credential, label::Label};
//! use towergate_layers::{auth::AuthLayer, key_ring::{KeyRing, KeyRingLayer, RingKey}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let key = |name, key| Ok::<_, BoxError>(RingKey::new(
//!     Label::new(name),
//!     Credential::new(&SecretString::from(key))?,
//! ));
//! let keys = KeyRing::new(Label::new("openai"), [key("a", "sk-a")?.weight(3.0), key("b", "sk-b")?]);
//! let service = KeyRingLayer::new(keys).layer(AuthLayer::new(None).layer(service_fn(
//!     async |request: Request<Body>| {
//!         assert_eq!(request.headers()["authorization"], "Bearer sk-a");
//!         Ok::<_, BoxError>(http::Response::new(Body::empty()))
//!     },
//! )));
//! service.oneshot(Request::new(Body::empty())).await?;
//! # Ok(())
//! # }
//! ```

mod ring;
#[cfg(test)]
mod tests;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    BoxError, Class, Error, ErrorKind, Facts,
    classify::RetryAfter,
    context::{CallerCredential, OtherCredential},
    credentials::Credential,
};

use self::ring::Refusal;
pub use self::ring::{KeyRing, RingKey};

/// Puts [`Keyed`] around a service. See the [module](self).
#[derive(Debug, Clone)]
pub struct KeyRingLayer {
    ring: KeyRing,
}

/// The service of [`KeyRingLayer`].
#[derive(Debug, Clone)]
pub struct Keyed<S> {
    inner: S,
    ring: KeyRing,
}

pin_project! {
    /// The future of [`Keyed`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        used: Option<Used>,
    }
}

/// The key of an attempt, and what it is used for.
#[derive(Debug)]
struct Used {
    ring: KeyRing,
    key: usize,
    model: Option<Arc<str>>,
}

// === impl KeyRingLayer ===

impl KeyRingLayer {
    /// Services made by this layer, and by its clones, share the ring.
    #[must_use]
    pub fn new(ring: KeyRing) -> Self {
        Self { ring }
    }
}

impl<S> Layer<S> for KeyRingLayer {
    type Service = Keyed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Keyed { inner, ring: self.ring.clone() }
    }
}

// === impl Keyed ===

impl<S, B, ResBody> Service<Request<B>> for Keyed<S>
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
        let facts = request.extensions().get::<Arc<Facts>>();
        let model =
            facts.and_then(|facts| facts.model.clone()).filter(|model| model.len() <= Facts::MAX_SHOWN);
        let used = self.ring.pick(model.as_deref()).map(|(key, credential)| {
            if let Some(credential) = credential {
                request.extensions_mut().insert::<Credential>(credential);
            }
            Used { ring: self.ring.clone(), key, model }
        });
        ResponseFuture { inner: self.inner.call(request), used }
    }
}

// === impl ResponseFuture ===

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<B>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = ready!(this.inner.poll(cx)).map_err(Into::into);
        if let Some(used) = this.used.take() {
            match &mut result {
                Ok(response) => used.answered(response),
                Err(error) => used.failed(error),
            }
        }
        Poll::Ready(result)
    }
}

// === impl Used ===

impl Used {
    fn answered<B>(&self, response: &mut Response<B>) {
        // Auth says which one it was: it may have been rotated since.
        let sent = response.extensions_mut().remove::<Credential>();
        let extensions = response.extensions();
        if extensions.get::<CallerCredential>().is_some() {
            return;
        }
        let class = extensions.get().copied().unwrap_or_else(|| Class::of_status(response.status()));
        let refusal = match class {
            Class::RateLimited => {
                let asked = extensions.get().copied();
                let asked = asked.or_else(|| RetryAfter::of(response.headers(), SystemTime::now()));
                Refusal::RateLimited(asked.map(|RetryAfter(wait)| wait))
            }
            Class::AuthRefused => Refusal::AuthRefused,
            Class::QuotaExhausted => Refusal::QuotaExhausted,
            Class::Success => return self.ring.restore(self.key, self.model.as_deref()),
            _ => return,
        };
        if self.ring.set_aside(self.key, self.model.as_ref(), refusal, sent) {
            response.extensions_mut().insert(OtherCredential);
        }
    }

    /// An answer that was none: what it says of the key counts as well.
    fn failed(&self, error: &BoxError) {
        let Some(error) = Error::find(&**error) else { return };
        let ErrorKind::UpstreamStatus(status) = error.kind() else { return };
        let refusal = match Class::of_status(status) {
            Class::RateLimited => Refusal::RateLimited(error.retry_after()),
            Class::AuthRefused => Refusal::AuthRefused,
            _ => return,
        };
        self.ring.set_aside(self.key, self.model.as_ref(), refusal, None);
    }
}
