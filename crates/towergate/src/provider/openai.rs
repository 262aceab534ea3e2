//! [`OpenAiProvider`]: an OpenAI with everything that is its own around it: retry, clocks, credential.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use towergate_core::{
    Clock,
    credentials::{Credential, CredentialSource},
    label::Label,
};
use towergate_layers::{
    auth::AuthLayer,
    breaker::{BreakerConfig, BreakerHandle},
    key_ring::{KeyRing, RingKey},
    retry::RetryLayer,
    timeout::Timeouts,
};
use towergate_openai::{client::Client, service::OpenAi};

use super::{Availability, HealthCheck, Parts, Provider, ProviderService, ProviderStatus};
use crate::{BuildError, stack};

const ORGANIZATION: HeaderName = HeaderName::from_static("openai-organization");
const PROJECT: HeaderName = HeaderName::from_static("openai-project");

/// What is said of a provider whose secrets everybody on the way can read.
pub(crate) const IN_CLEAR: &str = "the provider's secrets go over plain http to another machine, and everybody on the way can read \
                                   them: use https, or see to it that the network itself is encrypted";

/// An OpenAI, or a server that speaks its protocol. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OpenAiProvider {
    name: Label,
    service: ProviderService,
    /// Past breaker and retries.
    check: ProviderService,
    breaker: BreakerHandle,
    keys: KeyRing,
    leaf: OpenAi,
}

/// Settings of an [`OpenAiProvider`], each with its default.
#[derive(Debug, Clone)]
#[must_use]
pub struct OpenAiProviderBuilder {
    name: Label,
    leaf: towergate_openai::service::Builder,
    auth: Auth,
    fields: Vec<(HeaderName, HeaderValue)>,
    withheld: Vec<SecretString>,
    parts: Parts,
}

#[derive(Clone)]
enum Auth {
    Source(Arc<dyn CredentialSource>),
    Ring(Vec<RingKey>),
    PassThrough,
}

// === impl OpenAiProvider ===

impl OpenAiProvider {
    /// An OpenAI with the default settings.
    pub fn builder() -> OpenAiProviderBuilder {
        OpenAiProviderBuilder {
            name: Label::new("openai"),
            leaf: OpenAi::builder(),
            auth: Auth::Source(Arc::new(None::<Credential>)),
            fields: Vec::new(),
            withheld: Vec::new(),
            parts: Parts::default(),
        }
    }

    /// The OpenAI that the environment describes: `OPENAI_API_KEY` or `OPENAI_API_KEY_FILE`,
    /// `OPENAI_BASE_URL`, `OPENAI_TIMEOUT`, `OPENAI_MAX_RETRIES`, `OPENAI_ORG_ID`,
    /// `OPENAI_PROJECT_ID`; see [`towergate_openai::env`].
    ///
    /// # Errors
    ///
    /// Every bad value, named with its variable.
    pub async fn from_env() -> Result<OpenAiProviderBuilder, BuildError> {
        let env = towergate_openai::env::OpenAiEnv::from_env()?;
        let mut provider = Self::builder().base_url(&env.base_url).max_retries(env.max_retries);
        let timeouts = env.timeout.map_or_else(Timeouts::default, Timeouts::uniform);
        provider = provider.timeouts(timeouts.changed_by(towergate_openai::env::TIMEOUT));
        if let Some(organization) = &env.organization {
            provider = provider.organization(organization.clone());
        }
        if let Some(project) = &env.project {
            provider = provider.project(project.clone());
        }
        Ok(match env.open_key().await? {
            Some(key) => provider.credentials(key),
            None => provider,
        })
    }
}

impl Provider for OpenAiProvider {
    fn name(&self) -> &Label {
        &self.name
    }

    fn service(&self) -> ProviderService {
        self.service.clone()
    }

    fn health_check(&self) -> HealthCheck {
        let client = Client::new(self.check.clone());
        Box::pin(async move { client.health_check().await })
    }

    fn availability(&self, model: Option<&str>) -> Availability {
        Availability::of(&self.breaker, &self.keys, model)
    }

    fn status(&self) -> ProviderStatus {
        ProviderStatus::of(&self.breaker, &self.keys)
    }

    fn close(&self) {
        self.leaf.close();
    }
}

// === impl OpenAiProviderBuilder ===

