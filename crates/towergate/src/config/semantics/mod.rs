//! What each value allows but all together do not.

mod edge;

use std::collections::{HashMap, HashSet};

use http::{HeaderName, HeaderValue};
use towergate_core::headers::may_be_trailer;
use towergate_openai::service::{InvalidBaseUrl, check_base_url};

use super::{
    Config,
    plan::{KeyReference, ProviderPlan},
    problem::{Problem, nearest},
    setting::Origin,
    types::{KeySection, Secret},
};

/// Everything that is wrong beyond the schema.
pub(super) fn check(config: &Config, plans: &[ProviderPlan]) -> Vec<Problem> {
    let mut check = Check { config, problems: Vec::new() };
    check.providers(plans);
    check.weights(plans);
    check.routing(plans);
    check.server();
    check.logging();
    check.allowed_models(plans);
    check.allowed_endpoints();
    check.client_auth();
    check.client_keys();
    check.problems
}

struct Check<'a> {
    config: &'a Config,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn report(&mut self, path: impl Into<String>, message: impl Into<String>, suggestion: Option<String>) {
        let path = path.into();
        let place = self.config.place(&path);
        self.problems.push(Problem { place, path, message: message.into(), suggestion });
    }

    fn providers(&mut self, plans: &[ProviderPlan]) {
        if plans.is_empty() {
            self.report(
                "providers",
                "there is no provider; write one below providers:, such as openai: {type: openai}",
                None,
            );
        }
        let total = self.config.server().total_timeout.value;
        for plan in plans {
            let path = |setting: &str| format!("providers.{}.{setting}", plan.name);
            let section = &self.config.file.providers[&plan.name];
            if HeaderValue::from_str(&plan.name).is_err() || plan.name.is_empty() {
                self.report(
                    format!("providers.{}", plan.name),
                    "the name of a provider is visible ASCII: it stands in a header",
                    None,
                );
            }
            if plan.base_url.value.is_empty() {
                self.report(path("base_url"), "base_url is missing: this type has no host of its own", None);
            } else if let Some(Err(why)) = checked(&plan.base_url.value) {
                let (path, what) = match plan.base_url.origin {
                    Origin::Variable(name) => (format!("providers.{}", plan.name), name),
                    _ => (path("base_url"), "this"),
                };
                self.report(path, format!("{what} is no base URL: {why}"), None);
            } else if let Some(endpoint) = endpoint(&plan.base_url.value) {
                let message =
                    format!("this is the address of one endpoint; the base URL ends before {endpoint}");
                self.report(path("base_url"), message, None);
            }
            let ways = [
                ("api_key", section.api_key.is_some()),
                ("api_key_file", section.api_key_file.is_some()),
                ("keys", !section.keys.is_empty()),
                ("pass_through_auth", section.pass_through_auth == Some(true)),
            ];
            let set: Vec<&str> = ways.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
            if let [first, second, ..] = set[..] {
                self.report(path(second), format!("{first} says already where the key comes from"), None);
            }
            if plan.key.value == KeyReference::Text(Secret(String::new())) {
                self.report(
                    path("api_key"),
                    "the key is empty; leave the setting out where none is wanted",
                    None,
                );
            }
            if let Some(key) = &section.api_key {
                self.variable(path("api_key"), key);
            }
            self.keys(&path("keys"), &section.keys);
            for (model, settings) in &plan.models {
                if settings.upstream.as_deref() == Some("") {
                    let message = "the provider's name for it is empty; leave it out where it is the same";
                    self.report(path(&format!("models.{model}")), message, None);
                }
            }
            for (name, value) in &section.headers {
                let header = path(&format!("headers.{name}"));
                self.variable(header.clone(), value);
                if HeaderName::from_bytes(name.as_bytes()).is_err() {
                    self.report(header, "this is not the name of a header field", None);
                } else if !value.0.contains("${") && HeaderValue::from_str(&value.0).is_err() {
                    self.report(header, "the value holds a character that no header field can", None);
                }
            }
            for (at, name) in section.allow_headers.iter().enumerate() {
                if HeaderName::from_bytes(name.as_bytes()).is_err() {
                    self.report(
                        path(&format!("allow_headers[{at}]")),
                        "this is not the name of a header field",
                        None,
                    );
                }
            }
            for (at, name) in section.allow_trailers.iter().enumerate() {
                let message = match HeaderName::from_bytes(name.as_bytes()) {
                    Ok(name) if may_be_trailer(&name) => continue,
                    Ok(_) => "this field cannot be a trailer (RFC 9110, section 6.5.1)",
                    Err(_) => "this is not the name of a header field",
                };
                self.report(path(&format!("allow_trailers[{at}]")), message, None);
            }
            if plan.tls.client_certificate_file.is_some() != plan.tls.client_key_file.is_some() {
                self.report(path("tls"), "client_certificate_file and client_key_file need each other", None);
            }
            for (name, clock) in [
                ("head", plan.timeouts.head.value),
                ("first_event", plan.timeouts.first_event.value),
                ("idle", plan.timeouts.idle.value),
            ] {
                // `timeout` stretches nothing: where it is the reason, it is named.
                let own = path(&format!("timeouts.{name}"));
                let place = if self.config.is_set(&own) { own } else { path("timeout") };
                if clock.is_some_and(|clock| clock > total) && self.config.is_set(&place) {
                    let (clock, total) = (clock.unwrap_or_default(), total);
                    self.report(place, format!("{clock:?} is longer than server.total_timeout ({total:?}), which would end the request first"), None);
                }
            }
        }
    }

    /// A secret that is written as a shell has it would be sent as it stands.
    fn variable(&mut self, path: String, Secret(text): &Secret) {
        let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if text.strip_prefix('$').is_some_and(|name| !name.is_empty() && name.bytes().all(is_name)) {
            // It is not quoted: it may be a secret after all.
            self.report(path, "a variable is written ${NAME}, and a dollar sign itself $$", None);
        }
    }

    fn keys(&mut self, path: &str, keys: &[KeySection]) {
        let mut names = HashSet::new();
        for (at, key) in keys.iter().enumerate() {
            match (&key.api_key, &key.api_key_file) {
                (None, None) => {
                    self.report(format!("{path}[{at}]"), "api_key or api_key_file is missing", None)
                }
                (Some(_), Some(_)) => self.report(
                    format!("{path}[{at}].api_key_file"),
                    "api_key says already where the key comes from",
                    None,
                ),
                (Some(key), None) if key.0.is_empty() => {
                    self.report(format!("{path}[{at}].api_key"), "the key is empty", None);
                }
                (Some(key), None) => self.variable(format!("{path}[{at}].api_key"), key),
                (None, Some(_)) => {}
            }
            let name = key.name.clone().unwrap_or_else(|| (at + 1).to_string());
            if !names.insert(name.clone()) {
                self.report(format!("{path}[{at}]"), format!("another key is called {name:?} too"), None);
            }
        }
        if !keys.is_empty() && keys.iter().all(|key| key.weight == Some(0.0)) {
            self.report(path, "every key has the weight 0, so none is chosen", None);
        }
    }

    /// Every model must have somebody who is chosen.
    fn weights(&mut self, plans: &[ProviderPlan]) {
        let mut heaviest: HashMap<&str, (f64, &str)> = HashMap::new();
        let (mut any, mut takes_any) = (0.0_f64, None);
        for plan in plans {
            let weight = plan.weight.value;
            if plan.models.is_empty() {
                any = any.max(weight);
                takes_any.get_or_insert(plan.name.as_str());
            }
            for (model, _) in &plan.models {
                let entry = heaviest.entry(model).or_insert((0.0, &plan.name));
                entry.0 = entry.0.max(weight);
            }
        }
        let mut models: Vec<_> = heaviest.into_iter().collect();
        models.sort_unstable_by_key(|(model, _)| *model);
        for (model, (weight, provider)) in models {
            if weight.max(any) == 0.0 {
                let message =
                    format!("every provider that serves {model:?} has the weight 0, so nobody is chosen");
                self.report(format!("providers.{provider}.weight"), message, None);
            }
        }
        if let (Some(provider), 0.0) = (takes_any, any) {
            let message = "every provider that takes any model has the weight 0, so nobody is chosen";
            self.report(format!("providers.{provider}.weight"), message, None);
        }
    }

    fn routing(&mut self, plans: &[ProviderPlan]) {
        let routing = &self.config.file.routing;
        if let Some(name) = &routing.default_provider
            && !plans.iter().any(|plan| plan.name == *name)
        {
            let suggestion = nearest(name, plans.iter().map(|plan| plan.name.as_str()));
            self.report("routing.default_provider", format!("there is no provider {name:?}"), suggestion);
        }
        let takes_any = plans.iter().any(|plan| plan.models.is_empty());
        let known: Vec<&str> =
            plans.iter().flat_map(|plan| plan.models.iter().map(|(name, _)| name.as_str())).collect();
        for (list, models) in [
            ("fallback_models", &routing.fallback_models),
            ("context_length_fallbacks", &routing.context_length_fallbacks),
            ("content_policy_fallbacks", &routing.content_policy_fallbacks),
        ] {
            for (model, others) in models {
                let path = format!("routing.{list}.{model}");
                let names = others.iter().enumerate().map(|(at, name)| (name, format!("{path}[{at}]")));
                for (name, path) in std::iter::once((model, path.clone())).chain(names) {
                    if !takes_any && !known.contains(&name.as_str()) {
                        let suggestion = nearest(name, known.iter().copied());
                        self.report(path, format!("no provider serves the model {name:?}"), suggestion);
                    }
                }
                if others.contains(model) {
                    self.report(path, format!("{model:?} cannot stand in for itself"), None);
                }
            }
        }
    }
}

/// Whether a text can be a base URL; nothing where a variable of it is not set, which is an error of its own.
fn checked(url: &str) -> Option<Result<(), InvalidBaseUrl>> {
    (!url.contains("${")).then(|| check_base_url(url))
}

/// The endpoint that a URL ends in, where it is that of one.
fn endpoint(url: &str) -> Option<&'static str> {
    const ENDPOINTS: [&str; 4] = ["/chat/completions", "/completions", "/responses", "/embeddings"];
    ENDPOINTS.into_iter().find(|endpoint| url.trim_end_matches('/').ends_with(endpoint))
}
