//! `OPENAI_*`: the variables that the official SDKs read, and a few beside them.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `OPENAI_API_KEY` | the key | none |
//! | `OPENAI_API_KEY_FILE` | a file or FIFO that holds the key; see [`secret`](crate::secret) | none |
//! | `OPENAI_BASE_URL` | where requests go | `https://api.openai.com/v1` |
//! | `OPENAI_TIMEOUT` | seconds for head, first event and idle | unset: each clock has its own |
//! | `OPENAI_MAX_RETRIES` | retries after the first attempt, 0 to 100 | 3 |
//! | `OPENAI_ORG_ID` | sent as `OpenAI-Organization` | none |
//! | `OPENAI_PROJECT_ID` | sent as `OpenAI-Project` | none |
//!
//! An empty variable counts as unset. Nothing is read but through the function given to
//! [`from_vars`](OpenAiEnv::from_vars), so that a test needs no environment of its own.
//!
//! ```
//! use towergate_openai::env::OpenAiEnv;
//!
//! let env = OpenAiEnv::from_vars(|name| match name {
//!     "OPENAI_TIMEOUT" => Some("2.5".into()),
//!     _ => None,
//! })?;
//! assert_eq!(env.timeout, Some(std::time::Duration::from_millis(2500)));
//! assert_eq!(env.max_retries, 3);
//!
//! let error = OpenAiEnv::from_vars(|name| (name == "OPENAI_TIMEOUT").then(|| "soon".into())).unwrap_err();
//! assert!(error.to_string().contains("OPENAI_TIMEOUT"));
//! # Ok::<(), towergate_openai::env::EnvError>(())
//! ```

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use http::HeaderValue;
use secrecy::SecretString;
use towergate_core::credentials::Credential;

use crate::{
    secret::{RotatingKey, SecretError, SecretFile},
    service::{Builder, DEFAULT_BASE_URL, OpenAi, uri::BaseUrl},
};

/// The default of `OPENAI_MAX_RETRIES`.
pub const DEFAULT_MAX_RETRIES: u32 = 3;
/// The most that `OPENAI_MAX_RETRIES` may ask for.
pub const MAX_MAX_RETRIES: u32 = 100;
/// The most that `OPENAI_TIMEOUT` may ask for: a day.
const MAX_TIMEOUT_SECONDS: f64 = 86_400.0;

const API_KEY: &str = "OPENAI_API_KEY";
const API_KEY_FILE: &str = "OPENAI_API_KEY_FILE";
const BASE_URL: &str = "OPENAI_BASE_URL";
/// The variable that sets head, first event and idle.
pub const TIMEOUT: &str = "OPENAI_TIMEOUT";
const MAX_RETRIES: &str = "OPENAI_MAX_RETRIES";
const ORG_ID: &str = "OPENAI_ORG_ID";
const PROJECT_ID: &str = "OPENAI_PROJECT_ID";

/// What the environment says of OpenAI. Every value has been checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OpenAiEnv {
    /// Where the key comes from; `None` where no variable says.
    pub key: Option<KeySource>,
    /// Where requests go.
    pub base_url: String,
    /// The time for the head, the first event and the gap between events.
    pub timeout: Option<Duration>,
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// The organisation, as a header value.
    pub organization: Option<HeaderValue>,
    /// The project, as a header value.
    pub project: Option<HeaderValue>,
}

/// Where the key comes from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// `OPENAI_API_KEY` held it.
    Value(Credential),
    /// `OPENAI_API_KEY_FILE` names the file.
    File(PathBuf),
}

/// Everything that is wrong with the variables, each named, with what is allowed. No value is shown:
/// it may be a secret in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvError {
    problems: Vec<String>,
}

// === impl OpenAiEnv ===

impl OpenAiEnv {
    /// Reads the process's environment.
    ///
    /// # Errors
    ///
    /// Every bad value at once.
    pub fn from_env() -> Result<Self, EnvError> {
        Self::from_vars(|name| std::env::var_os(name))
    }

