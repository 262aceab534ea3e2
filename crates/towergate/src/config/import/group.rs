//! From deployments to providers: who shares what, and who comes first.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    deployment::{Deployment, Deployments, Upstream},
    section::Notes,
};

/// A further name of a model: the name, the model, and where that stands.
pub(super) type Alias = (String, String, String);

/// The providers, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Providers {
    list: Vec<Provider>,
    /// Models of the file that nobody here can serve.
    others: BTreeSet<String>,
}

#[derive(Debug)]
struct Provider {
    upstream: Upstream,
    place: Chosen,
    /// The name that clients use, and the provider's; empty: any.
    models: Vec<(String, String)>,
}

/// When a provider is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Chosen {
    priority: Option<u32>,
    weight: Option<f64>,
}

// === impl Providers ===

impl Providers {
    /// `by_weight`: whether shares count at all.
    pub(super) fn of(deployments: Deployments, by_weight: bool, notes: &mut Notes<'_>) -> Self {
        let Deployments { taken: deployments, others } = deployments;
        let mut groups: BTreeMap<Option<&str>, Vec<&Deployment>> = BTreeMap::new();
        for deployment in &deployments {
            groups.entry(deployment.name.as_deref()).or_default().push(deployment);
        }
        let highest = |group: &Vec<&Deployment>| group.iter().filter_map(|one| one.order).max();
        let named = groups.iter().filter(|(name, _)| name.is_some());
        let last = named.filter_map(|(_, group)| highest(group)).max().unwrap_or(1);
        let only_any = groups.len() == 1;
        let mut places: Vec<(&str, Option<&str>, Chosen)> = Vec::new();
        for (name, group) in &groups {
            let mut chosen = choose(group, by_weight, notes);
            if name.is_none() && !only_any {
                for (chosen, one) in chosen.iter_mut().zip(group) {
                    chosen.priority =
                        Some(chosen.priority.unwrap_or_default().saturating_add(last).saturating_add(1));
                    notes.at(&one.path, "serves every model that no other entry names, and takes over for those that one does");
                }
            }
            let of_group = group.iter().zip(chosen).map(|(one, chosen)| (one.path.as_str(), *name, chosen));
            places.extend(of_group);
        }
        let mut providers = Self { list: Vec::new(), others };
        for deployment in &deployments {
            // Of several organisations of one entry each has the same place.
            let place = places
                .iter()
                .find(|(path, name, _)| *path == deployment.path && *name == deployment.name.as_deref())
                .map_or_else(Chosen::default, |(.., chosen)| *chosen);
            providers.add(deployment, place);
        }
        providers
    }

    /// Entries that differ in nothing but the model are one provider.
    fn add(&mut self, deployment: &Deployment, place: Chosen) {
        let Deployment { name, model, upstream, .. } = deployment;
        let Some(name) = name else {
            return self.list.push(Provider { upstream: upstream.clone(), place, models: Vec::new() });
        };
        let model = (name.clone(), model.clone());
        let same = |provider: &&mut Provider| {
            !provider.models.is_empty()
                && provider.upstream == *upstream
                && provider.place == place
                && provider.models.iter().all(|(known, _)| known != name)
        };
        match self.list.iter_mut().find(same) {
            Some(provider) => provider.models.push(model),
            None => self.list.push(Provider { upstream: upstream.clone(), place, models: vec![model] }),
        }
    }

