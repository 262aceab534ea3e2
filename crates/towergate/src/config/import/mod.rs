//! [`Import`]: a configuration of another gateway, as one of ours.
//!
//! What a LiteLLM `config.yaml` says of models, routing, retries and clocks is taken over; what has no
//! counterpart is listed with its place, never dropped silently. Nothing is resolved and no secret copied:
//! `os.environ/NAME` becomes `${NAME}`, and a key that stands in the file becomes a variable to be set.
//!
//! ```
//! use towergate::config::Import;
//!
//! let text = "\
//! model_list:
//!   - model_name: fast
//!     litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/KEY, rpm: 60}
//! ";
//! let import = Import::litellm("config.yaml", text)?;
//! assert!(import.yaml().contains("fast: gpt-4o-mini"));
//! assert!(import.notes()[0].to_string().starts_with("3:74: model_list[0].litellm_params.rpm: "));
//! # Ok::<(), towergate::config::ConfigErrors>(())
//! ```

mod deployment;
mod group;
mod section;
mod settings;
#[cfg(test)]
mod tests;
mod vendors;
mod write;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use self::{
    deployment::Deployments,
    group::Providers,
    section::{Notes, Section},
    settings::Settings,
};
use super::{
    Config, ConfigErrors, Problem, Variables,
    document::{self, Document},
    setting::references,
};

/// A configuration of another gateway, as one of ours.
#[derive(Debug, Clone)]
pub struct Import {
    source: PathBuf,
    settings: Value,
    notes: Vec<Problem>,
}

// === impl Import ===

impl Import {
    /// Reads a LiteLLM `config.yaml`, within the bounds of [`Config::load`](super::Config::load).
    ///
    /// # Errors
    ///
    /// A file that cannot be read, and those of [`litellm`](Self::litellm).
    pub async fn load_litellm(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        let text = document::read(path).await.map_err(|problem| ConfigErrors::new(path, vec![problem]))?;
        Self::litellm(path, &text)
    }

    /// Reads the text of a LiteLLM `config.yaml`; `source` is what it is called.
    ///
    /// # Errors
    ///
    /// What is not YAML, and a file of which not a single model could be taken over, with the reasons.
    pub fn litellm(source: impl Into<PathBuf>, text: &str) -> Result<Self, ConfigErrors> {
        let source = source.into();
        let document = Document::parse(text).map_err(|problem| ConfigErrors::new(&source, vec![problem]))?;
        let mut notes = Notes::new(&document);
        let Some(mut file) = Section::of(&document.value, "", &mut notes) else {
            return Err(ConfigErrors::new(source, notes.sorted()));
        };
        let mut settings = Settings::read(&mut file, &mut notes);
        let deployments = Deployments::read(&mut file, &mut notes);
        let mut providers = Providers::of(deployments, settings.by_weight, &mut notes);
        providers.add_aliases(std::mem::take(&mut settings.aliases), &mut notes);
        if providers.is_empty() {
            notes.at("model_list", "no model could be taken over");
            return Err(ConfigErrors::new(source, notes.sorted()));
        }
        let routing = settings.routing(&providers, &mut notes);
        file.rest(&mut notes);
        let mut sections = Map::new();
        sections.insert("providers".to_owned(), providers.into_value());
        sections.extend(settings.sections(routing));
        let settings = Value::Object(sections);
        // What was wrong before is wrong still, such as a URL that is none: it is said now, and not at the start.
        let variables = Variables::new(|_| Some("http://variable".to_owned()));
        let unsound = Config::parse("", &write::yaml(&settings), &variables).err();
        for problem in unsound.into_iter().flat_map(|errors| errors.problems) {
            notes.at("", format!("to be mended in the new file: {}", Problem { place: None, ..problem }));
        }
        Ok(Self { source, settings, notes: notes.sorted() })
    }

    /// The configuration, as a file of ours, with the [notes](Self::notes) as comments.
    #[must_use]
    pub fn yaml(&self) -> String {
        let mut text =
            format!("# Made of LiteLLM's {} by towergate import-litellm.\n", self.source.display());
        let variables = self.variables();
        if !variables.is_empty() {
            text.push_str(&format!("# Variables to be set: {}.\n", variables.join(", ")));
        }
        if !self.notes.is_empty() {
            text.push_str("#\n# What differs, and what was not taken over (line:column of that file):\n");
        }
        for note in &self.notes {
            // It may quote the file, and no line break of that may end the comment.
            let note = note.to_string().replace(char::is_control, " ");
            text.push_str(&format!("#   {note}\n"));
        }
        text.push('\n');
        text + &write::yaml(&self.settings)
    }

    /// What differs, and what has no counterpart, by place.
    #[must_use]
    pub fn notes(&self) -> &[Problem] {
        &self.notes
    }

    /// The variables of the environment that the configuration names.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        fn walk(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::String(text) => found.extend(references(text).map(str::to_owned)),
                Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
                Value::Object(object) => object.values().for_each(|value| walk(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        walk(&self.settings, &mut found);
        found.sort();
        found.dedup();
        found
    }
}
