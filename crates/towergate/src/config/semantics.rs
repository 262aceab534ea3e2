//! What each value allows but all together do not.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use http::{HeaderName, HeaderValue};
use towergate_core::access::ClientAccess;
use towergate_openai::{
    routes,
    service::{InvalidBaseUrl, check_base_url},
};

use super::{
    Config,
    plan::{KeyReference, ProviderPlan},
    problem::{Problem, nearest},
    setting::{Origin, is_reference},
    types::{ClientKeySection, KeySection},
};

/// Everything that is wrong beyond the schema.
pub(super) fn check(config: &Config, plans: &[ProviderPlan]) -> Vec<Problem> {
    let mut check = Check { config, problems: Vec::new() };
    check.providers(plans);
    check.weights(plans);
    check.routing(plans);
    check.server();
    check.allowed_models(plans);
    check.allowed_endpoints();
    for (name, key) in &config.file.client_keys {
        check.client_key(&format!("client_keys.{name}"), key);
    }
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
            if plan.key.value == KeyReference::Text(super::types::Secret(String::new())) {
                self.report(
                    path("api_key"),
                    "the key is empty; leave the setting out where none is wanted",
                    None,
                );
            }
            self.keys(&path("keys"), &section.keys);
            for (name, value) in &section.headers {
                let header = path(&format!("headers.{name}"));
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
                _ => {}
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

    fn allowed_models(&mut self, plans: &[ProviderPlan]) {
        if plans.iter().any(|plan| plan.models.is_empty()) {
            return;
        }
        let known = || plans.iter().flat_map(|plan| plan.models.iter().map(|(name, _)| name.as_str()));
        for (client, key) in &self.config.file.client_keys {
            for (at, name) in key.allowed_models.iter().flatten().enumerate() {
                if !known().any(|known| known == name) {
                    let path = format!("client_keys.{client}.allowed_models[{at}]");
                    let suggestion = nearest(name, known());
                    self.report(path, format!("no provider serves the model {name:?}"), suggestion);
                }
            }
        }
    }

    /// An endpoint that is in no route, nor above one, would let nothing in.
    fn allowed_endpoints(&mut self) {
        let known: Vec<String> =
            routes::all().iter().map(|route| format!("{}{}", routes::BASE_PATH, route.template)).collect();
        for (client, key) in &self.config.file.client_keys {
            for (at, endpoint) in key.allowed_endpoints.iter().flatten().enumerate() {
                let access = ClientAccess::all().allowed_endpoints([endpoint]);
                if !routes::all().iter().any(|route| access.check_route(route).is_ok()) {
                    let path = format!("client_keys.{client}.allowed_endpoints[{at}]");
                    let message = format!(
                        "no endpoint is {endpoint:?} or below it; write it as /v1/files, or /v1 for all of them"
                    );
                    let suggestion = nearest(endpoint, known.iter().map(String::as_str));
                    self.report(path, message, suggestion);
                }
            }
        }
    }

    fn server(&mut self) {
        let server = &self.config.file.server;
        let tls = &server.tls;
        let half = tls.cert_file.is_some() != tls.key_file.is_some();
        if half || (tls.client_ca_file.is_some() && tls.cert_file.is_none()) {
            self.report("server.tls", "cert_file and key_file need each other", None);
        }
        for (name, value) in [("listen", &server.listen), ("admin_listen", &server.admin_listen)] {
            if let Some(address) = value
                && address.parse::<SocketAddr>().is_err()
            {
                self.report(
                    format!("server.{name}"),
                    "this is not an address with a port, such as 127.0.0.1:8080 or [::]:8080",
                    None,
                );
            }
        }
    }

    fn client_key(&mut self, path: &str, section: &ClientKeySection) {
        match (&section.key, &section.sha256) {
            (None, None) => self.report(path, "key or sha256 is missing", None),
            (Some(_), Some(_)) => self.report(path, "key and sha256 are both there: leave one out", None),
            (Some(key), None) if key.0.is_empty() => {
                self.report(format!("{path}.key"), "the key is empty", None)
            }
            (Some(key), None) if !is_reference(&key.0) && key.0.trim() != key.0 => {
                self.report(format!("{path}.key"), "the key begins or ends with white space", None);
            }
            (None, Some(digest))
                if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
            {
                self.report(
                    format!("{path}.sha256"),
                    "a SHA-256 is 64 hex digits: printf %s \"$KEY\" | sha256sum",
                    None,
                );
            }
            _ => {}
        }
    }
}

/// Whether a text can be a base URL; nothing where a variable of it is not set, which is an error of its own.
fn checked(url: &str) -> Option<Result<(), InvalidBaseUrl>> {
    (!url.contains("${")).then(|| check_base_url(url))
}
