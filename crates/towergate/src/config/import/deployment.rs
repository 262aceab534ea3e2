//! The entries of `model_list`.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderName;
use serde_json::Value;

use super::{
    section::{Notes, Section, number},
    vendors::{self, Address, Vendor},
};

/// What is written where no key is wanted, because LiteLLM asks for one.
const NO_KEYS: [&str; 8] = ["", "none", "null", "empty", "na", "n/a", "not-needed", "no-key"];

/// Where requests go, and how: what entries may share.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Upstream {
    pub(super) kind: &'static str,
    pub(super) base_url: Option<String>,
    pub(super) api_key: Option<String>,
    pub(super) organization: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) timeout: Option<f64>,
    pub(super) stream_timeout: Option<f64>,
    pub(super) max_retries: Option<u32>,
    /// What it is called, if nobody else is.
    pub(super) prefix: &'static str,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Deployment {
    pub(super) path: String,
    /// The name that clients use; `None`: any.
    pub(super) name: Option<String>,
    /// The provider's name for it.
    pub(super) model: String,
    pub(super) upstream: Upstream,
    /// `weight`, `rpm`, `tpm`: the first that the group has is the share.
    pub(super) shares: [Option<f64>; 3],
    pub(super) order: Option<u32>,
}

/// All entries that could be taken over.
#[derive(Debug, Default)]
pub(super) struct Deployments {
    pub(super) taken: Vec<Deployment>,
    /// The names of others: nobody is to stand in for them by chance.
    pub(super) others: BTreeSet<String>,
}

/// `credential_list`, by name: what each holds, and where it stands.
type Credentials<'a> = BTreeMap<String, (&'a Value, String)>;

// === impl Deployments ===

impl Deployments {
    pub(super) fn read(file: &mut Section<'_>, notes: &mut Notes<'_>) -> Self {
        let mut deployments = Self::default();
        let credentials = credentials(file, notes);
        let mut used = BTreeSet::new();
        for (path, value) in file.list("model_list", notes) {
            if let Some(mut entry) = Section::of(value, &path, notes) {
                deployments.entry(path, &mut entry, &credentials, &mut used, notes);
                if let Some(Value::Object(info)) = entry.take("model_info") {
                    let keys: Vec<&str> = info.keys().map(String::as_str).collect();
                    notes.at(&entry.path("model_info"), format!("has no counterpart ({})", keys.join(", ")));
                }
                entry.rest(notes);
            }
        }
        for (name, (_, path)) in credentials.iter().filter(|(name, _)| !used.contains(*name)) {
            notes.at(path, format!("{name:?} is used by no model that was taken over"));
        }
        deployments
    }

    fn entry(
        &mut self,
        path: String,
        entry: &mut Section<'_>,
        credentials: &Credentials<'_>,
        used: &mut BTreeSet<String>,
        notes: &mut Notes<'_>,
    ) {
        let name = entry.text("model_name", notes);
        let Some(mut params) = entry.section("litellm_params", notes) else {
            return notes.at(&path, "has no litellm_params, and was not taken over");
        };
        let credential = params.text("litellm_credential_name", notes);
        let mut shared = credential.as_deref().and_then(|name| {
            used.insert(name.to_owned());
            let found = credentials.get(name);
            if found.is_none() {
                notes.at(&params.path("litellm_credential_name"), format!("there is no credential {name:?}"));
            }
            found.and_then(|(value, path)| Section::of(value, path, notes))
        });
        let model = params.text("model", notes);
        let provider = params.text("custom_llm_provider", notes);
        let (Some(name), Some(model)) = (name, model) else {
            return notes.at(&path, "model_name or litellm_params.model is missing: it was not taken over");
        };
        let base = address(&mut params, shared.as_mut(), notes);
        let (vendor, model) = match vendors::find(&model, provider.as_deref(), base.is_some()) {
            Ok(found) => found,
            // One note is enough: what else it says is of no use without its provider.
            Err(why) => {
                notes.at(&params.path("model"), format!("{name}: {why}"));
                self.others.insert(name);
                return;
            }
        };
        let name = match (name.as_str(), model) {
            ("*", "*") => None,
            (_, "") => {
                notes.at(
                    &params.path("model"),
                    format!("{name}: no model is named, and it was not taken over"),
                );
                self.others.insert(name);
                return;
            }
            _ if name.contains('*') || model.contains('*') => {
                let message =
                    "patterns of names are not served: name the models, or serve any with model_name \"*\"";
                return notes.at(&path, format!("{name}: {message}"));
            }
            _ => Some(name),
        };
        let Some(base_url) = base_url(&params, vendor, base, notes) else {
            notes.at(&path, "api_base is missing, and it was not taken over");
            self.others.extend(name);
            return;
        };
        let api_key = key(&mut params, shared.as_mut(), vendor, base_url.is_some(), notes);
        let organizations = organizations(&mut params, notes);
        let positive = |number: Option<f64>| number.filter(|number| *number > 0.0);
        let upstream = Upstream {
            kind: vendor.kind,
            base_url,
            api_key,
            organization: None,
            headers: headers(&mut params, notes),
            timeout: positive(params.number("timeout", notes)),
            stream_timeout: positive(params.number("stream_timeout", notes)),
            max_retries: {
                let (own, other) =
                    (params.whole("max_retries", 100, notes), params.whole("num_retries", 100, notes));
                own.or(other)
            },
            prefix: vendor.prefix,
        };
        // Read by nobody yet: they are limits, too, and those are not taken over.
        let limits = ["rpm", "tpm"].map(|limit| params.peek(limit).and_then(number));
        let shares = [params.number("weight", notes), limits[0], limits[1]];
        let order = params.whole("order", u32::MAX, notes);
        for organization in organizations {
            self.taken.push(Deployment {
                path: path.clone(),
                name: name.clone(),
                model: model.to_owned(),
                upstream: Upstream { organization, ..upstream.clone() },
                shares,
                order,
            });
        }
        params.rest(notes);
        if let Some(shared) = shared {
            shared.rest(notes);
        }
    }
}

