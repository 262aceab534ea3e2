//! [`Plan`]: who is asked for one request, and in which order.

use std::sync::Arc;

use http::Request;
use towergate_core::{
    Body, Error, ErrorKind, Facts,
    access::ClientAccess,
    headers::{X_TOWERGATE_FALLBACK_MODELS, X_TOWERGATE_PROVIDER},
};

use super::{
    order::{Choice, Order, Survey},
    table::{Model, Table, Target},
};

/// A client may name so many fallback models.
pub(crate) const MAX_CLIENT_FALLBACKS: usize = 8;

/// Who is asked for one request.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) first: Choice,
    /// Who takes over, in this order.
    pub(super) others: Order,
    /// The model as the client named it, for the lists that a refusal may call for.
    pub(super) model: Option<Arc<Model>>,
}

// === impl Plan ===

impl Plan {
    pub(super) fn of(table: &Table, request: &Request<Body>) -> Result<Self, Error> {
        let facts = request.extensions().get::<Arc<Facts>>();
        let name = facts.and_then(|facts| facts.model.as_deref());
        if let Some(asked) = request.headers().get(X_TOWERGATE_PROVIDER) {
            let found = asked.to_str().ok().and_then(|asked| table.provider(asked));
            return match found {
                Some(target) => Ok(Self::only(named_model(table, name, target).unwrap_or(target))),
                None => Err(Error::new(
                    ErrorKind::BadRequest,
                    "the header x-towergate-provider names no provider of this gateway",
                )
                .with_code("unknown_provider")),
            };
        }
        let bound = facts.is_none_or(|facts| facts.bound);
        let model = match (table.model(name), name) {
            (_, None) if bound => return Ok(Self::only(table.default_provider())),
            (None, None) => return Ok(Self::only(table.default_provider())),
            (None, Some(name)) => return Err(unknown_model(name)),
            (Some(model), _) => model,
        };
        if bound {
            // Always the same one, whether or not it is well: only it has what the request is about.
            let first = model.tiers.first().and_then(|tier| tier.targets.first());
            return Ok(Self::only(first.unwrap_or(table.default_provider())));
        }

        let mut survey = Survey::new(facts.is_some_and(|facts| facts.stream));
        survey.add(model, None, name);
        match (name, named_fallbacks(table, request)?) {
            (Some(name), Some(named)) => {
                let others = named.into_iter().filter(|fallback| *fallback != name);
                fall_back(table, &mut survey, others.map(Into::into));
            }
            _ => fall_back(table, &mut survey, model.fallbacks.iter().map(Arc::clone)),
        }
        let (first, others) = survey.finish(table.last_resort)?;
        Ok(Self { first, others, model: Some(Arc::clone(model)) })
    }

    fn only(target: &Arc<Target>) -> Self {
        Self { first: Choice::new(target, None), others: Order::default(), model: None }
    }
}

/// Whether the client says who is to serve a request.
pub(super) fn pinned(request: &Request<Body>) -> bool {
    request.headers().contains_key(X_TOWERGATE_PROVIDER)
}

/// The fallback models that the client names, in place of those of the configuration.
fn named_fallbacks<'a>(table: &Table, request: &'a Request<Body>) -> Result<Option<Vec<&'a str>>, Error> {
    let headers = request.headers();
    if !headers.contains_key(X_TOWERGATE_FALLBACK_MODELS) {
        return Ok(None);
    }
    let refused = |message: String| {
        Error::new(ErrorKind::BadRequest, message)
            .with_code("invalid_fallback_models")
            .with_param("x-towergate-fallback-models")
    };
    let mut named = Vec::new();
    for value in headers.get_all(X_TOWERGATE_FALLBACK_MODELS) {
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_| refused("the header x-towergate-fallback-models is no Unicode text".to_owned()))?;
        named.extend(text.split(',').map(str::trim).filter(|name| !name.is_empty()));
    }
    if named.len() > MAX_CLIENT_FALLBACKS {
        return Err(refused(format!(
            "the header x-towergate-fallback-models names more than {MAX_CLIENT_FALLBACKS} models"
        )));
    }
    let access = request.extensions().get::<Arc<ClientAccess>>();
    for name in &named {
        access.map_or(Ok(()), |access| access.check_name(name))?;
        if table.model(Some(name)).is_none() {
            return Err(unknown_model(name));
        }
    }
    Ok(Some(named))
}

/// The models of a refusal's list, as candidates.
pub(super) fn instead(table: &Table, models: &[Arc<str>], stream: bool) -> Order {
    let mut survey = Survey::new(stream);
    fall_back(table, &mut survey, models.iter().map(Arc::clone));
    survey.into_order()
}

fn fall_back(table: &Table, survey: &mut Survey, models: impl Iterator<Item = Arc<str>>) {
    for name in models {
        if let Some(model) = table.model(Some(&name)) {
            survey.add(model, Some(&name), Some(&name));
        }
    }
}

/// The provider as one that serves this model: under its own name for it.
fn named_model<'a>(table: &'a Table, name: Option<&str>, provider: &Target) -> Option<&'a Arc<Target>> {
    let targets = table.model(name)?.tiers.iter().flat_map(|tier| &tier.targets);
    targets.into_iter().find(|target| target.is_of_the_same(provider))
}

pub(super) fn unknown_model(name: &str) -> Error {
    let name: String = name.chars().take(100).collect();
    let message = format!("the model {name:?} is served by no provider of this gateway");
    Error::new(ErrorKind::NotFound, message)
        .with_code("model_not_found")
        .with_param("model")
        .with_setting("models")
}
