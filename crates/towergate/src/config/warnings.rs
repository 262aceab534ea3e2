//! Settings that are valid and put secrets at risk all the same.

use std::path::Path;

use towergate_core::redact::Secret;
use towergate_openai::{secret::readable_by_others, service::sends_in_clear};

use super::{
    Config,
    plan::{KeyReference, ProviderPlan},
    problem::Problem,
    sensitive,
    setting::Variables,
};
use crate::provider::IN_CLEAR;

impl Config {
    /// What is sound, and puts secrets at risk: keys that go over plain http to another machine, and files of keys that
    /// others can read. The same is logged where the gateway is built. Needs a tokio runtime.
    pub async fn warnings(&self, variables: &Variables) -> Vec<Problem> {
        let mut warnings = Vec::new();
        for plan in self.providers() {
            let path = |setting: &str| format!("providers.{}.{setting}", plan.name);
            if sends_in_clear(&plan.base_url.value) && plan.sends_secrets(variables) {
                warnings.push(self.warning(path("base_url"), IN_CLEAR));
            }
            let mut files = Vec::new();
            match &plan.key.value {
                KeyReference::File(file) => files.push((path("api_key_file"), file)),
                KeyReference::Several(keys) => {
                    for (at, key) in keys.iter().enumerate() {
                        if let KeyReference::File(file) = &key.key {
                            files.push((path(&format!("keys[{at}].api_key_file")), file));
                        }
                    }
                }
                _ => {}
            }
            files.extend(plan.tls.client_key_file.iter().map(|file| (path("tls.client_key_file"), file)));
            for (path, file) in files {
                warnings.extend(self.file_warning(path, Path::new(file)).await);
            }
        }
        if let Some(file) = &self.server().tls_key_file.value {
            warnings.extend(self.file_warning("server.tls.key_file".to_owned(), file).await);
        }
        warnings
    }

    async fn file_warning(&self, path: String, file: &Path) -> Option<Problem> {
        let readers = readable_by_others(file).await?;
        Some(self.warning(path, &format!("{}: {readers}", file.display())))
    }

    fn warning(&self, path: String, message: &str) -> Problem {
        Problem { place: self.place(&path), path, message: format!("warning: {message}"), suggestion: None }
    }
}

impl ProviderPlan {
    /// Whether it is sent anything that is to stay secret.
    fn sends_secrets(&self, variables: &Variables) -> bool {
        let is_secret = |reference: &KeyReference| match reference {
            KeyReference::None => false,
            // A variable that is not there yet will be when it serves.
            KeyReference::Text(text) => {
                variables.expand(&text.0).map_or(true, |key| Secret::new(key.trim()).is_some())
            }
            KeyReference::OpenAiVariables => {
                variables.get("OPENAI_API_KEY_FILE").is_some()
                    || variables.get("OPENAI_API_KEY").is_some_and(|key| Secret::new(key.trim()).is_some())
            }
            KeyReference::Caller | KeyReference::File(_) | KeyReference::Several(_) => true,
        };
        is_secret(&self.key.value)
            || self.headers.iter().any(|(name, value)| sensitive::is_secret(name, value, variables))
    }
}
