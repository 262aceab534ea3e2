//! From a configuration to what runs.

use std::{path::Path, sync::Arc};

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use towergate_core::{
    access::ClientAccess,
    context::AttemptClocks,
    credentials::{Credential, CredentialSource, InvalidCredential},
    label::{Label, Labels},
};
use towergate_layers::{
    breaker::BreakerConfig,
    client_auth::{ClientKey, ClientKeys, InvalidClientKeys},
    key_ring::RingKey,
    retry::BudgetConfig,
    timeout::Timeouts,
};
use towergate_openai::{
    env::OpenAiEnv,
    protocol::OpenAiProtocol,
    request::MODELS,
    secret::{SecretError, SecretFile, warn_if_readable_by_others},
    service::Http2,
};

use super::{
    Config,
    plan::{KeyPlan, KeyReference, ProviderPlan},
    sensitive,
    setting::{Missing, Variables},
    types::{HttpVersion, ModelSection, RoutingStrategy, Secret, Size, Time},
};
use crate::{
    BuildError, Candidate, Gateway, GatewayBuilder, OpenAiProvider, OpenAiProviderBuilder, Registry, Routing,
    ServedModel, Strategy, health::HealthChecks, stack::default_retry,
};

/// Why what a configuration says cannot be built, although the file is sound. Shows no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetUpError {
    /// A variable that a secret needs.
    #[error("{setting}: the variable {variable} is not set")]
    Missing {
        /// The setting.
        setting: String,
        /// The variable.
        variable: String,
    },
    /// A key that is none.
    #[error("{setting}: {source}")]
    Credential {
        /// The setting.
        setting: String,
        /// What is wrong.
        source: InvalidCredential,
    },
    /// A header value that cannot be sent.
    #[error("{setting}: the value holds a character that no header field can")]
    Header {
        /// The setting.
        setting: String,
    },
    /// A client key that is none.
    #[error("{setting}: {source}")]
    ClientKeys {
        /// The setting.
        setting: String,
        /// What is wrong.
        source: InvalidClientKeys,
    },
    /// A file that cannot be read.
    #[error("{setting}: {path} cannot be read: {source}")]
    File {
        /// The setting.
        setting: String,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A listener's certificate without its key, a key without its certificate, or authorities without both.
    #[error("server.tls: cert_file and key_file need each other (flags --tls-cert, --tls-key)")]
    HalfTls,
    /// A file that should hold a key.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Everything else.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl Config {
    /// The gateway that it describes. Opens key files, so it needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// A secret that is not there, a file that cannot be read, a provider that cannot be built.
    pub async fn gateway(&self, variables: &Variables) -> Result<GatewayBuilder, SetUpError> {
        let mut registry = Registry::new();
        for plan in self.providers() {
            registry.register(&plan.name, plan.build(variables).await?);
        }
        self.gateway_of(registry, variables)
    }

    /// The gateway around providers that were built of its plans.
    pub(super) fn gateway_of(
        &self,
        registry: Registry,
        variables: &Variables,
    ) -> Result<GatewayBuilder, SetUpError> {
        let gateway = Gateway::builder().routing(self.routing(registry)).protocol(self.protocol());
        let mut gateway = self.server().limit(gateway);
        if let Some(keys) = self.client_keys(variables)? {
            gateway = gateway.client_keys(keys);
        }
        Ok(gateway)
    }

    /// Who serves what, of providers that were built of its plans.
    fn routing(&self, registry: Registry) -> Routing {
        let section = &self.file.routing;
        let plan = self.routing_plan();
        let mut routing = Routing::new(registry)
            .last_resort(plan.last_resort.value)
            .max_attempts(plan.max_attempts.value)
            .strategy(match plan.strategy.value {
                RoutingStrategy::Weighted => Strategy::Weighted,
                RoutingStrategy::LeastInFlight => Strategy::LeastInFlight,
                RoutingStrategy::PeakEwma => Strategy::PeakEwma,
            });
        if let Some(name) = &plan.default_provider.value {
            routing = routing.default_provider(name);
        }
        for plan in self.providers() {
            let mut candidate = Candidate::new().priority(plan.priority.value).weight(plan.weight.value);
            if plan.health_checks.enabled.value {
                candidate = candidate.health_checks(plan.checks());
            }
            let models = plan.models.iter().map(|(name, settings)| served(name, settings));
            routing = routing.candidate(&plan.name, models.fold(candidate, Candidate::serves));
        }
        for (model, others) in &section.fallback_models {
            routing = routing.fallback_models(model, others);
        }
        for (model, others) in &section.context_length_fallbacks {
            routing = routing.context_length_fallbacks(model, others);
        }
        for (model, others) in &section.content_policy_fallbacks {
            routing = routing.content_policy_fallbacks(model, others);
        }
        routing
    }

    /// Its models become metric labels, and what it says of their thinking is known.
    fn protocol(&self) -> OpenAiProtocol {
        let models = || self.providers().iter().flat_map(|plan| &plan.models);
        let named = models().flat_map(|(name, settings)| [Some(name.as_str()), settings.upstream.as_deref()]);
        let labels = Labels::new(MODELS.iter().copied().chain(named.flatten()));
        models().fold(OpenAiProtocol::new().with_models(labels), |protocol, (name, settings)| match settings
            .thinks
        {
            Some(thinks) => protocol.with_thinking(settings.upstream.as_deref().unwrap_or(name), thinks),
            None => protocol,
        })
    }

    fn client_keys(&self, variables: &Variables) -> Result<Option<ClientKeys>, SetUpError> {
        let invalid = |setting: String| |source| SetUpError::ClientKeys { setting, source };
        if self.file.client_keys.is_empty() {
            return Ok(None);
        }
        let mut keys = Vec::new();
        for (name, section) in &self.file.client_keys {
            let setting = || format!("client_keys.{name}.key");
            let key = match (&section.key, &section.sha256) {
                (Some(secret), _) => ClientKey::new(&expand(secret, variables, setting)?),
                (None, digest) => ClientKey::from_sha256(digest.as_deref().unwrap_or_default()),
            };
            let mut access = ClientAccess::all();
            if let Some(models) = &section.allowed_models {
                access = access.allowed_models(models);
            }
            if let Some(endpoints) = &section.allowed_endpoints {
                access = access.allowed_endpoints(endpoints);
            }
            keys.push((Label::new(name), key.map_err(invalid(setting()))?.access(access)));
        }
        ClientKeys::new(keys).map(Some).map_err(invalid("client_keys".to_owned()))
    }
}