impl OpenAiProviderBuilder {
    /// Its name in metrics, logs and headers. Default `openai`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Label::new(name);
        self
    }

    /// Where it is, with any path prefix. Default `https://api.openai.com/v1`.
    pub fn base_url(mut self, url: &str) -> Self {
        self.leaf = self.leaf.base_url(url);
        self
    }

    /// The key. Default: none is sent.
    ///
    /// # Errors
    ///
    /// A text that is no key.
    pub fn api_key(self, key: impl Into<SecretString>) -> Result<Self, BuildError> {
        Ok(self.credentials(Credential::new(&key.into())?))
    }

    /// Where the key comes from; asked for each attempt, so that it can rotate.
    pub fn credentials(mut self, source: impl CredentialSource) -> Self {
        self.auth = Auth::Source(Arc::new(source));
        self
    }

    /// Several keys, each used by its share of the attempts; one that is refused, has no quota left or is limited
    /// for a model is set aside, and the request goes on with another at once. In place of
    /// [`api_key`](Self::api_key) and [`credentials`](Self::credentials).
    pub fn keys(mut self, keys: impl IntoIterator<Item = RingKey>) -> Self {
        self.auth = Auth::Ring(keys.into_iter().collect());
        self
    }

    /// Sends the caller's own credentials instead, with the caller's organisation and project.
    pub fn pass_through_auth(mut self) -> Self {
        self.auth = Auth::PassThrough;
        self
    }

    /// `OpenAI-Organization`. Default: none; the caller's own never goes upstream.
    pub fn organization(self, organization: HeaderValue) -> Self {
        self.header(ORGANIZATION, organization)
    }

    /// `OpenAI-Project`. Default: none; the caller's own never goes upstream.
    pub fn project(self, project: HeaderValue) -> Self {
        self.header(PROJECT, project)
    }

    /// A field set on every request, in place of the caller's. A value that is marked
    /// [sensitive](HeaderValue::is_sensitive) is a secret: no response repeats it.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        // What is set here must pass the leaf's allow-list too.
        self.leaf = self.leaf.allow_header(name.clone());
        self.fields.push((name, value));
        self
    }

    /// A further text that no response may repeat, as none repeats the key: a part of a field, for example.
    pub fn withhold(mut self, secret: impl Into<SecretString>) -> Self {
        self.withheld.push(secret.into());
        self
    }

    /// The clocks of an attempt: head, first event, idle; and that of a WebSocket.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.parts.timeouts = timeouts;
        self
    }

    /// The longest silence of a WebSocket, in both directions together, in place of the one in
    /// [`timeouts`](Self::timeouts). Default 600 s.
    pub fn tunnel_idle(mut self, idle: Duration) -> Self {
        self.parts.timeouts = self.parts.timeouts.with_tunnel_idle(idle);
        self
    }

    /// Retries after the first attempt. Default 3.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.parts.retry = self.parts.retry.max_retries(retries);
        self
    }

    /// Everything else of the retries: backoff, budget, policy.
    pub fn retry(mut self, retry: RetryLayer) -> Self {
        self.parts.retry = retry;
        self
    }

    /// When it is set aside after failures; see [`BreakerConfig`] for the defaults.
    pub fn breaker(mut self, config: BreakerConfig) -> Self {
        self.parts.breaker = config;
        self
    }

    /// A request field that goes upstream beside those of the allow-list.
    pub fn allow_header(mut self, name: HeaderName) -> Self {
        self.leaf = self.leaf.allow_header(name);
        self
    }

    /// A trailer field of streamed request bodies that goes upstream. Default: none.
    pub fn allow_trailer(mut self, name: HeaderName) -> Self {
        self.leaf = self.leaf.allow_trailer(name);
        self
    }

    /// Everything of the leaf: pool, TLS, HTTP version, proxies. Its base URL, name and clocks
    /// stay those set here.
    pub fn leaf(
        mut self,
        with: impl FnOnce(towergate_openai::service::Builder) -> towergate_openai::service::Builder,
    ) -> Self {
        self.leaf = with(self.leaf);
        self
    }

    /// Builds it. Logs a warning where secrets go to another machine over plain http.
    ///
    /// # Errors
    ///
    /// A setting that can't work, named.
    pub fn build(self) -> Result<OpenAiProvider, BuildError> {
        self.parts.timeouts.validate().map_err(BuildError::Timeouts)?;
        let leaf = match self.parts.timeouts.head(None) {
            // It runs from the call, so that no connect clock can be longer.
            Some(head) => self.leaf.connect_within(head, self.parts.timeouts.setting(Clock::Head)),
            None => self.leaf,
        };
        let leaf = leaf
            .name(self.name.as_str())
            .tunnel_idle(self.parts.timeouts.tunnel_idle())
            .build()
            .map_err(|source| BuildError::Provider { provider: self.name.to_string(), source })?;
        if leaf.sends_in_clear() && sends_secrets(&self.fields, &self.auth) {
            tracing::warn!(provider = self.name.as_str(), setting = "base_url", "{IN_CLEAR}");
        }
        let (auth, keys) = match self.auth {
            Auth::Source(source) => {
                (AuthLayer::new(Arc::clone(&source)), vec![RingKey::new(Label::new("1"), source)])
            }
            Auth::Ring(keys) => {
                // A ring picks among several only.
                let auth = match &keys[..] {
                    [only] => AuthLayer::new(only.clone()),
                    _ => AuthLayer::new(None::<Credential>),
                };
                (keys.iter().cloned().fold(auth, AuthLayer::withhold_key), keys)
            }
            Auth::PassThrough => (AuthLayer::pass_through(), Vec::new()),
        };
        let keys = KeyRing::new(self.name.clone(), keys);
        let fields = self.fields.into_iter();
        let auth =
            fields.fold(auth, |auth, (name, value)| auth.header(name, value)).provider(self.name.clone());
        let auth = self.withheld.iter().chain(leaf.secrets()).fold(auth, AuthLayer::withhold);
        let breaker = BreakerHandle::new(self.name.clone(), self.parts.breaker.clone());
        let check = stack::check(leaf.clone(), &self.name, auth.clone(), keys.clone(), self.parts.clone());
        let service =
            stack::provider(leaf.clone(), &self.name, auth, breaker.clone(), keys.clone(), self.parts);
        Ok(OpenAiProvider { name: self.name, service, check, breaker, keys, leaf })
    }
}

/// Whether requests bring a secret. It asks for the keys, so it is for those only who are to be warned.
fn sends_secrets(fields: &[(HeaderName, HeaderValue)], auth: &Auth) -> bool {
    let is_secret =
        |source: &dyn CredentialSource| source.credential().is_some_and(|key| key.redactable().is_some());
    fields.iter().any(|(_, value)| value.is_sensitive())
        || match auth {
            Auth::Source(source) => is_secret(source),
            Auth::Ring(keys) => keys.iter().any(|key| is_secret(key)),
            Auth::PassThrough => true,
        }
}

// === impl Auth ===

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source(_) => "Source([redacted])",
            Self::Ring(_) => "Ring([redacted])",
            Self::PassThrough => "PassThrough",
        })
    }
}
