//! The caller's credentials out, the provider's in.
//!
//! **Place.** Right above the leaf, inside retry: the source is asked again for each attempt, so a
//! rotated key is used from the next one on, and no layer outside ever sees the key.
//!
//! **Request.** `Authorization`, `api-key`, `x-api-key`, `Cookie`, `Proxy-Authorization` and the
//! caller's organisation and project are removed; then `Authorization` is set, marked sensitive, to the
//! [`Credential`] that a [key ring](crate::key_ring) picked, else to what the source gives, and
//! the provider's fields given with [`AuthLayer::header`]. A `Connection` that names one of the
//! fields set here no longer does: it would make the leaf drop them. With
//! [`AuthLayer::pass_through`] the caller's key, organisation and project go on instead
//! (`Cookie` and `Proxy-Authorization` never), and the request gets [`CallerCredential`].
//!
//! **Response.** No secret that was sent comes back: not the injected key, nor a field given with
//! [`AuthLayer::header`] that is marked sensitive, nor what [`AuthLayer::withhold`] adds. A field that quotes one, of a
//! head with any status or of trailers, is removed. In the body of a response that is not a success (300 and above) it is
//! [masked](towergate_core::redact), however often that body is cut, and without a change of its length; one in a
//! content coding cannot be searched, so it is left out, and the response gets [`Withheld`]: whoever wants to see it
//! decodes it below, as tower-http's `Decompression` does. The body of a success is not searched; but where its reader
//! publishes a [`StreamState`], that is told what an error inside of it must not quote. A key shorter than
//! [`Secret::SHORTEST`](towergate_core::redact::Secret::SHORTEST) does not count as a secret.
//!
//! A response with an error status (400 and above) carries the [`Credential`] that was sent, for a
//! [key ring](crate::key_ring). In pass-through mode every response carries [`CallerCredential`], and may quote the
//! caller's key, which is the caller's to read.
//!
//! **Errors.** Where a key is [required](AuthLayer::require) and the source has none:
//! [`ErrorKind::Misconfigured`], naming the setting; the inner service is not called, and the
//! caller's key is never used instead. Nothing is held, so a drop of the future or of the body needs
//! nothing done.
//!
//! tower-http's `SetRequestHeader` can set the field, but neither strips, nor refuses, nor tells the
//! outer layers what was sent.
//!
//! ```
//! use http::{Request, Response};
//! use http_body_util::BodyExt as _;
//! use tower::{Layer, ServiceExt, service_fn};
//! use towergate_core::{Body, BoxError, credentials::Credential};
//! use towergate_layers::auth::AuthLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let key = Credential::try_from("sk-provider")?;
//! let service = AuthLayer::new(key).layer(service_fn(async |request: Request<()>| {
//!     assert_eq!(request.headers()["authorization"], "Bearer sk-provider");
//!     assert!(request.headers()["authorization"].is_sensitive());
//!     assert!(!request.headers().contains_key("cookie"));
//!     let said = Body::from(r#"{"error":{"message":"wrong key sk-provider"}}"#);
//!     Ok::<_, BoxError>(Response::builder().status(400).body(said)?)
//! }));
//!
//! let request = Request::builder().header("authorization", "Bearer sk-caller").header("cookie", "a=b");
//! let response = service.oneshot(request.body(())?).await?;
//! let said = response.into_body().collect().await?.to_bytes();
//! assert_eq!(said, r#"{"error":{"message":"wrong key [redacted]*"}}"#);
//! # Ok(())
//! # }
//! ```

mod body;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE,
        PROXY_AUTHORIZATION,
    },
};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    BoxError, Error, ErrorKind, StreamState,
    context::{CallerCredential, Withheld},
    credentials::{Credential, CredentialSource, SecretString},
    headers::{self, CREDENTIALS},
    label::Label,
    redact::{Redaction, Secrets},
};

pub use self::body::ResponseBody;
use crate::refusable::Refusable;

/// Puts [`Auth`] around a service.
#[derive(Debug, Clone)]
pub struct AuthLayer {
    settings: Settings,
}

