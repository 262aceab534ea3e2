//! Keys from files, FIFOs and the environment, rotating without a restart.
//!
//! A [`SecretFile`] is opened once. What it gives, a [`RotatingKey`], is a
//! [`CredentialSource`] for the auth layer: asked for each attempt, it answers from memory.
//!
//! | the path names | read | afterwards |
//! |---|---|---|
//! | a regular file (Docker, Kubernetes, systemd) | at once | [followed](crate::file_watch): looked at every [few seconds](SecretFile::poll_interval), through links, and taken over once it does not change any more |
//! | a FIFO (Doppler's `--mount`) | to its end, within a [time limit](SecretFile::time_limit) | never opened again |
//!
//! The content is the bare key, a JSON object that holds it under the variable's name, or lines of
//! `NAME=value` as in an env file, `export` and quotes allowed.
//!
//! A file that others can read is [warned of](readable_by_others) when it is opened.
//!
//! A change that cannot be read, or holds no key, is logged once, and the old key stays; what cannot be
//! read at the moment is read again. Errors and logs name the variable and the path, and never show what
//! was read. When the last clone of a [`RotatingKey`] is dropped, nothing looks at the file any more.
//!
//! ```
//! use towergate_core::credentials::CredentialSource as _;
//! use towergate_openai::secret::SecretFile;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("towergate-doctest-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! let path = directory.join("openai-key");
//! std::fs::write(&path, "OPENAI_API_KEY=\"sk-example\"\n")?;
//!
//! let key = SecretFile::new("OPENAI_API_KEY", &path).open().await?;
//! assert_eq!(key.credential().unwrap().bearer(), "Bearer sk-example");
//! assert!(!format!("{key:?}").contains("sk-example"));
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok(())
//! # }
//! ```

mod file;
mod format;
mod readers;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;
use towergate_core::credentials::{Credential, CredentialSource, InvalidCredential};

pub use self::readers::{ReadableByOthers, readable_by_others, warn_if_readable_by_others};
use crate::file_watch::FileWatch;

/// A file or FIFO that holds a key.
#[derive(Debug, Clone)]
pub struct SecretFile {
    variable: Arc<str>,
    setting: Arc<str>,
    path: PathBuf,
    time_limit: Duration,
    poll_interval: Duration,
}

/// A key that may change while requests are under way. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct RotatingKey(Arc<Inner>);

struct Inner {
    current: Arc<ArcSwap<Credential>>,
    watch: Option<JoinHandle<()>>,
}

/// Why a file gave no key. Names the setting and the path; shows nothing of the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretError {
    setting: Arc<str>,
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("cannot be read ({0})")]
    Io(io::ErrorKind),
    #[error("is neither a regular file nor a FIFO")]
    NotAFile,
    #[error("is larger than 1 MiB")]
    TooLarge,
    #[error("is not UTF-8")]
    NotText,
    #[error("is empty")]
    Empty,
    #[error("begins like JSON and is none")]
    BrokenJson,
    #[error("holds neither one bare key nor a value under the variable's name")]
    NotThere,
    #[error("holds no key: {0}")]
    Invalid(InvalidCredential),
    #[error("gave nothing within {}", Seconds(*.0))]
    Slow(Duration),
}

struct Seconds(Duration);

// === impl SecretFile ===

impl SecretFile {
    /// A key that `path` holds; `variable` is its name in JSON and env format, and in errors.
    #[must_use]
    pub fn new(variable: &str, path: impl Into<PathBuf>) -> Self {
        Self {
            variable: variable.into(),
            setting: variable.into(),
            path: path.into(),
            time_limit: Duration::from_secs(10),
            poll_interval: FileWatch::INTERVAL,
        }
    }

    /// The setting that names the file, for errors. Default: the variable.
    #[must_use]
    pub fn named_by(mut self, setting: &str) -> Self {
        self.setting = setting.into();
        self
    }

    /// How long the first read may take: a FIFO may have no writer. Default 10 s.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// How often a regular file is looked at. Default 2 s.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Reads the key, and follows a regular file from then on. Needs a tokio runtime with IO and
    /// time.
    ///
    /// # Errors
    ///
    /// What cannot be read in time, or holds no key.
    pub async fn open(self) -> Result<RotatingKey, SecretError> {
        readers::warn_if_readable_by_others(&self.setting, &self.path).await;
        let mut files = FileWatch::new([&self.path]);
        files.mark_read().await;
        let (credential, is_fifo) = self.read().await.map_err(|problem| self.error(problem))?;
        let current = Arc::new(ArcSwap::from_pointee(credential));
        let watch = (!is_fifo).then(|| tokio::spawn(self.follow(files, Arc::clone(&current))));
        Ok(RotatingKey(Arc::new(Inner { current, watch })))
    }

    /// The key, and whether it came from a FIFO.
    async fn read(&self) -> Result<(Credential, bool), Problem> {
        let content = match tokio::time::timeout(self.time_limit, file::read(&self.path)).await {
            Ok(read) => read?,
            Err(_) => return Err(Problem::Slow(self.time_limit)),
        };
        let text = secrecy::ExposeSecret::expose_secret(&content.text);
        let key = format::parse(text, &self.variable)?;
        let credential = Credential::new(&key).map_err(Problem::Invalid)?;
        Ok((credential, content.is_fifo))
    }

    async fn follow(self, mut files: FileWatch, current: Arc<ArcSwap<Credential>>) {
        let mut told = None;
        loop {
            tokio::time::sleep(self.poll_interval).await;
            if !files.look().await {
                continue;
            }
            // What is still being written shows at a later look.
            let Ok(read) = files.read(|| self.read()).await else { continue };
            match read {
                Ok((_, true)) => {
                    tracing::warn!(variable = %self.variable, path = %self.path.display(),
                        "the secret's file became a FIFO; the key stays as it is from now on");
                    return;
                }
                Ok((credential, false)) => {
                    told = None;
                    current.store(Arc::new(credential));
                    tracing::info!(variable = %self.variable, path = %self.path.display(), "the key was replaced");
                }
                Err(problem) => {
                    if problem.may_pass() {
                        files.mark_unread();
                    }
                    // What is read again and again is told once.
                    if told.replace(problem) != Some(problem) || !problem.may_pass() {
                        tracing::warn!(
                            error = %self.error(problem),
                            "the new content of a secret's file was not taken over; the old key stays"
                        );
                    }
                }
            }
        }
    }

    fn error(&self, problem: Problem) -> SecretError {
        SecretError { setting: Arc::clone(&self.setting), path: self.path.clone(), problem }
    }
}

// === impl RotatingKey ===

impl RotatingKey {
    /// A key that does not change.
    #[must_use]
    pub fn fixed(credential: Credential) -> Self {
        Self(Arc::new(Inner { current: Arc::new(ArcSwap::from_pointee(credential)), watch: None }))
    }
}

impl CredentialSource for RotatingKey {
    fn credential(&self) -> Option<Credential> {
        Some(Credential::clone(&self.0.current.load()))
    }
}

impl fmt::Debug for RotatingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingKey").field("follows_a_file", &self.0.watch.is_some()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

// === impl SecretError ===

impl SecretError {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the file {} {}", self.setting, self.path.display(), self.problem)
    }
}

impl std::error::Error for SecretError {}

// === impl Problem ===

impl Problem {
    fn io(error: io::Error) -> Self {
        Self::Io(error.kind())
    }

    /// Whether the same file may be read the next time. What holds no key is read again only once it changes.
    fn may_pass(self) -> bool {
        matches!(self, Self::Io(_) | Self::Slow(_))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}