fn credentials<'a>(file: &mut Section<'a>, notes: &mut Notes<'_>) -> Credentials<'a> {
    let mut credentials = Credentials::new();
    for (path, value) in file.list("credential_list", notes) {
        let Some(mut entry) = Section::of(value, &path, notes) else { continue };
        // A description for people.
        entry.take("credential_info");
        if let (Some(name), Some(values)) =
            (entry.text("credential_name", notes), entry.take("credential_values"))
        {
            credentials.insert(name, (values, entry.path("credential_values")));
        }
        entry.rest(notes);
    }
    credentials
}

/// `api_base`, which the OpenAI SDK calls `base_url`.
fn address(
    params: &mut Section<'_>,
    shared: Option<&mut Section<'_>>,
    notes: &mut Notes<'_>,
) -> Option<String> {
    let (first, second) = (params.text("api_base", notes), params.text("base_url", notes));
    let of_credential = shared.and_then(|shared| shared.text("api_base", notes));
    let base = first.or(second).or(of_credential)?;
    Some(Notes::text(base.trim_end_matches('/')))
}

/// Where it is; `Some(None)` where our type says so, `None` where nobody does.
#[allow(clippy::option_option, reason = "there is none, and none is needed, are two things")]
fn base_url(
    params: &Section<'_>,
    vendor: Vendor,
    base: Option<String>,
    notes: &mut Notes<'_>,
) -> Option<Option<String>> {
    let of_variable = |variable: Option<&str>| variable.map(|name| format!("${{{name}}}"));
    Some(match vendor.address {
        // What is said is what our type says anyhow.
        Address::OfType => base.filter(|base| vendor.kind != "openai" || base != "https://api.openai.com/v1"),
        Address::Fixed(url) => Some(base.unwrap_or_else(|| url.to_owned())),
        Address::Own(variable) => Some(base.or_else(|| of_variable(variable))?),
        Address::Below { path, variable } => {
            let Some(base) = base.or_else(|| of_variable(variable)) else { return Some(None) };
            // Azure's own addresses may name the deployment already.
            let host = base.split("/openai/").next().unwrap_or(&base);
            let host = host.strip_suffix("/openai").or(host.strip_suffix(path)).unwrap_or(host);
            let base = host.to_owned();
            if base.ends_with('}') {
                let message = format!("{path} is put behind it: the variable holds scheme and host alone");
                notes.at(&params.path("api_base"), message);
            }
            Some(base + path)
        }
    })
}

fn key(
    params: &mut Section<'_>,
    shared: Option<&mut Section<'_>>,
    vendor: Vendor,
    has_own_host: bool,
    notes: &mut Notes<'_>,
) -> Option<String> {
    let own = params.text("api_key", notes).map(|key| (key, params.path("api_key")));
    let of_credential =
        shared.and_then(|shared| Some((shared.text("api_key", notes)?, shared.path("api_key"))));
    match own.or(of_credential) {
        Some((key, _)) if NO_KEYS.contains(&key.to_ascii_lowercase().as_str()) => None,
        Some((key, path)) => Some(notes.secret(&path, &key, None)),
        None => {
            if vendor.prefix.contains("openai") && has_own_host {
                let message = "no api_key: LiteLLM would send OPENAI_API_KEY to this host, here none is sent; write api_key if it wants one";
                notes.at(&params.path("api_base"), message);
            }
            vendor.key.map(|name| format!("${{{name}}}"))
        }
    }
}

/// One, several, or none. With several, each is a deployment of its own.
fn organizations(params: &mut Section<'_>, notes: &mut Notes<'_>) -> Vec<Option<String>> {
    match params.take("organization") {
        None => vec![None],
        Some(Value::String(one)) => vec![Some(Notes::text(one))],
        Some(Value::Array(several)) if several.iter().all(Value::is_string) && !several.is_empty() => {
            several.iter().map(|one| one.as_str().map(Notes::text)).collect()
        }
        Some(_) => {
            notes.at(&params.path("organization"), "is not text, and was not read");
            vec![None]
        }
    }
}

fn headers(params: &mut Section<'_>, notes: &mut Notes<'_>) -> BTreeMap<String, String> {
    const SECRET: [&str; 6] = ["authorization", "key", "token", "secret", "cookie", "password"];
    let mut headers = BTreeMap::new();
    for field in ["extra_headers", "headers"] {
        let Some(mut section) = params.section(field, notes) else { continue };
        for name in section.keys() {
            let path = section.path(name);
            let Some(value) = section.text(name, notes) else { continue };
            let lower = name.to_ascii_lowercase();
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                notes.at(&path, "this is not the name of a header field, and was not taken over");
            } else if SECRET.iter().any(|word| lower.contains(word)) {
                headers.insert(lower, notes.secret(&path, &value, None));
            } else {
                headers.insert(lower, Notes::text(&value));
            }
        }
    }
    headers
}
