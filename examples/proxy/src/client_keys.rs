//! The client keys of flags and environment, which stand in place of those of a configuration file.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use towergate::{
    ClientAuthMode, InvalidClientKeyLine,
    config::{MAX_FILE_BYTES, read_text},
    layers::client_auth::{ClientKeys, InvalidClientKeys},
    openai::secret::warn_if_readable_by_others,
    parse_client_keys,
};

use crate::{cli::ClientAuthArgs, settings::Error};

const VARIABLE: &str = "TOWERGATE_CLIENT_KEYS";

/// Keys that clients must present, of flags and environment.
#[derive(Debug)]
pub(crate) enum GivenKeys {
    /// Nothing is said of keys.
    Unset,
    /// Read once: a variable, or a FIFO. Without any key where the text, which is named, holds none.
    Once(String, Option<ClientKeys>),
    /// A regular file, which is read again whenever a configuration is.
    File(PathBuf),
}

/// Whether keys are looked for in flags and environment at all, and not in a configuration file.
pub(crate) fn are_given(args: &ClientAuthArgs) -> bool {
    args.client_keys_file.is_some() || std::env::var_os(VARIABLE).is_some()
}

impl GivenKeys {
    pub(crate) async fn read(args: &ClientAuthArgs) -> Result<Self, Error> {
        match (&args.client_keys_file, std::env::var_os(VARIABLE)) {
            (None, None) => Ok(Self::Unset),
            (Some(_), Some(_)) => {
                Err(format!("{VARIABLE} and --client-keys-file are both set: unset one").into())
            }
            (None, Some(text)) => {
                let text = text.into_string().map_err(|_| format!("{VARIABLE} is not UTF-8"))?;
                Ok(Self::Once(VARIABLE.to_owned(), parse(VARIABLE, &text)?))
            }
            (Some(path), None) if path.is_file() => {
                warn_if_readable_by_others("--client-keys-file", path).await;
                Ok(Self::File(path.clone()))
            }
            (Some(path), None) => {
                let text = read_text(path).await.map_err(|why| unreadable(path, &why))?;
                let name = path.display().to_string();
                let keys = parse(&name, &text)?;
                Ok(Self::Once(name, keys))
            }
        }
    }

    /// The file that is read again.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Unset | Self::Once(..) => None,
        }
    }

    /// The keys as they are now.
    ///
    /// # Errors
    ///
    /// No key, where it is not said that everybody may come in: an empty variable is what is left of
    /// `TOWERGATE_CLIENT_KEYS=${KEYS:-}`, and nobody meant it.
    pub(crate) fn now(&self, mode: Option<ClientAuthMode>) -> Result<Option<ClientKeys>, Error> {
        let (name, keys) = match self {
            Self::Unset => return Ok(None),
            Self::Once(name, keys) => (name.clone(), keys.clone()),
            Self::File(path) => {
                let text = read_again(path).map_err(|why| unreadable(path, &why))?;
                let name = path.display().to_string();
                let keys = parse(&name, &text)?;
                (name, keys)
            }
        };
        if keys.is_none() && mode != Some(ClientAuthMode::Disabled) {
            return Err(format!(
                "{name} holds no client key; where everybody may come in, say TOWERGATE_CLIENT_AUTH=disabled (or \
                 --client-auth, or server.client_auth in the file)"
            )
            .into());
        }
        Ok(keys)
    }
}

/// The keys of a text; none where it holds none.
fn parse(name: &str, text: &str) -> Result<Option<ClientKeys>, Error> {
    match parse_client_keys(text) {
        Ok(keys) => Ok(Some(keys)),
        Err(InvalidClientKeyLine { source: InvalidClientKeys::NoKeys, .. }) => Ok(None),
        Err(error) => Err(format!("{name}: {error}").into()),
    }
}

/// Reads a regular file, within the bounds of [`read_text`].
fn read_again(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_FILE_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    format!("the client keys in {}: {why}", path.display()).into()
}