    /// Further names of models.
    pub(super) fn add_aliases(&mut self, aliases: Vec<Alias>, notes: &mut Notes<'_>) {
        for (alias, model, path) in aliases {
            if self.serves_by_name(&alias) {
                notes.at(
                    &path,
                    format!("{alias:?} is a model of its own already: the alias was not taken over"),
                );
                continue;
            }
            let mut found = false;
            for provider in &mut self.list {
                let upstream = provider.models.iter().find(|(name, _)| *name == model);
                if let Some(upstream) = upstream.map(|(_, upstream)| upstream.clone()) {
                    found = true;
                    provider.models.push((alias.clone(), upstream));
                }
            }
            if !found {
                notes.at(&path, format!("no model that was taken over is called {model:?}"));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn serves_by_name(&self, model: &str) -> bool {
        self.list.iter().any(|provider| provider.models.iter().any(|(name, _)| name == model))
    }

    /// Whether anybody serves a model of this name.
    pub(super) fn serves(&self, model: &str) -> bool {
        let by_any = || self.list.iter().any(|provider| provider.models.is_empty());
        self.serves_by_name(model) || (!self.others.contains(model) && by_any())
    }

    /// The names of all models, each once.
    pub(super) fn models(&self) -> Vec<&str> {
        let names =
            self.list.iter().flat_map(|provider| provider.models.iter().map(|(name, _)| name.as_str()));
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The longest time that a provider is given for anything.
    pub(super) fn longest(&self) -> f64 {
        let times = self.list.iter().flat_map(|one| [one.upstream.timeout, one.upstream.stream_timeout]);
        times.flatten().fold(0.0, f64::max)
    }

    /// The most retries that a provider is given.
    pub(super) fn most_retries(&self) -> u32 {
        self.list.iter().filter_map(|one| one.upstream.max_retries).max().unwrap_or_default()
    }

    pub(super) fn into_value(self) -> Value {
        let mut providers = Map::new();
        for provider in self.list {
            let prefix = provider.upstream.prefix;
            let names = (2..).map(|count: usize| format!("{prefix}-{count}"));
            let name =
                std::iter::once(prefix.to_owned()).chain(names).find(|name| !providers.contains_key(name));
            // There is always another number.
            providers.insert(name.unwrap_or_default(), provider.into_value());
        }
        providers.into()
    }
}

impl Provider {
    fn into_value(self) -> Value {
        let Upstream {
            kind,
            base_url,
            api_key,
            organization,
            headers,
            timeout,
            stream_timeout,
            max_retries,
            ..
        } = self.upstream;
        let mut settings = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                settings.insert(name.to_owned(), value);
            }
        };
        set("type", Some(kind.into()));
        set("base_url", base_url.map(Value::from));
        set("api_key", api_key.map(Value::from));
        set("organization", organization.map(Value::from));
        set("headers", (!headers.is_empty()).then(|| json!(headers)));
        set("priority", self.place.priority.map(Value::from));
        set("weight", self.place.weight.map(number));
        set("timeout", timeout.map(number));
        let of_streams = |time: f64| json!({"first_event": number(time), "idle": number(time)});
        set("timeouts", stream_timeout.map(of_streams));
        set("max_retries", max_retries.map(Value::from));
        let models = self.models.into_iter().map(|(name, upstream)| {
            let upstream = if name == upstream { Value::Null } else { upstream.into() };
            (name, upstream)
        });
        let models: Map<String, Value> = models.collect();
        set("models", (!models.is_empty()).then_some(Value::Object(models)));
        Value::Object(settings)
    }
}

/// A number as people write it.
pub(super) fn number(number: f64) -> Value {
    // Exact below 2^53; weights and times are far below it.
    if number.fract() == 0.0 && number < 1e15 { json!(number as u64) } else { json!(number) }
}

/// When each of one group is chosen.
fn choose(group: &[&Deployment], by_weight: bool, notes: &mut Notes<'_>) -> Vec<Chosen> {
    let mut chosen = vec![Chosen::default(); group.len()];
    // Alone it is chosen anyhow.
    if group.len() < 2 {
        return chosen;
    }
    if let Some(last) = group.iter().filter_map(|one| one.order).max() {
        for (chosen, one) in chosen.iter_mut().zip(group) {
            chosen.priority = Some(one.order.unwrap_or(last.saturating_add(1)));
            if one.order.is_none() {
                notes.at(&one.path, "has no order where others of its name have one: it comes after them");
            }
        }
    }
    // As LiteLLM's simple-shuffle does: by the first of them that the first entry has.
    let shares = (0..3)
        .find(|by| group[0].shares[*by].is_some() && group.iter().any(|one| one.shares[*by] > Some(0.0)));
    if let (Some(by), true) = (shares, by_weight) {
        for (chosen, one) in chosen.iter_mut().zip(group) {
            chosen.weight = Some(one.shares[by].unwrap_or(0.0));
        }
        if by > 0 {
            let key = ["weight", "rpm", "tpm"][by];
            notes.at(
                &format!("{}.litellm_params.{key}", group[0].path),
                format!("{key} is the weight of the entries of this name"),
            );
        }
    }
    chosen
}