    /// Reads variables through a function.
    ///
    /// # Errors
    ///
    /// Every bad value at once.
    pub fn from_vars(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, EnvError> {
        let mut reader = Reader { variable, problems: Vec::new() };
        let env = Self {
            key: reader.key(),
            base_url: reader.base_url(),
            timeout: reader.timeout(),
            max_retries: reader.max_retries(),
            organization: reader.header(ORG_ID),
            project: reader.header(PROJECT_ID),
        };
        if reader.problems.is_empty() { Ok(env) } else { Err(EnvError { problems: reader.problems }) }
    }

    /// A builder for the service at the base URL.
    #[must_use]
    pub fn service(&self) -> Builder {
        OpenAi::builder().base_url(self.base_url.clone())
    }

    /// Reads the key, and follows its file where it comes from one. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or holds no key.
    pub async fn open_key(&self) -> Result<Option<RotatingKey>, SecretError> {
        match &self.key {
            None => Ok(None),
            Some(KeySource::Value(credential)) => Ok(Some(RotatingKey::fixed(credential.clone()))),
            Some(KeySource::File(path)) => {
                SecretFile::new(API_KEY, path).named_by(API_KEY_FILE).open().await.map(Some)
            }
        }
    }
}

/// Reads variables, and collects what is wrong with them.
struct Reader<F> {
    variable: F,
    problems: Vec<String>,
}

impl<F: Fn(&str) -> Option<OsString>> Reader<F> {
    fn raw(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let text = self.raw(name)?.to_str().map(|text| text.trim().to_owned());
        if text.is_none() {
            self.problem(name, "is not UTF-8");
        }
        text.filter(|text| !text.is_empty())
    }

    fn problem(&mut self, name: &str, what: impl fmt::Display) {
        self.problems.push(format!("{name} {what}"));
    }

    fn key(&mut self) -> Option<KeySource> {
        let file = self.raw(API_KEY_FILE).map(PathBuf::from);
        let value = self.raw(API_KEY);
        match (value, file) {
            (Some(_), Some(_)) => {
                self.problem(API_KEY, format_args!("and {API_KEY_FILE} are both set; set one of them"));
                None
            }
            (None, Some(path)) => Some(KeySource::File(path)),
            (Some(value), None) => match value.to_str() {
                None => {
                    self.problem(API_KEY, "is not UTF-8");
                    None
                }
                Some(text) => match Credential::new(&SecretString::from(text)) {
                    Ok(credential) => Some(KeySource::Value(credential)),
                    Err(reason) => {
                        self.problem(API_KEY, format_args!("is no key: {reason}"));
                        None
                    }
                },
            },
            (None, None) => None,
        }
    }

    fn base_url(&mut self) -> String {
        let url = self.text(BASE_URL).unwrap_or_else(|| DEFAULT_BASE_URL.to_owned());
        if let Err(reason) = BaseUrl::parse(&url) {
            self.problem(BASE_URL, format_args!("is no base URL: {reason}"));
        }
        url
    }

    fn timeout(&mut self) -> Option<Duration> {
        let text = self.text(TIMEOUT)?;
        let seconds = text.parse::<f64>().ok().filter(|seconds| {
            // Less than a nanosecond would be a timeout of nothing.
            (1e-9..=MAX_TIMEOUT_SECONDS).contains(seconds)
        });
        let timeout = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        if timeout.is_none() {
            self.problem(TIMEOUT, "must be a number of seconds over 0 and up to 86400, such as 30.0");
        }
        timeout
    }

    fn max_retries(&mut self) -> u32 {
        let Some(text) = self.text(MAX_RETRIES) else { return DEFAULT_MAX_RETRIES };
        let retries = text.parse().ok().filter(|retries| *retries <= MAX_MAX_RETRIES);
        if retries.is_none() {
            self.problem(MAX_RETRIES, format_args!("must be a whole number from 0 to {MAX_MAX_RETRIES}"));
        }
        retries.unwrap_or(DEFAULT_MAX_RETRIES)
    }

    fn header(&mut self, name: &str) -> Option<HeaderValue> {
        let text = self.text(name)?;
        let value =
            text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| HeaderValue::try_from(text).ok());
        if value.is_none() {
            self.problem(name, "must be visible ASCII without spaces");
        }
        value.flatten()
    }
}

// === impl EnvError ===