/// Replaces the caller's credentials by the provider's.
#[derive(Debug, Clone)]
pub struct Auth<S> {
    inner: S,
    settings: Arc<Settings>,
}

#[derive(Debug, Clone)]
struct Settings {
    mode: Mode,
    /// The provider's own fields, such as its organisation.
    fields: Vec<(HeaderName, HeaderValue)>,
    /// What no response may repeat, beside the key that an attempt sends.
    secrets: Arc<Secrets>,
    provider: Option<Label>,
}

#[derive(Clone)]
enum Mode {
    Inject { source: Arc<dyn CredentialSource>, required_by: Option<Cow<'static, str>> },
    PassThrough,
}

pin_project! {
    /// The future of [`Auth`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Refusable<F>,
        redaction: Redaction,
        callers: bool,
    }
}

// === impl AuthLayer ===

impl AuthLayer {
    /// Sends what the source gives, and no `Authorization` where it gives nothing: the upstream
    /// needs none.
    #[must_use]
    pub fn new(source: impl CredentialSource) -> Self {
        Self::of_mode(Mode::Inject { source: Arc::new(source), required_by: None })
    }

    /// Sends the caller's own key, organisation and project.
    #[must_use]
    pub fn pass_through() -> Self {
        Self::of_mode(Mode::PassThrough)
    }

    /// Refuses every request while the source has no key; `setting` is the one that gives it, such
    /// as `OPENAI_API_KEY`. Default: not required. Means nothing in pass-through mode.
    #[must_use]
    pub fn require(mut self, setting: impl Into<Cow<'static, str>>) -> Self {
        if let Mode::Inject { required_by, .. } = &mut self.settings.mode {
            *required_by = Some(setting.into());
        }
        self
    }

    /// Sets a field of the provider on every request, such as its organisation or project; what the
    /// caller sent under that name is removed, in pass-through mode too. A second value for the same
    /// name replaces the first. A value that is marked [sensitive](HeaderValue::is_sensitive) is withheld from
    /// responses as the key is: all of it, and what stands behind an authentication scheme.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if value.is_sensitive() {
            self.secrets().add_field(&value);
        }
        self.settings.fields.push((name, value));
        self
    }

    /// Withholds a further text from responses, such as a proxy's password.
    #[must_use]
    pub fn withhold(mut self, secret: &SecretString) -> Self {
        self.secrets().add(secret);
        self
    }

    /// Withholds a further key from responses, always the one that the source gives at present: those of a
    /// [key ring](crate::key_ring), of which an attempt sends one.
    #[must_use]
    pub fn withhold_key(mut self, source: impl CredentialSource) -> Self {
        self.secrets().add_source(source);
        self
    }

    /// The provider's name, for the error. Default: not named.
    #[must_use]
    pub fn provider(mut self, provider: Label) -> Self {
        self.settings.provider = Some(provider);
        self
    }

    fn of_mode(mode: Mode) -> Self {
        let secrets = Arc::default();
        Self { settings: Settings { mode, fields: Vec::new(), secrets, provider: None } }
    }

    fn secrets(&mut self) -> &mut Secrets {
        Arc::make_mut(&mut self.settings.secrets)
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Auth { inner, settings: Arc::new(self.settings.clone()) }
    }
}

// === impl Auth ===

impl<S, B, ResBody> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let picked = request.extensions_mut().remove::<Credential>();
        let callers = matches!(self.settings.mode, Mode::PassThrough);
        match self.settings.apply(request.headers_mut(), picked) {
            Ok(sent) => {
                if callers {
                    request.extensions_mut().insert(CallerCredential);
                }
                let redaction = Redaction::new(sent, Arc::clone(&self.settings.secrets));
                ResponseFuture { inner: Refusable::called(self.inner.call(request)), redaction, callers }
            }
            Err(error) => {
                ResponseFuture { inner: Refusable::refused(error), redaction: Redaction::default(), callers }
            }
        }
    }
}

// === impl Settings ===

