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
//! **Response.** A field that quotes the injected key, such as that of an upstream that echoes requests, is
//! removed before anybody outside can forward or log it, whatever the status. One with an error status (400 and above) carries, as an extension, the
//! [`Credential`] that was sent, so that whoever forwards its body can see whether it holds the key,
//! and must then remove it; in pass-through mode every answer carries [`CallerCredential`].
//!
//! **Errors.** Where a key is [required](AuthLayer::require) and the source has none:
//! [`ErrorKind::Misconfigured`], naming the setting; the inner service is not called, and the
//! caller's key is never used instead. Nothing is held, so a drop of the future or of the body needs
//! nothing done. Bodies are not touched.
//!
//! tower-http's `SetRequestHeader` can set the field, but neither strips, nor refuses, nor tells the
//! outer layers what was sent.
//!
//! ```
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//! use towergate_core::{BoxError, credentials::Credential};
//! use towergate_layers::auth::AuthLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let key = Credential::try_from("sk-provider")?;
//! let service = AuthLayer::new(key).layer(service_fn(async |request: Request<()>| {
//!     assert_eq!(request.headers()["authorization"], "Bearer sk-provider");
//!     assert!(request.headers()["authorization"].is_sensitive());
//!     assert!(!request.headers().contains_key("cookie"));
//!     Ok::<_, BoxError>(Response::new("hi"))
//! }));
//!
//! let request = Request::builder().header("authorization", "Bearer sk-caller").header("cookie", "a=b");
//! service.oneshot(request.body(())?).await?;
//! # Ok(())
//! # }
//! ```

use std::{
    borrow::Cow,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response,
    header::{AUTHORIZATION, CONNECTION, COOKIE, PROXY_AUTHORIZATION},
};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use towergate_core::{
    BoxError, Error, ErrorKind,
    context::CallerCredential,
    credentials::{Credential, CredentialSource},
    headers::{self, CREDENTIALS},
    label::Label,
};

use crate::refusable::Refusable;

#[cfg(test)]
mod tests;

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
    provider: Option<Label>,
}

#[derive(Clone)]
enum Mode {
    Inject { source: Arc<dyn CredentialSource>, required_by: Option<Cow<'static, str>> },
    PassThrough,
}

/// Whose credential went upstream.
#[derive(Debug)]
enum Used {
    Nobodys,
    Providers(Credential),
    Callers,
}

pin_project! {
    /// The future of [`Auth`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Refusable<F>,
        used: Used,
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
    /// name replaces the first.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.settings.fields.push((name, value));
        self
    }

    /// The provider's name, for the error. Default: not named.
    #[must_use]
    pub fn provider(mut self, provider: Label) -> Self {
        self.settings.provider = Some(provider);
        self
    }

    fn of_mode(mode: Mode) -> Self {
        Self { settings: Settings { mode, fields: Vec::new(), provider: None } }
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
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let picked = request.extensions_mut().remove::<Credential>();
        match self.settings.apply(request.headers_mut(), picked) {
            Ok(used) => {
                if matches!(used, Used::Callers) {
                    request.extensions_mut().insert(CallerCredential);
                }
                ResponseFuture { inner: Refusable::called(self.inner.call(request)), used }
            }
            Err(error) => ResponseFuture { inner: Refusable::refused(error), used: Used::Nobodys },
        }
    }
}

// === impl Settings ===

impl Settings {
    fn apply(&self, headers: &mut HeaderMap, picked: Option<Credential>) -> Result<Used, Error> {
        let used = match &self.mode {
            Mode::PassThrough => {
                headers.remove(COOKIE);
                headers.remove(PROXY_AUTHORIZATION);
                for (_, value) in headers.iter_mut().filter(|(name, _)| CREDENTIALS.contains(name)) {
                    value.set_sensitive(true);
                }
                Used::Callers
            }
            Mode::Inject { source, required_by } => {
                headers::strip_credentials(headers);
                headers::strip_caller_account(headers);
                match (picked.or_else(|| source.credential()), required_by) {
                    (Some(credential), _) => {
                        unname_in_connection(headers, &AUTHORIZATION);
                        headers.insert(AUTHORIZATION, credential.bearer().clone());
                        Used::Providers(credential)
                    }
                    (None, Some(setting)) => return Err(self.no_key(setting.clone())),
                    (None, None) => Used::Nobodys,
                }
            }
        };
        for (name, value) in &self.fields {
            unname_in_connection(headers, name);
            headers.insert(name.clone(), value.clone());
        }
        Ok(used)
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

fn quoting(headers: &HeaderMap, credential: &Credential) -> Option<HeaderName> {
    let mut fields = headers.iter();
    fields.find(|(_, value)| credential.is_leaked_by(value.as_bytes())).map(|(name, _)| name.clone())
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
{
    type Output = Result<Response<ResBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let failed = response.status().is_client_error() || response.status().is_server_error();
        this.used.hide(response.headers_mut());
        this.used.tell(response.extensions_mut(), failed);
        Poll::Ready(Ok(response))
    }
}

// === impl Used ===

impl Used {
    /// Most fields are shorter than a key, and so cost a look at their length.
    fn hide(&self, headers: &mut HeaderMap) {
        let Self::Providers(credential) = self else { return };
        while let Some(name) = quoting(headers, credential) {
            headers.remove(name);
        }
    }

    fn tell(&self, extensions: &mut Extensions, failed: bool) {
        match self {
            Self::Providers(credential) if failed => {
                extensions.insert(credential.clone());
            }
            Self::Callers => {
                extensions.insert(CallerCredential);
            }
            Self::Nobodys | Self::Providers(_) => {}
        }
    }
}
