//! [`Live`]: a gateway that follows its configuration file.

use std::path::PathBuf;

use towergate_openai::file_watch::{FileWatch, StillChanging};

use super::{Config, ConfigErrors, ProviderPlan, SetUpError, Variables};
use crate::{BuildError, Gateway, GatewayBuilder, Registry, health::ReloadReport, registry::Entry};

/// What flags and environment say over the file.
type Adjust = Box<dyn Fn(&Config, GatewayBuilder) -> Result<GatewayBuilder, String> + Send + Sync>;

/// A gateway that follows its configuration file.
///
/// A file that is still being written is [left alone](FileWatch) until it does not change any more. A
/// new content is checked and built first. Where anything is wrong with it the old settings stay in force, and
/// log, metric, [`Gateway::health`] and [`Live::reload`] say so. Requests under way end with the settings that they began with.
/// Providers whose section did not change keep connections, breaker and retry budget; what the router knows of
/// them (priority, weight, models) may change all the same. What belongs to the listener (addresses, drain, log)
/// takes a restart. The swap of the folder behind a link, as Kubernetes does it, is a change.
///
/// A content without client keys does not take the place of one with some, unless it
/// [says](crate::GatewayBuilder::client_auth) `client_auth: disabled`.
///
/// | metric | labels | |
/// |---|---|---|
/// | `towergate_config_reloads_total` | `result` | `applied`, `refused` |
pub struct Live {
    path: PathBuf,
    variables: Variables,
    adjust: Adjust,
    gateway: Gateway,
    config: Config,
    registry: Registry,
    files: FileWatch,
}

/// Why a configuration was not put in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The file is not sound.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What it says cannot be built.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// The file is still being written.
    #[error(transparent)]
    StillChanging(#[from] StillChanging),
    /// What flags and environment say over it does not fit.
    #[error("{0}")]
    Adjust(String),
}

/// What is to be put in force.
struct Next {
    config: Config,
    gateway: GatewayBuilder,
    applied: Applied,
}

/// What was put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Providers that were kept as they are.
    pub kept: usize,
    /// Providers that are new, or were built anew.
    pub built: usize,
}

// === impl Live ===

impl Live {
    /// Reads the file and builds the gateway. `adjust` puts what is stronger than the file over it.
    ///
    /// # Errors
    ///
    /// A file that is not sound, or what cannot be built of it.
    pub async fn start(
        path: impl Into<PathBuf>,
        variables: Variables,
        adjust: impl Fn(&Config, GatewayBuilder) -> Result<GatewayBuilder, String> + Send + Sync + 'static,
    ) -> Result<Self, LiveError> {
        let config = Config::load(path.into(), &variables).await?;
        Self::of(config, variables, adjust).await
    }

    /// The same with a configuration that was [loaded](Config::load) already: a FIFO can be read only once.
    ///
    /// # Errors
    ///
    /// What cannot be built of it.
    pub async fn of(
        config: Config,
        variables: Variables,
        adjust: impl Fn(&Config, GatewayBuilder) -> Result<GatewayBuilder, String> + Send + Sync + 'static,
    ) -> Result<Self, LiveError> {
        let (path, files) = (config.source.clone(), config.files.clone());
        let mut registry = Registry::new();
        for plan in config.providers() {
            registry.register(&plan.name, plan.build(&variables).await?);
        }
        let gateway = config.gateway_of(registry.clone(), &variables)?;
        let gateway = adjust(&config, gateway).map_err(LiveError::Adjust)?;
        let gateway = gateway.build().map_err(SetUpError::from)?;
        gateway.note_reload(ReloadReport::now(None));
        Ok(Self { path, variables, adjust: Box::new(adjust), gateway, config, registry, files })
    }

    /// The gateway, whose clones all follow the file.
    #[must_use]
    pub fn gateway(&self) -> Gateway {
        self.gateway.clone()
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Reads the file again, once two looks a twentieth of a second apart have found the same, and puts it in force.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); the old settings stay in force.
    pub async fn reload(&mut self) -> Result<Applied, LiveError> {
        let result = self.try_reload().await;
        let label = if result.is_ok() { "applied" } else { "refused" };
        metrics::describe_counter!("towergate_config_reloads_total", "Configurations read while running");
        metrics::counter!("towergate_config_reloads_total", "result" => label).increment(1);
        self.gateway.note_reload(ReloadReport::now(result.as_ref().err().map(ToString::to_string)));
        match &result {
            Ok(Applied { kept, built }) => {
                tracing::info!(file = %self.path.display(), kept, built, "the configuration was reloaded");
            }
            Err(error) => tracing::error!(
                file = %self.path.display(),
                %error,
                "the new configuration was not taken over; the old one stays in force"
            ),
        }
        result
    }

    async fn try_reload(&mut self) -> Result<Applied, LiveError> {
        let mut files = self.files.clone();
        let next = files.read(|| self.next()).await;
        self.files = files;
        let Next { config, gateway, applied } = next??;
        self.gateway.replace(gateway).map_err(|error: BuildError| SetUpError::from(error))?;
        let server = self.config.server();
        if config.server().needs_restart(&server) {
            tracing::warn!(
                file = %self.path.display(),
                "what changed of listeners, drain or logging takes a restart; the rest is in force"
            );
        }
        (self.config, self.registry) = (config, self.gateway.registry());
        Ok(applied)
    }

    async fn next(&self) -> Result<Next, LiveError> {
        let config = Config::read(&self.path, &self.variables).await?;
        let mut registry = Registry::new();
        let mut kept = 0;
        for plan in config.providers() {
            match self.built(plan) {
                Some(entry) => {
                    kept += 1;
                    registry.insert(entry.clone());
                }
                None => {
                    registry.register(&plan.name, plan.build(&self.variables).await?);
                }
            }
        }
        let built = registry.len() - kept;
        let gateway = config.gateway_of(registry, &self.variables)?;
        let gateway = (self.adjust)(&config, gateway).map_err(LiveError::Adjust)?;
        Ok(Next { config, gateway, applied: Applied { kept, built } })
    }

    /// The provider that was built of a plan that says the same.
    fn built(&self, plan: &ProviderPlan) -> Option<&Entry> {
        let known = self.config.providers().iter().any(|old| plan.is_served_by(old));
        self.registry.entries().iter().find(|entry| known && entry.name == plan.name)
    }

    /// Reloads whenever the file changes, and whenever `asked` resolves. Never ends.
    pub async fn follow(mut self, mut asked: impl AsyncFnMut()) {
        loop {
            let is_due = tokio::select! {
                () = asked() => true,
                () = tokio::time::sleep(FileWatch::INTERVAL) => self.files.look().await,
            };
            if is_due {
                // It is in the log; the old settings stay.
                let _ = self.reload().await;
            }
        }
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("path", &self.path).finish_non_exhaustive()
    }
}
