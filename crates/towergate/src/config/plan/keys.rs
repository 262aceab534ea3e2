//! Where a provider's keys come from.

use super::{
    super::{
        setting::{Origin, Setting, is_reference},
        types::{KeySection, Secret},
    },
    resolver::Resolver,
};

/// Where a key comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyReference {
    /// There is none.
    None,
    /// The caller's own is sent.
    Caller,
    /// A text of the file, with variables in it.
    Text(Secret),
    /// A file.
    File(String),
    /// Several, which share the attempts.
    Several(Vec<KeyPlan>),
    /// `OPENAI_API_KEY` or `OPENAI_API_KEY_FILE`, whichever is set.
    OpenAiVariables,
}

/// One of several keys.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyPlan {
    /// What metrics and log lines call it.
    pub name: String,
    /// Where it comes from.
    pub key: KeyReference,
    /// Its share.
    pub weight: f64,
}

impl KeyReference {
    /// Where the key of a provider comes from.
    pub(super) fn of(resolver: &Resolver<'_>) -> Setting<Self> {
        let section = resolver.section;
        let at = |value, path: &str| Setting { value, origin: resolver.in_file(&resolver.own_path(path)) };
        if section.pass_through_auth == Some(true) {
            at(Self::Caller, "pass_through_auth")
        } else if let Some(secret) = &section.api_key {
            at(Self::Text(secret.clone()), "api_key")
        } else if let Some(path) = &section.api_key_file {
            at(Self::File(path.clone()), "api_key_file")
        } else if !section.keys.is_empty() {
            at(Self::Several(section.keys.iter().enumerate().map(KeyPlan::of).collect()), "keys")
        } else if resolver.openai {
            let set = ["OPENAI_API_KEY", "OPENAI_API_KEY_FILE"]
                .into_iter()
                .find(|name| resolver.variables.get(name).is_some());
            let origin = set.map_or(Origin::BuiltIn, Origin::Variable);
            Setting { value: Self::OpenAiVariables, origin }
        } else {
            Setting::built_in(Self::None)
        }
    }

    /// What it is, without what it holds.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Caller => "the caller's own".to_owned(),
            Self::Text(Secret(text)) if is_reference(text) => text.clone(),
            Self::Text(_) => "[redacted]".to_owned(),
            Self::File(path) => format!("file {path}"),
            Self::Several(keys) => {
                let each =
                    |key: &KeyPlan| format!("{}: {} (weight {})", key.name, key.key.describe(), key.weight);
                keys.iter().map(each).collect::<Vec<_>>().join(", ")
            }
            Self::OpenAiVariables => "$OPENAI_API_KEY or $OPENAI_API_KEY_FILE".to_owned(),
        }
    }
}

impl KeyPlan {
    fn of((place, section): (usize, &KeySection)) -> Self {
        let key = match (&section.api_key, &section.api_key_file) {
            (Some(secret), _) => KeyReference::Text(secret.clone()),
            (None, Some(path)) => KeyReference::File(path.clone()),
            (None, None) => KeyReference::None,
        };
        let name = section.name.clone().unwrap_or_else(|| (place + 1).to_string());
        Self { name, key, weight: section.weight.unwrap_or(1.0) }
    }
}