impl ProviderPlan {
    /// The provider that it describes.
    ///
    /// # Errors
    ///
    /// A secret that is not there, a file that cannot be read, a setting that cannot work.
    pub async fn build(&self, variables: &Variables) -> Result<OpenAiProvider, SetUpError> {
        let setting = |name: &str| format!("providers.{}.{name}", self.name);
        let mut provider = OpenAiProvider::builder()
            .name(&self.name)
            .base_url(&self.base_url.value)
            .timeouts(self.clocks())
            .retry(self.retry_layer())
            .breaker(self.breaker_config());
        provider = match &self.key.value {
            KeyReference::Caller => provider.pass_through_auth(),
            KeyReference::Several(keys) => {
                let mut ring = Vec::new();
                for (at, KeyPlan { name, key, weight }) in keys.iter().enumerate() {
                    let path = || setting(&format!("keys[{at}].api_key"));
                    let source = source(key, variables, path).await?;
                    ring.extend(source.map(|source| RingKey::new(Label::new(name), source).weight(*weight)));
                }
                provider.keys(ring)
            }
            one => match source(one, variables, || setting("api_key")).await? {
                Some(source) => provider.credentials(source),
                None => provider,
            },
        };
        for (name, value, with) in [
            ("organization", &self.organization.value, OpenAiProviderBuilder::organization as fn(_, _) -> _),
            ("project", &self.project.value, OpenAiProviderBuilder::project),
        ] {
            if let Some(text) = value {
                let value =
                    HeaderValue::from_str(text).map_err(|_| SetUpError::Header { setting: setting(name) })?;
                provider = with(provider, value);
            }
        }
        for (name, secret) in &self.headers {
            let path = || setting(&format!("headers.{name}"));
            let text = expand(secret, variables, path)?;
            let value = HeaderValue::from_str(secrecy::ExposeSecret::expose_secret(&text));
            let (Ok(name), Ok(mut value)) = (HeaderName::from_bytes(name.as_bytes()), value) else {
                return Err(SetUpError::Header { setting: path() });
            };
            for part in sensitive::mark(&name, &mut value, secret, variables) {
                provider = provider.withhold(part);
            }
            provider = provider.header(name, value);
        }
        for name in names(&self.allow_headers) {
            provider = provider.allow_header(name);
        }
        for name in names(&self.allow_trailers) {
            provider = provider.allow_trailer(name);
        }
        if let Some(asked) = self.usage_in_streams.value {
            provider = provider.leaf(|leaf| leaf.usage_in_streams(asked));
        }
        let tls = &self.tls;
        if let Some(path) = &tls.ca_file {
            let pem = read(path, || setting("tls.ca_file")).await?;
            provider = provider.leaf(|leaf| leaf.add_root_certificates(pem));
        }
        if let (Some(chain), Some(key)) = (&tls.client_certificate_file, &tls.client_key_file) {
            let chain = read(chain, || setting("tls.client_certificate_file")).await?;
            let path = Path::new(key);
            warn_if_readable_by_others(&setting("tls.client_key_file"), path).await;
            let key = read(key, || setting("tls.client_key_file")).await?;
            provider = provider.leaf(|leaf| leaf.client_identity(chain, key));
        }
        provider = provider.leaf(|leaf| {
            leaf.connect_timeout(self.timeouts.connect.value)
                .pool_idle_timeout(self.pool_idle_timeout.value)
                .pool_max_idle_per_host(self.pool_max_idle.value as usize)
                .http2((self.http_version.value == HttpVersion::Http2).then(Http2::default))
        });
        Ok(provider.build()?)
    }

