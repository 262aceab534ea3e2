//! [`Table`]: the settings as they are looked up.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use towergate_core::{context::AttemptClocks, label::Label};

use super::{
    balance::Balance,
    load::{Load, Watched},
    settings::{Candidate, Routing, ServedModel, Strategy},
};
use crate::{BuildError, Provider, ProviderService, health::Vitals, provider::Availability, registry::Entry};

/// What requests are routed by.
#[derive(Debug)]
pub(super) struct Table {
    models: HashMap<Box<str>, Arc<Model>>,
    /// Those of `models`, in alphabetical order.
    names: Box<[Box<str>]>,
    /// Those that take any model.
    any: Option<Arc<Model>>,
    providers: HashMap<Box<str>, Arc<Target>>,
    /// Who gets what belongs to one provider and does not say to which.
    default: Arc<Target>,
    pub(super) last_resort: bool,
    pub(super) max_attempts: u32,
}

/// A model as clients name it, and who serves it.
#[derive(Debug)]
pub(super) struct Model {
    /// By priority.
    pub(super) tiers: Vec<Tier>,
    pub(super) fallbacks: Box<[Arc<str>]>,
    pub(super) context_length: Box<[Arc<str>]>,
    pub(super) content_policy: Box<[Arc<str>]>,
}

/// Those of one priority.
#[derive(Debug)]
pub(super) struct Tier {
    /// By weight, the heaviest first.
    pub(super) targets: Vec<Arc<Target>>,
    balance: Balance,
}

/// A provider that serves a model.
#[derive(Debug)]
pub(super) struct Target {
    provider: Arc<dyn Provider>,
    vitals: Arc<Vitals>,
    load: Load,
    pub(super) service: ProviderService,
    pub(super) label: Label,
    /// The provider's own name for the model, where it has one.
    pub(super) upstream: Option<Upstream>,
    pub(super) clocks: AttemptClocks,
    pub(super) failover_after: Option<Duration>,
    weight: f64,
}

/// A model as a provider names it.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    pub(super) name: Arc<str>,
    pub(super) label: Label,
    pub(super) header: Option<HeaderValue>,
}

// === impl Table ===

impl Table {
    pub(super) fn new(routing: &Routing) -> Result<Self, BuildError> {
        let wrong = |message: String| Err(BuildError::Routing(message));
        for (name, candidate) in &routing.candidates {
            if routing.registry.get(name).is_none() {
                return wrong(format!("{name:?} is to serve requests, but no provider has that name"));
            }
            if !(candidate.weight.is_finite() && candidate.weight >= 0.0) {
                let weight = candidate.weight;
                return wrong(format!("provider {name:?}: weight {weight} is not a number of 0 or more"));
            }
        }
        let offers: Vec<Offer<'_>> = routing
            .registry
            .entries()
            .iter()
            .map(|Entry { name, provider, vitals }| Offer {
                provider,
                vitals,
                load: Load::default(),
                watched: routing.strategy != Strategy::Weighted,
                service: provider.service(),
                candidate: routing.candidates.get(name).cloned().unwrap_or_default(),
                name,
            })
            .collect();
        let Some(first) = offers.iter().min_by_key(|offer| offer.candidate.priority) else {
            return Err(BuildError::NoProvider);
        };

        let providers: HashMap<Box<str>, Arc<Target>> =
            offers.iter().map(|offer| (offer.name.into(), Arc::new(offer.target(None)))).collect();
        let default = routing.default_provider.as_deref().unwrap_or(first.name);
        let Some(default) = providers.get(default).cloned() else {
            return wrong(format!("the default provider {default:?} is none of the providers"));
        };

        let takes_any = offers.iter().any(|offer| offer.candidate.models.is_empty());
        let fallbacks = &routing.fallbacks;
        let named =
            offers.iter().flat_map(|offer| offer.candidate.models.iter().map(|model| model.name.as_str()));
        let mut names: BTreeSet<&str> = named.collect();
        let lists = [&fallbacks.failure, &fallbacks.context_length, &fallbacks.content_policy];
        for (model, others) in lists.into_iter().flatten() {
            for name in others.iter().chain([model]) {
                if !takes_any && !names.contains(name.as_str()) {
                    return wrong(format!(
                        "the fallbacks of {model:?} name {name:?}, which no provider serves"
                    ));
                }
            }
        }
        names.extend(lists.into_iter().flat_map(|list| list.keys().map(String::as_str)));

        let list = |all: &HashMap<String, Vec<String>>, name: &str| -> Box<[Arc<str>]> {
            all.get(name).into_iter().flatten().map(|other| other.as_str().into()).collect()
        };
        let mut models = HashMap::new();
        for &name in &names {
            let model = Model {
                tiers: tiers(&offers, routing.strategy, Some(name))?,
                fallbacks: list(&fallbacks.failure, name),
                context_length: list(&fallbacks.context_length, name),
                content_policy: list(&fallbacks.content_policy, name),
            };
            models.insert(name.into(), Arc::new(model));
        }
        let any = if takes_any {
            let tiers = tiers(&offers, routing.strategy, None)?;
            let none = Box::default;
            Some(Arc::new(Model { tiers, fallbacks: none(), context_length: none(), content_policy: none() }))
        } else {
            None
        };
        Ok(Self {
            models,
            names: names.into_iter().map(Into::into).collect(),
            any,
            providers,
            default,
            last_resort: routing.last_resort,
            max_attempts: routing.max_attempts.get(),
        })
    }