impl Settings {
    /// Gives the provider's key that is sent.
    fn apply(
        &self,
        headers: &mut HeaderMap,
        picked: Option<Credential>,
    ) -> Result<Option<Credential>, Error> {
        let sent = match &self.mode {
            Mode::PassThrough => {
                headers.remove(COOKIE);
                headers.remove(PROXY_AUTHORIZATION);
                for (_, value) in headers.iter_mut().filter(|(name, _)| CREDENTIALS.contains(name)) {
                    value.set_sensitive(true);
                }
                None
            }
            Mode::Inject { source, required_by } => {
                headers::strip_credentials(headers);
                headers::strip_caller_account(headers);
                let credential = picked.or_else(|| source.credential());
                match (&credential, required_by) {
                    (Some(credential), _) => {
                        unname_in_connection(headers, &AUTHORIZATION);
                        headers.insert(AUTHORIZATION, credential.bearer().clone());
                    }
                    (None, Some(setting)) => return Err(self.no_key(setting.clone())),
                    (None, None) => {}
                }
                credential
            }
        };
        for (name, value) in &self.fields {
            unname_in_connection(headers, name);
            headers.insert(name.clone(), value.clone());
        }
        Ok(sent)
    }

    fn no_key(&self, setting: Cow<'static, str>) -> Error {
        let error = Error::new(ErrorKind::Misconfigured, "there is no API key to send upstream")
            .with_setting(setting);
        match &self.provider {
            Some(provider) => error.with_provider(provider.clone()),
            None => error,
        }
    }
}

/// Takes a field's name out of `Connection`, where a caller may name its own fields only: the leaf
/// drops all that are named (RFC 9110, section 7.6.1), and would drop what was set here.
fn unname_in_connection(headers: &mut HeaderMap, name: &HeaderName) {
    let names_it = |option: &&str| option.eq_ignore_ascii_case(name.as_str());
    if !connection_options(headers).any(|option| names_it(&option)) {
        return;
    }
    let kept: Vec<&str> = connection_options(headers).filter(|option| !names_it(option)).collect();
    let kept = HeaderValue::try_from(kept.join(", ")).ok().filter(|kept| !kept.is_empty());
    headers.remove(CONNECTION);
    if let Some(kept) = kept {
        headers.insert(CONNECTION, kept);
    }
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|option| !option.is_empty())
}

impl fmt::Debug for Mode {
    /// Without the source, which may print its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inject { required_by, .. } => {
                f.debug_struct("Inject").field("required_by", required_by).finish_non_exhaustive()
            }
            Self::PassThrough => f.write_str("PassThrough"),
        }
    }
}

// === impl ResponseFuture ===

impl<F, ResBody, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    E: Into<BoxError>,
    ResBody: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let redaction = std::mem::take(this.redaction);
        if *this.callers {
            response.extensions_mut().insert(CallerCredential);
        }
        if let Some(sent) = redaction.sent().filter(|_| response.status().as_u16() >= 400).cloned() {
            response.extensions_mut().insert(sent);
        }
        if let Some(state) = response.extensions().get::<Arc<StreamState>>() {
            state.set_redaction(redaction.clone());
        }
        // Most fields are shorter than a key, and so cost a look at their length.
        redaction.strip(response.headers_mut());
        Poll::Ready(Ok(redacted(response, redaction)))
    }
}

/// The body of a success passes; of any other none that holds a secret.
fn redacted<B: Body>(response: Response<B>, redaction: Redaction) -> Response<ResponseBody<B>> {
    let (mut parts, body) = response.into_parts();
    let is_searched = parts.status.as_u16() >= 300 && !body.is_end_stream();
    let redactor = if is_searched { redaction.redactor() } else { None };
    if redactor.is_none() || !headers::is_encoded(&parts.headers) {
        return Response::from_parts(parts, ResponseBody::new(body, redaction, redactor));
    }
    for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE] {
        parts.headers.remove(name);
    }
    parts.extensions.insert(Withheld);
    Response::from_parts(parts, ResponseBody::withheld())
}
