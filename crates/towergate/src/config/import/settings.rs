//! `litellm_settings`, `router_settings`, `general_settings`. What `router_settings` says wins.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    group::{Alias, Providers, number},
    section::{Notes, Section},
};

/// Their names for lists of models, and ours.
const LISTS: [(&str, &str); 3] = [
    ("fallbacks", "fallback_models"),
    ("context_window_fallbacks", "context_length_fallbacks"),
    ("content_policy_fallbacks", "content_policy_fallbacks"),
];
/// The attempts that one request may take, unless said otherwise.
const MAX_ATTEMPTS: u32 = 4;
/// The seconds that one request may take, unless said otherwise.
const TOTAL: f64 = 600.0;

/// For a model, the models that take over, and where that stands.
type Fallbacks = BTreeMap<String, (Vec<String>, String)>;

/// What holds for all providers.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Whether requests are shared by weight.
    pub(super) by_weight: bool,
    /// Further names of models.
    pub(super) aliases: Vec<Alias>,
    strategy: Option<&'static str>,
    fallbacks: [Fallbacks; LISTS.len()],
    /// For models that have none of their own.
    default_fallbacks: Option<(Vec<String>, String)>,
    retries: Option<u32>,
    timeout: Option<f64>,
    stream_timeout: Option<f64>,
    breaker: Map<String, Value>,
    health_checks: Map<String, Value>,
    server: Map<String, Value>,
    client_keys: Map<String, Value>,
    json_logs: bool,
}

// === impl Settings ===

impl Settings {
    pub(super) fn read(file: &mut Section<'_>, notes: &mut Notes<'_>) -> Self {
        let mut settings = Self { by_weight: true, ..Self::default() };
        for name in ["litellm_settings", "router_settings"] {
            if let Some(mut section) = file.section(name, notes) {
                settings.common(&mut section, notes);
                if name == "router_settings" {
                    settings.router(&mut section, notes);
                } else {
                    settings.json_logs = section.is_true("json_logs");
                }
                section.rest(notes);
            }
        }
        if let Some(mut section) = file.section("general_settings", notes) {
            settings.general(&mut section, notes);
            section.rest(notes);
        }
        if let Some(section) = file.section("environment_variables", notes) {
            for name in section.keys() {
                notes.at(&section.path(name), "is to be set in the environment");
            }
        }
        settings
    }

    /// What both sections may say.
    fn common(&mut self, section: &mut Section<'_>, notes: &mut Notes<'_>) {
        let positive = |time: Option<f64>| time.filter(|time| *time > 0.0);
        if let Some(retries) = section.whole("num_retries", 100, notes) {
            self.retries = Some(retries);
        }
        for key in ["request_timeout", "timeout"] {
            self.timeout = positive(section.number(key, notes)).or(self.timeout);
        }
        self.stream_timeout = positive(section.number("stream_timeout", notes)).or(self.stream_timeout);
        for (at, (theirs, _)) in LISTS.into_iter().enumerate() {
            for (path, value) in section.list(theirs, notes) {
                let Some(mut item) = Section::of(value, &path, notes) else { continue };
                for model in item.keys() {
                    let list = (names(&mut item, model, notes), item.path(model));
                    if model == "*" && at == 0 {
                        self.default_fallbacks = Some(list);
                    } else {
                        self.fallbacks[at].insert(model.to_owned(), list);
                    }
                }
            }
        }
        if section.peek("default_fallbacks").is_some() {
            let path = section.path("default_fallbacks");
            self.default_fallbacks = Some((names(section, "default_fallbacks", notes), path));
        }
        if let Some(fails) = section.whole("allowed_fails", u32::MAX - 1, notes) {
            self.breaker.insert("consecutive_failures".to_owned(), (fails + 1).into());
            notes.at(&section.path("allowed_fails"), "failures are counted in a row, not by the minute");
        }
        if let Some(time) = positive(section.number("cooldown_time", notes)) {
            self.breaker.insert("open_for".to_owned(), number(time));
            self.breaker.insert("max_open_for".to_owned(), number(time));
        }
        if section.is_true("disable_cooldowns") {
            self.breaker.insert("enabled".to_owned(), false.into());
        }
        if let Some(mut aliases) = section.section("model_group_alias", notes) {
            for alias in aliases.keys() {
                let path = aliases.path(alias);
                match aliases.take(alias) {
                    Some(Value::String(model)) => self.aliases.push((alias.to_owned(), model.clone(), path)),
                    Some(value @ Value::Object(_)) => {
                        let Some(mut target) = Section::of(value, &path, notes) else { continue };
                        if target.is_true("hidden") {
                            notes.at(&path, "is listed in /v1/models all the same");
                        }
                        if let Some(model) = target.text("model", notes) {
                            self.aliases.push((alias.to_owned(), model, path));
                        }
                        target.rest(notes);
                    }
                    _ => notes.at(&path, "names no model, and was not taken over"),
                }
            }
        }
    }