    fn clocks(&self) -> Timeouts {
        let mut clocks = Timeouts::default().with_tunnel_idle(self.timeouts.tunnel_idle.value);
        if let Some(head) = self.timeouts.head.value {
            clocks = clocks.with_head(head);
        }
        if let Some(first_event) = self.timeouts.first_event.value {
            clocks = clocks.with_first_event(first_event);
        }
        if let Some(idle) = self.timeouts.idle.value {
            clocks = clocks.with_idle(idle);
        }
        // The gateway's total is what ends a request; here it only has to be no shorter than the clocks.
        let longest = [self.timeouts.head.value, self.timeouts.first_event.value, self.timeouts.idle.value];
        let total = longest.into_iter().flatten().max().unwrap_or_default().max(Timeouts::TOTAL);
        clocks.with_total(total)
    }

    fn retry_layer(&self) -> towergate_layers::retry::RetryLayer {
        let retry = &self.retry;
        default_retry()
            .max_retries(self.max_retries.value)
            .max_backoff(retry.max_backoff.value)
            .jitter(retry.jitter.value)
            .max_retry_after(retry.max_retry_after.value)
            .retry_maybe_billed(retry.maybe_billed.value)
            .budget(BudgetConfig {
                ratio: retry.budget_ratio.value,
                min_per_second: retry.budget_min_per_second.value,
                ..BudgetConfig::default()
            })
    }

    fn checks(&self) -> HealthChecks {
        let checks = &self.health_checks;
        HealthChecks {
            interval: checks.interval.value,
            timeout: checks.timeout.value,
            unhealthy_after: checks.unhealthy_after.value,
            healthy_after: checks.healthy_after.value,
        }
    }

    fn breaker_config(&self) -> BreakerConfig {
        let breaker = &self.breaker;
        let mut config =
            if breaker.enabled.value { BreakerConfig::default() } else { return BreakerConfig::never() };
        config.consecutive_failures = breaker.consecutive_failures.value;
        config.failure_ratio = breaker.failure_ratio.value;
        config.min_requests = breaker.min_requests.value;
        config.window = breaker.window.value;
        config.open_for = breaker.open_for.value;
        config.max_open_for = breaker.max_open_for.value;
        config.probes = breaker.probes.value;
        config
    }
}

/// The names of fields; the check of the file makes sure that they are such.
fn names(texts: &[String]) -> impl Iterator<Item = HeaderName> {
    texts.iter().filter_map(|text| HeaderName::from_bytes(text.as_bytes()).ok())
}

/// Opens what one key comes from.
async fn source(
    reference: &KeyReference,
    variables: &Variables,
    setting: impl Fn() -> String,
) -> Result<Option<Arc<dyn CredentialSource>>, SetUpError> {
    Ok(match reference {
        KeyReference::None | KeyReference::Caller | KeyReference::Several(_) => None,
        KeyReference::Text(secret) => {
            let key = expand(secret, variables, &setting)?;
            let key = Credential::new(&key)
                .map_err(|source| SetUpError::Credential { setting: setting(), source })?;
            Some(Arc::new(key))
        }
        KeyReference::File(path) => {
            let file = SecretFile::new("api_key", path).named_by(&format!("{}_file", setting()));
            Some(Arc::new(file.open().await?))
        }
        KeyReference::OpenAiVariables => {
            let env = OpenAiEnv::from_vars(|name| {
                matches!(name, "OPENAI_API_KEY" | "OPENAI_API_KEY_FILE")
                    .then(|| variables.get(name))?
                    .map(Into::into)
            })
            .map_err(BuildError::from)?;
            env.open_key().await?.map(|key| Arc::new(key) as Arc<dyn CredentialSource>)
        }
    })
}

fn served(name: &str, settings: &ModelSection) -> ServedModel {
    let ModelSection { upstream, head, first_event, idle, failover_after, thinks: _ } = settings;
    let time = |time: &Option<Time>| time.map(|Time(time)| time);
    let clocks = AttemptClocks { head: time(head), first_event: time(first_event), idle: time(idle) };
    let mut model = ServedModel::new(name).clocks(clocks);
    if let Some(upstream) = upstream {
        model = model.upstream(upstream);
    }
    if let Some(after) = time(failover_after) {
        model = model.failover_after(after);
    }
    model
}

fn expand(
    secret: &Secret,
    variables: &Variables,
    setting: impl Fn() -> String,
) -> Result<SecretString, SetUpError> {
    match variables.expand(&secret.0) {
        Ok(text) => Ok(text.into()),
        Err(Missing(variable)) => Err(SetUpError::Missing { setting: setting(), variable }),
    }
}

async fn read(path: &str, setting: impl Fn() -> String) -> Result<Vec<u8>, SetUpError> {
    tokio::fs::read(path).await.map_err(|source| SetUpError::File {
        setting: setting(),
        path: path.to_owned(),
        source,
    })
}

impl From<Size> for usize {
    fn from(Size(bytes): Size) -> Self {
        bytes
    }
}
