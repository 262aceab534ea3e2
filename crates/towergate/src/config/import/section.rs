//! A mapping that is read key by key, so that what nobody asked for is known at the end.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::config::{
    Problem,
    document::{Document, join},
};

/// What is to be said of the file.
pub(super) struct Notes<'a> {
    document: &'a Document,
    list: Vec<Problem>,
    keys: Vec<String>,
}

/// A mapping of the file.
pub(super) struct Section<'a> {
    path: String,
    map: &'a Map<String, Value>,
    taken: HashSet<&'a str>,
}

/// Why a key has no counterpart, by the end of its path. First come, first served.
const REASONS: [(&[&str], &str); 10] = [
    (
        &["rpm", "tpm", "max_parallel_requests", "default_max_parallel_requests", "provider_budget_config"],
        "is not enforced: there are no limits for a provider",
    ),
    (
        &["drop_params", "modify_params", "additional_drop_params", "enable_json_schema_validation"],
        "requests go upstream byte for byte, with every parameter",
    ),
    (
        &[
            "temperature",
            "top_p",
            "max_tokens",
            "seed",
            "stop",
            "frequency_penalty",
            "presence_penalty",
            "extra_body",
            "default_litellm_params",
            "merge_reasoning_content_in_choices",
            "reasoning_effort",
        ],
        "is not put into requests: they go upstream byte for byte",
    ),
    (
        &[
            "success_callback",
            "failure_callback",
            "callbacks",
            "service_callbacks",
            "callback_settings",
            "alerting",
            "alerting_threshold",
            "alert_types",
            "alerting_args",
        ],
        "there are no callbacks: see /metrics, the access lines, and traces",
    ),
    (&["cache", "cache_params", "cache_responses", "caching_groups", "cache_kwargs"], "there is no cache"),
    (
        &[
            "database_url",
            "database_connection_pool_limit",
            "database_connection_timeout",
            "store_model_in_db",
        ],
        "there is no database: keys and models that are kept in it are to be written into client_keys and providers",
    ),
    (
        &["redis_host", "redis_port", "redis_password", "redis_url", "redis_db"],
        "nothing is shared between processes",
    ),
    (
        &["retry_policy", "model_group_retry_policy", "allowed_fails_policy"],
        "what is retried, and what counts as a failure, follows from the kind of the failure",
    ),
    (&["api_version"], "the v1 surface of Azure OpenAI, which is used, has no api-version"),
    (&["include"], "files that are included are to be imported singly"),
];

// === impl Notes ===

impl<'a> Notes<'a> {
    pub(super) fn new(document: &'a Document) -> Self {
        Self { document, list: Vec::new(), keys: Vec::new() }
    }

    pub(super) fn at(&mut self, path: &str, message: impl Into<String>) {
        let place = self.document.place(path);
        self.list.push(Problem { place, path: path.to_owned(), message: message.into(), suggestion: None });
    }

    pub(super) fn sorted(mut self) -> Vec<Problem> {
        self.list.sort_by(|a, b| (a.place, &a.path).cmp(&(b.place, &b.path)));
        self.list.dedup();
        self.list
    }

    /// A text of ours for one of LiteLLM's: `os.environ/NAME` becomes `${NAME}`.
    pub(super) fn text(text: &str) -> String {
        match variable(text) {
            Some(name) => format!("${{{name}}}"),
            None => text.replace('$', "$$"),
        }
    }

    /// The same for a secret, which is not copied: in its place stands a variable.
    pub(super) fn secret(&mut self, path: &str, text: &str, name: Option<&str>) -> String {
        if variable(text).is_some() {
            return Self::text(text);
        }
        let name = match name {
            Some(name) => name.to_owned(),
            None => {
                let known = self.keys.iter().position(|key| key == text);
                let at = known.unwrap_or_else(|| {
                    self.keys.push(text.to_owned());
                    self.keys.len() - 1
                });
                format!("LITELLM_KEY_{}", at + 1)
            }
        };
        self.at(path, format!("the secret is not copied: set the variable {name} to it"));
        format!("${{{name}}}")
    }
}

/// A number that is not negative. Python lets people write `20_000`.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.replace('_', "").parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite() && *number >= 0.0)
}

/// The variable that a text stands for.
fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix("os.environ/")?;
    let sound = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    sound.then_some(name)
}

// === impl Section ===

impl<'a> Section<'a> {
    /// A value as a mapping.
    pub(super) fn of(value: &'a Value, path: &str, notes: &mut Notes<'_>) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self { path: path.to_owned(), map, taken: HashSet::new() }),
            Value::Null => None,
            _ => {
                notes.at(path, "is not a mapping, and was not read");
                None
            }
        }
    }

    pub(super) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// A value, where it is not null; it counts as read.
    pub(super) fn take(&mut self, key: &'a str) -> Option<&'a Value> {
        self.taken.insert(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A value that does not count as read by it.
    pub(super) fn peek(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.map.keys().map(String::as_str)
    }

    pub(super) fn section(&mut self, key: &'a str, notes: &mut Notes<'_>) -> Option<Section<'a>> {
        let value = self.take(key)?;
        Section::of(value, &self.path(key), notes)
    }

    /// A list, with the path of each item.
    pub(super) fn list(&mut self, key: &'a str, notes: &mut Notes<'_>) -> Vec<(String, &'a Value)> {
        let path = self.path(key);
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(list)) => {
                list.iter().enumerate().map(|(at, value)| (format!("{path}[{at}]"), value)).collect()
            }
            Some(_) => {
                notes.at(&path, "is not a list, and was not read");
                Vec::new()
            }
        }
    }

    /// A text; numbers and the like count as one.
    pub(super) fn text(&mut self, key: &'a str, notes: &mut Notes<'_>) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text.clone()),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => {
                notes.at(&self.path(key), "is not text, and was not read");
                None
            }
        }
    }

    /// A number that is not negative.
    pub(super) fn number(&mut self, key: &'a str, notes: &mut Notes<'_>) -> Option<f64> {
        let number = number(self.take(key)?);
        if number.is_none() {
            notes.at(&self.path(key), "is not a number that can be taken over; write it into the new file");
        }
        number
    }

    /// A whole number.
    pub(super) fn whole(&mut self, key: &'a str, most: u32, notes: &mut Notes<'_>) -> Option<u32> {
        let number = self.number(key, notes)?;
        let taken = number.min(f64::from(most)).trunc();
        if taken != number {
            notes.at(&self.path(key), format!("is {taken} here"));
        }
        // Within the bounds of the type: it was cut to them.
        Some(taken as u32)
    }

    /// Where a value is true.
    pub(super) fn is_true(&mut self, key: &'a str) -> bool {
        match self.take(key) {
            Some(Value::Bool(value)) => *value,
            // YAML 1.1, as Python reads it, has more words for it.
            Some(Value::String(text)) => matches!(text.to_ascii_lowercase().as_str(), "yes" | "on" | "true"),
            _ => false,
        }
    }

    /// Says of everything that was not read that it has no counterpart.
    pub(super) fn rest(self, notes: &mut Notes<'_>) {
        for (key, value) in self.map {
            if !self.taken.contains(key.as_str()) && !value.is_null() {
                let reason = REASONS.iter().find(|(keys, _)| keys.contains(&key.as_str()));
                notes.at(&self.path(key), reason.map_or("has no counterpart", |(_, reason)| reason));
            }
        }
    }
}