    fn router(&mut self, section: &mut Section<'_>, notes: &mut Notes<'_>) {
        let Some(strategy) = section.text("routing_strategy", notes) else { return };
        let path = section.path("routing_strategy");
        match strategy.as_str() {
            "simple-shuffle" => {}
            "least-busy" => (self.by_weight, self.strategy) = (false, Some("least_in_flight")),
            "latency-based-routing" => (self.by_weight, self.strategy) = (false, Some("peak_ewma")),
            other => notes.at(&path, format!("{other} has no counterpart: requests are shared by weight")),
        }
    }

    fn general(&mut self, section: &mut Section<'_>, notes: &mut Notes<'_>) {
        if let Some(key) = section.text("master_key", notes) {
            let key = notes.secret(&section.path("master_key"), &key, Some("LITELLM_MASTER_KEY"));
            self.client_keys.insert("master".to_owned(), json!({"key": key}));
        }
        if let Some(requests) =
            section.whole("global_max_parallel_requests", u32::MAX, notes).filter(|it| *it > 0)
        {
            self.server.insert("max_in_flight".to_owned(), requests.into());
        }
        if let Some(size) = section.whole("max_request_size_mb", u32::MAX, notes).filter(|it| *it > 0) {
            self.server.insert("max_body".to_owned(), format!("{size}MiB").into());
        }
        if let Some(Value::Bool(false)) = section.take("background_health_checks") {
            self.health_checks.insert("enabled".to_owned(), false.into());
        }
        if let Some(time) = section.number("health_check_interval", notes).filter(|time| *time > 0.0) {
            self.health_checks.insert("interval".to_owned(), number(time));
        }
    }

    /// What is said of models, as far as they are served.
    pub(super) fn routing(&mut self, providers: &Providers, notes: &mut Notes<'_>) -> Map<String, Value> {
        let mut routing = Map::new();
        if let Some(strategy) = self.strategy {
            routing.insert("strategy".to_owned(), strategy.into());
        }
        let attempts = self.retries.unwrap_or_default().max(providers.most_retries()).saturating_add(1);
        if attempts > MAX_ATTEMPTS {
            routing.insert("max_attempts".to_owned(), attempts.into());
        }
        if let Some((others, path)) = self.default_fallbacks.take() {
            for model in providers.models() {
                let of_model = self.fallbacks[0].entry(model.to_owned());
                of_model.or_insert_with(|| {
                    (others.iter().filter(|other| *other != model).cloned().collect(), path.clone())
                });
            }
        }
        for ((_, ours), fallbacks) in LISTS.into_iter().zip(std::mem::take(&mut self.fallbacks)) {
            let mut list = Map::new();
            for (model, (others, path)) in fallbacks {
                if !providers.serves(&model) {
                    notes.at(&path, format!("no model that was taken over is called {model:?}"));
                    continue;
                }
                let served = |other: &String| {
                    let served = providers.serves(other) && *other != model;
                    if !served {
                        notes.at(
                            &path,
                            format!("{other:?} was not taken over, and cannot stand in for {model:?}"),
                        );
                    }
                    served
                };
                let others: Vec<String> = others.into_iter().filter(served).collect();
                if !others.is_empty() {
                    list.insert(model, others.into());
                }
            }
            if !list.is_empty() {
                routing.insert(ours.to_owned(), list.into());
            }
        }
        let longest = [Some(providers.longest()), self.timeout, self.stream_timeout];
        let longest = longest.into_iter().flatten().fold(0.0, f64::max);
        if longest > TOTAL {
            // A clock that is longer than the whole request would never run out.
            self.server.insert("total_timeout".to_owned(), number(longest));
        }
        routing
    }

    /// The sections of ours behind the providers.
    pub(super) fn sections(self, routing: Map<String, Value>) -> impl Iterator<Item = (String, Value)> {
        let mut defaults = Map::new();
        if let Some(time) = self.timeout {
            defaults.insert("timeout".to_owned(), number(time));
        }
        if let Some(time) = self.stream_timeout {
            defaults
                .insert("timeouts".to_owned(), json!({"first_event": number(time), "idle": number(time)}));
        }
        if let Some(retries) = self.retries {
            defaults.insert("max_retries".to_owned(), retries.into());
        }
        let mut logging = Map::new();
        if self.json_logs {
            logging.insert("format".to_owned(), "json".into());
        }
        let mut insert = |name: &str, section: Map<String, Value>| {
            if !section.is_empty() {
                defaults.insert(name.to_owned(), section.into());
            }
        };
        insert("breaker", self.breaker);
        insert("health_checks", self.health_checks);
        let sections = [
            ("defaults", defaults),
            ("routing", routing),
            ("server", self.server),
            ("client_keys", self.client_keys),
            ("logging", logging),
        ];
        let sections = sections.into_iter().filter(|(_, section)| !section.is_empty());
        sections.map(|(name, section)| (name.to_owned(), Value::Object(section)))
    }
}

/// A list of names of models.
fn names<'a>(section: &mut Section<'a>, key: &'a str, notes: &mut Notes<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (path, value) in section.list(key, notes) {
        match value {
            Value::String(name) => names.push(name.clone()),
            _ => notes.at(&path, "is not the name of a model, and was not taken over"),
        }
    }
    names
}