impl EnvError {
    /// One sentence for each variable.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("; "))
    }
}

impl std::error::Error for EnvError {}

#[cfg(test)]
mod tests {
    use towergate_core::credentials::CredentialSource as _;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<OpenAiEnv, EnvError> {
        OpenAiEnv::from_vars(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn nothing_set_gives_the_defaults() {
        for variables in [&[][..], &[(API_KEY, ""), (TIMEOUT, ""), (BASE_URL, ""), (MAX_RETRIES, " ")]] {
            let env = read(variables).unwrap();
            assert!(env.key.is_none() && env.organization.is_none() && env.project.is_none());
            assert_eq!(env.base_url, "https://api.openai.com/v1");
            assert_eq!((env.timeout, env.max_retries), (None, 3));
        }
    }

    #[tokio::test]
    async fn all_of_it_is_read() {
        let env = read(&[
            (API_KEY, " sk-canary\n"),
            (BASE_URL, "http://localhost:8080/v1/"),
            (TIMEOUT, "30.0"),
            (MAX_RETRIES, "0"),
            (ORG_ID, "org-1"),
            (PROJECT_ID, "proj_1"),
        ])
        .unwrap();
        assert_eq!((env.timeout, env.max_retries), (Some(Duration::from_secs(30)), 0));
        assert_eq!(env.organization.as_ref().unwrap(), "org-1");
        assert_eq!(env.project.as_ref().unwrap(), "proj_1");
        assert!(!format!("{env:?}").contains("canary"));
        assert!(format!("{:?}", env.service().build().unwrap()).contains("http://localhost:8080/v1"));
        let key = env.open_key().await.unwrap().unwrap();
        assert_eq!(key.credential().unwrap().bearer(), "Bearer sk-canary");
    }

    #[test]
    fn every_bad_value_is_named_and_none_is_shown() {
        let error = read(&[
            (API_KEY, "sk-\ncanary"),
            (BASE_URL, "https://canary:canary@host"),
            (TIMEOUT, "canary"),
            (MAX_RETRIES, "-1canary"),
            (ORG_ID, "canary canary"),
            (PROJECT_ID, "canäry"),
        ])
        .unwrap_err();
        assert_eq!(error.problems().len(), 6);
        let text = format!("{error} {error:?}");
        for name in [API_KEY, BASE_URL, TIMEOUT, MAX_RETRIES, ORG_ID, PROJECT_ID] {
            assert!(text.contains(name), "{name}");
        }
        assert!(!text.contains("canary") && !text.contains("canäry"), "{text}");
    }

    #[test]
    fn the_bounds_hold() {
        for bad in ["0", "-1", "0.0", "inf", "NaN", "1e300", "86401", "30s", "1e-12"] {
            assert!(read(&[(TIMEOUT, bad)]).is_err(), "{bad}");
        }
        for bad in ["101", "3.0", "-1", "many", "99999999999"] {
            assert!(read(&[(MAX_RETRIES, bad)]).is_err(), "{bad}");
        }
        assert_eq!(read(&[(TIMEOUT, "0.25")]).unwrap().timeout, Some(Duration::from_millis(250)));
        assert_eq!(read(&[(MAX_RETRIES, "100")]).unwrap().max_retries, 100);
    }

    #[test]
    fn a_key_comes_from_one_place() {
        assert!(matches!(read(&[(API_KEY_FILE, "/run/k")]).unwrap().key, Some(KeySource::File(_))));
        let error = read(&[(API_KEY_FILE, "/run/k"), (API_KEY, "sk")]).unwrap_err();
        assert!(error.to_string().contains("both set"), "{error}");
        assert!(read(&[(API_KEY_FILE, "/run/k"), (API_KEY, "")]).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_utf8_is_an_error() {
        use std::os::unix::ffi::OsStringExt as _;
        for name in [API_KEY, TIMEOUT] {
            let bytes = |asked: &str| (asked == name).then(|| OsString::from_vec(vec![b's', 0xff]));
            let error = OpenAiEnv::from_vars(bytes).unwrap_err();
            assert_eq!(error.problems(), [format!("{name} is not UTF-8")]);
        }
    }
}
