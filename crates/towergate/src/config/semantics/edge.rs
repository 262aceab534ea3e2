//! What stands towards the clients: their keys, the listeners, the log.

use std::{collections::HashMap, fmt::Display, net::SocketAddr, str::FromStr};

use serde_json::Value;
use towergate_core::access::ClientAccess;
use towergate_layers::{
    client_auth::ClientKey,
    guard::{HostPattern, OriginPattern},
};
use towergate_openai::routes;

use super::{
    super::{
        plan::ProviderPlan,
        problem::nearest,
        setting::is_reference,
        types::{ClientKeySection, Texts},
    },
    Check,
};
use crate::ClientAuthMode;

impl Check<'_> {
    pub(super) fn allowed_models(&mut self, plans: &[ProviderPlan]) {
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
    pub(super) fn allowed_endpoints(&mut self) {
        let known: Vec<String> =
            routes::all().iter().map(|route| format!("{}{}", routes::BASE_PATH, route.template)).collect();
        for (client, key) in &self.config.file.client_keys {
            for (at, endpoint) in key.allowed_endpoints.iter().flatten().enumerate() {
                let access = ClientAccess::all().allowed_endpoints([endpoint]);
                let is_known = routes::all().iter().any(|route| access.check_route(route).is_ok())
                    || access.check_stored("prompt", routes::PROMPTS).is_ok();
                if !is_known {
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

    pub(super) fn server(&mut self) {
        let server = &self.config.file.server;
        let tls = &server.tls;
        let half = tls.cert_file.is_some() != tls.key_file.is_some();
        if half || (tls.client_ca_file.is_some() && tls.cert_file.is_none()) {
            self.report("server.tls", "cert_file and key_file need each other", None);
        }
        let plan = self.config.server();
        if plan.admin_listen.value == Some(plan.listen.value) && plan.listen.value.port() != 0 {
            self.report(
                "server.admin_listen",
                format!("{} is the address of the API already", plan.listen.value),
                None,
            );
        }
        #[cfg(feature = "server")]
        if plan.max_header_bytes.value < crate::server::MIN_HEADER_BYTES {
            self.report("server.max_header_bytes", "must be 8KiB or more", None);
        }
        let (hosts, origins, cors) = (&server.allowed_hosts, &server.allowed_origins, &server.cors);
        self.patterns::<HostPattern>("server.allowed_hosts", hosts);
        self.patterns::<OriginPattern>("server.allowed_origins", origins);
        self.patterns::<OriginPattern>("server.cors", cors);
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

    /// Hosts or origins.
    fn patterns<T>(&mut self, setting: &str, texts: &Option<Texts>)
    where
        T: FromStr<Err: Display>,
    {
        let is_list = matches!(texts, Some(Texts::Several(_)));
        for (at, text) in texts.iter().flat_map(|texts| texts.as_slice()).enumerate() {
            if let Err(error) = text.parse::<T>() {
                let path = if is_list { format!("{setting}[{at}]") } else { setting.to_owned() };
                self.report(path, format!("{text:?}: {error}"), None);
            }
        }
    }

    /// What a level, or module=level pairs, may be.
    pub(super) fn logging(&mut self) {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        for pair in self.config.file.logging.level.iter().flat_map(|level| level.split(',')) {
            let level = pair.rsplit_once('=').map_or(pair, |(_, level)| level).trim();
            if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
                let message = format!("{level:?} is not one of {}", LEVELS.join(", "));
                self.report("logging.level", message, nearest(level, LEVELS));
            }
        }
    }

    /// Whether clients must present a key never hangs on what was left empty: a template whose values are missing, or a
    /// half of a file, must not let everybody in.
    pub(super) fn client_auth(&mut self) {
        let document = &self.config.document.value;
        let is_disabled = self.config.file.server.client_auth == Some(ClientAuthMode::Disabled);
        let is_empty = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
        match document.get("client_keys") {
            Some(keys) if is_empty(keys) && !is_disabled => self.report(
                "client_keys",
                "there is no client key; leave the section out where keys come from TOWERGATE_CLIENT_KEYS, or where \
                 everybody may come in say `client_auth: disabled` below `server:`",
                None,
            ),
            Some(keys) if !is_empty(keys) && is_disabled => {
                self.report("server.client_auth", "it is disabled, and there are client_keys: leave out one", None);
            }
            _ => {}
        }
        if document.pointer("/server/client_auth").is_some_and(Value::is_null) {
            self.report("server.client_auth", "nothing is not one of required, disabled", None);
        }
        // What is empty is left out of the sections that were read.
        let entries = document.get("client_keys").and_then(Value::as_object).into_iter().flatten();
        for (name, _) in entries.filter(|(_, entry)| entry.is_null()) {
            self.report(format!("client_keys.{name}"), "key or sha256 is missing", None);
        }
    }

    pub(super) fn client_keys(&mut self) {
        let mut known: HashMap<ClientKey, &str> = HashMap::new();
        for (name, section) in &self.config.file.client_keys {
            let path = format!("client_keys.{name}");
            self.client_key(&path, section);
            let key = match (&section.key, &section.sha256) {
                // What variables hold shows when it is built.
                (Some(key), None) if !key.0.contains('$') => ClientKey::new(&key.0.clone().into()).ok(),
                (None, Some(digest)) => ClientKey::from_sha256(digest).ok(),
                _ => None,
            };
            let Some(key) = key else { continue };
            if let Some(other) = known.insert(key, name) {
                self.report(path, format!("the client {other:?} has the same key"), None);
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
            (Some(key), None) if has_empty_default(&key.0) => {
                let message = "the key is empty where the variable is not set; leave its default out";
                self.report(format!("{path}.key"), message, None);
            }
            (Some(key), None) if key.0.starts_with('$') && !is_reference(&key.0) => {
                self.variable(format!("{path}.key"), key);
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

/// Whether a text is one `${NAME:-}`.
fn has_empty_default(text: &str) -> bool {
    let inside = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
    inside.and_then(|inside| inside.split_once(":-")).is_some_and(|(_, default)| default.trim().is_empty())
}
