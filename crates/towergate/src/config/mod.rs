//! The configuration file: from YAML to providers, routing, gateway and server.
//!
//! A file is read within bounds, held against the [`schema`] that is made from its types, and checked for what
//! each value allows but all together do not. Everything that is wrong is reported at once, each with file,
//! line and column, what is allowed, and what may have been meant. Secrets stay references until something is
//! built of them.
//!
//! ```
//! use towergate::config::{Config, Variables};
//!
//! let text = "providers:\n  openai-gpt4: {type: openai, model: gpt-4, priority: 1, weight: 0.7, timeout: 30.0}\n";
//! let config = Config::parse("towergate.yaml", text, &Variables::of_process())?;
//! assert_eq!(config.providers()[0].timeouts.head.value, Some(std::time::Duration::from_secs(30)));
//!
//! let error = Config::parse("bad.yaml", "providers:\n  a: {wieght: 1}\n", &Variables::of_process()).unwrap_err();
//! assert!(error.to_string().starts_with("bad.yaml:2:7: providers.a.wieght: there is no such setting"));
//! # Ok::<(), towergate::config::ConfigErrors>(())
//! ```

mod build;
mod document;
mod explain;
mod import;
mod live;
mod plan;
mod problem;
mod routing;
mod schema;
mod semantics;
mod sensitive;
mod server;
mod setting;
#[cfg(test)]
mod tests;
pub mod types;
mod units;
mod warnings;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;
use towergate_openai::file_watch::{FileWatch, StillChanging};

use self::document::Document;
pub use self::{
    build::SetUpError,
    import::Import,
    live::{Applied, Live, LiveError},
    plan::{Breaker, Checks, Clocks, KeyPlan, KeyReference, ProviderPlan, Retry},
    problem::{ConfigErrors, Place, Problem},
    routing::RoutingPlan,
    schema::schema,
    server::ServerPlan,
    setting::{Missing, Origin, Row, Setting, Variables},
    units::{parse_bytes, parse_duration},
};

/// Bytes that a file of [`Config::load`] and [`read_text`] may have: 32 MiB.
pub const MAX_FILE_BYTES: usize = document::MAX_BYTES;

/// A configuration that was found sound.
pub struct Config {
    source: PathBuf,
    document: Document,
    file: types::File,
    providers: Vec<ProviderPlan>,
    /// The file that it was read from, and what else belongs to it.
    files: FileWatch,
}

// === impl Config ===

impl Config {
    /// Reads a file, once it does not [change](FileWatch::read) any more: at most 32 MiB, within ten seconds.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or everything that is wrong with it.
    pub async fn load(path: impl AsRef<Path>, variables: &Variables) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        let mut files = FileWatch::new([path]);
        let read = files.read(|| Self::read(path, variables)).await;
        let config = read.unwrap_or_else(|StillChanging| Err(failed(path, StillChanging.to_string())))?;
        Ok(Self { files, ..config })
    }

    /// Reads a file as it is now.
    async fn read(path: &Path, variables: &Variables) -> Result<Self, ConfigErrors> {
        let text = document::read(path).await.map_err(|problem| ConfigErrors::new(path, vec![problem]))?;
        let (source, variables) = (path.to_owned(), variables.clone());
        // With 100,000 client keys this takes a second or two, in which requests are under way.
        let parsed = tokio::task::spawn_blocking(move || Self::parse(source, &text, &variables)).await;
        parsed.unwrap_or_else(|error| Err(failed(path, error.to_string())))
    }

    /// Reads a text; `source` is what errors call it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(
        source: impl Into<PathBuf>,
        text: &str,
        variables: &Variables,
    ) -> Result<Self, ConfigErrors> {
        let source = source.into();
        let failed = |problems| ConfigErrors::new(&source, problems);
        let document = Document::parse(text).map_err(|problem| failed(vec![problem]))?;
        let problems = schema::check(&document);
        if !problems.is_empty() {
            return Err(failed(problems));
        }
        let file = types::File::deserialize(without_nulls(document.value.clone()))
            .map_err(|error| failed(vec![Problem::whole(error.to_string())]))?;
        let files = FileWatch::new([&source]);
        let mut config = Self { source: source.clone(), document, file, providers: Vec::new(), files };
        let (plans, mut problems) = ProviderPlan::all(&config, variables);
        problems.extend(semantics::check(&config, &plans));
        if !problems.is_empty() {
            return Err(failed(problems));
        }
        config.providers = plans;
        Ok(config)
    }

    /// The file that it was read from.
    #[must_use]
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Has a [`Live`] that begins with this configuration follow another file, too: one that what it puts over the
    /// configuration is read from. Call it before that file is read.
    pub async fn follow_also(&mut self, path: impl Into<PathBuf>) {
        self.files.add(path).await;
    }

    /// The settings as they were written.
    #[must_use]
    pub fn file(&self) -> &types::File {
        &self.file
    }

    /// The providers, in the order of the file, with every setting in force.
    #[must_use]
    pub fn providers(&self) -> &[ProviderPlan] {
        &self.providers
    }

    /// The settings of the listener.
    #[must_use]
    pub fn server(&self) -> ServerPlan {
        ServerPlan::of(self)
    }

    /// How the router chooses.
    #[must_use]
    pub fn routing_plan(&self) -> RoutingPlan {
        RoutingPlan::of(self, &self.providers)
    }

    /// Where a setting stands, or what it would stand in.
    #[must_use]
    pub fn place(&self, path: &str) -> Option<Place> {
        self.document.place(path)
    }

    fn is_set(&self, path: &str) -> bool {
        self.document.has(path)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("source", &self.source)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

fn failed(path: &Path, why: String) -> ConfigErrors {
    ConfigErrors::new(path, vec![Problem::whole(why)])
}

/// Reads a text file within the bounds of [`Config::load`]: at most 32 MiB, within ten seconds, a FIFO too.
///
/// # Errors
///
/// Why it cannot be read.
pub async fn read_text(path: impl AsRef<Path>) -> Result<String, Problem> {
    document::read(path.as_ref()).await
}

/// A key without a value is as good as none; but a model without settings is one.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    fn clean(value: serde_json::Value, keep: bool) -> serde_json::Value {
        match value {
            serde_json::Value::Object(object) => object
                .into_iter()
                .filter(|(_, value)| keep || !value.is_null())
                .map(|(key, value)| {
                    let keeps = matches!(key.as_str(), "models");
                    (key, clean(value, keeps))
                })
                .collect::<serde_json::Map<_, _>>()
                .into(),
            other => other,
        }
    }
    clean(value, false)
}