    /// Who serves a model.
    pub(super) fn model(&self, name: Option<&str>) -> Option<&Arc<Model>> {
        name.and_then(|name| self.models.get(name)).or(self.any.as_ref())
    }

    /// Whether some provider takes any model.
    pub(super) fn takes_any(&self) -> bool {
        self.any.is_some()
    }

    /// Whether models are named at all.
    pub(super) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// The models that are named, in alphabetical order, each with who serves it first.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.names.iter().filter_map(|name| Some((&**name, self.models.get(name)?.owner())))
    }

    /// Who serves a model that is named first.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        self.models.get(name).map(|model| model.owner())
    }

    /// A provider, for whatever model.
    pub(super) fn provider(&self, name: &str) -> Option<&Arc<Target>> {
        self.providers.get(name)
    }

    pub(super) fn default_provider(&self) -> &Arc<Target> {
        &self.default
    }
}

// === impl Model ===

impl Model {
    /// Whether a refusal of it may lead to another model.
    pub(super) fn has_lists_of_refusals(&self) -> bool {
        !(self.context_length.is_empty() && self.content_policy.is_empty())
    }

    fn owner(&self) -> &str {
        let first = self.tiers.first().and_then(|tier| tier.targets.first());
        first.map_or("", |target| target.label.as_str())
    }
}

/// A provider with what it is to serve.
struct Offer<'a> {
    name: &'a str,
    provider: &'a Arc<dyn Provider>,
    vitals: &'a Arc<Vitals>,
    /// How busy it is; each of its targets has its own latency.
    load: Load,
    /// Whether anybody asks for its load.
    watched: bool,
    service: ProviderService,
    candidate: Candidate,
}

impl Offer<'_> {
    fn target(&self, model: Option<&ServedModel>) -> Target {
        let (load, service) = (self.load.sibling(), self.service.clone());
        let service = match self.watched {
            true => ProviderService::new(Watched::new(service, load.clone())),
            false => service,
        };
        Target {
            load,
            provider: Arc::clone(self.provider),
            vitals: Arc::clone(self.vitals),
            service,
            label: self.provider.name().clone(),
            upstream: model.and_then(|model| model.upstream.as_deref()).map(Upstream::new),
            clocks: model.map(|model| model.clocks).unwrap_or_default(),
            failover_after: model.and_then(|model| model.failover_after),
            weight: self.candidate.weight,
        }
    }
}

/// Who serves a model (`None`: any model), by priority.
fn tiers(offers: &[Offer<'_>], strategy: Strategy, model: Option<&str>) -> Result<Vec<Tier>, BuildError> {
    let mut tiers: BTreeMap<u32, Vec<Arc<Target>>> = BTreeMap::new();
    for offer in offers {
        let served = &offer.candidate.models;
        let served = match served.iter().find(|served| Some(served.name.as_str()) == model) {
            None if !served.is_empty() => continue,
            served => served,
        };
        tiers.entry(offer.candidate.priority).or_default().push(Arc::new(offer.target(served)));
    }
    if tiers.values().flatten().all(|target| target.weight == 0.0) {
        let what = model.map_or_else(|| "any model".to_owned(), |model| format!("model {model:?}"));
        return Err(BuildError::Routing(format!("every provider that serves {what} has the weight 0")));
    }
    let tiers = tiers.into_values().map(|mut targets| {
        targets.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        let members = targets.iter().map(|target| (target.weight, target.load.clone()));
        let balance = Balance::new(strategy, members);
        Tier { targets, balance }
    });
    Ok(tiers.collect())
}

// === impl Tier ===

impl Tier {
    /// Whoever of those that are `available` is asked first.
    pub(super) fn pick(&self, available: impl Fn(usize) -> bool, stream: bool) -> Option<usize> {
        self.balance.pick(available, stream)
    }
}

// === impl Target ===

impl Target {
    /// Whether both are the same registered provider. Its label does not tell: two may go by one.
    pub(super) fn is_of_the_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.vitals, &other.vitals)
    }

    /// Whether it takes requests for a model at present; `name` is what clients call it.
    pub(super) fn availability(&self, name: Option<&str>) -> Availability {
        match self.vitals.down_until() {
            Some(until) => Availability::Until(until),
            None => self.provider.availability(self.upstream.as_ref().map(|it| &*it.name).or(name)),
        }
    }
}

// === impl Upstream ===

impl Upstream {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), label: Label::new(name), header: HeaderValue::from_str(name).ok() }
    }
}
