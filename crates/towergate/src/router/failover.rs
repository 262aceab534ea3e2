//! One request's way from candidate to candidate.

use std::{num::NonZeroU32, sync::Arc};

use bytes::Bytes;
use http::{Extensions, HeaderValue, Request, Response, header::CONTENT_LENGTH};
use http_body::Body as _;
use tower::util::{Oneshot, ServiceExt as _};
use towergate_core::{
    Body, BoxError, Class, Error, ErrorKind, Facts,
    context::{
        Answered, AttemptClocks, LastResort, MaxAttempts, RequestId, RequestRecord, Served, Standby,
        carry_over,
    },
    headers::X_TOWERGATE_MODIFIED,
    label::Label,
    protocol::ReadRequest as _,
    route::ModelIn,
};
use towergate_layers::retry::replayable;
use towergate_openai::request::{replace, set_model, set_query_model};

use super::{
    Shared,
    order::Choice,
    plan::{Plan, instead},
    table::Table,
    verdict::{Verdict, judge},
};
use crate::ProviderService;

/// While another candidate stands ready, one gets no more than this.
const ATTEMPTS_EACH: u32 = 2;

/// A candidate that is being asked.
pub(super) struct Asked {
    pub(super) answer: Oneshot<ProviderService, Request<Body>>,
    pub(super) signature: Signature,
}

/// What an answer will say of who gave it.
#[derive(Debug)]
pub(super) struct Signature {
    provider: Label,
    model: Option<HeaderValue>,
    /// Whether the request names another model than the client did.
    renamed: bool,
}

/// Asks the only candidate.
pub(super) fn ask_alone(
    shared: &Shared,
    table: &Table,
    choice: &Choice,
    request: Request<Body>,
) -> Result<Asked, Error> {
    ask(shared, table, choice, request, table.max_attempts, false)
}

/// Asks one candidate after the other, until one answers.
pub(super) async fn ask_in_turn(
    shared: Arc<Shared>,
    table: Arc<Table>,
    plan: Plan,
    request: Request<Body>,
) -> Result<Response<Body>, BoxError> {
    let Plan { first, mut others, model } = plan;
    let mut request = request;
    let record = RequestRecord::of(request.extensions_mut());
    let reservation = record.reservation(&shared.memory);
    request = request.map(|body| replayable(body, shared.replay_cap, Some(reservation)));
    let (mut choice, mut fallbacks) = (first, 0);
    loop {
        // The lists of a refusal are those of the model that was asked for.
        let refusals = model.as_ref().filter(|_| choice.fallback.is_none());
        // The last one gets the request itself.
        let others_may = others.len() > 0 || refusals.is_some_and(|model| model.has_lists_of_refusals());
        let again = if others_may { copy(&request) } else { None };
        let standing = if again.is_some() { u32::try_from(others.len()).unwrap_or(u32::MAX) } else { 0 };
        let left = table.max_attempts.saturating_sub(record.attempts()).max(1);
        let attempts = match standing {
            0 => left,
            _ => left.saturating_sub(standing).clamp(1, ATTEMPTS_EACH),
        };
        let asked = ask(&shared, &table, &choice, request, attempts, standing > 0)?;
        let mut result = asked.answer.await;
        if let Ok(response) = &mut result {
            asked.signature.sign(response, fallbacks);
        }

        let Some(next) = again else { return result };
        let reason = match judge(&result) {
            Verdict::Final => return result,
            Verdict::Next(reason) => reason,
            Verdict::OtherModel(class) => {
                // The others of this model would refuse it too.
                let Some(model) = refusals else { return result };
                let list =
                    if class == Class::ContextLength { &model.context_length } else { &model.content_policy };
                let stream = next.extensions().get::<Arc<Facts>>().is_some_and(|facts| facts.stream);
                others = instead(&table, list, stream);
                class.as_str()
            }
        };
        // What is left of an upload that upstream did not wait for may be long in coming.
        let sendable = if result.is_ok() { next.body().is_buffered() } else { next.body().is_replayable() };
        if !sendable || record.attempts() >= table.max_attempts {
            return result;
        }
        let Some(other) = others.next() else { return result };
        hand_over(&choice, &other, reason, &next, &result);
        request = next;
        choice = other;
        fallbacks += 1;
    }
}

/// Sends a request to a candidate, as that one is to get it.
fn ask(
    shared: &Shared,
    table: &Table,
    choice: &Choice,
    mut request: Request<Body>,
    attempts: u32,
    standby: bool,
) -> Result<Asked, Error> {
    let target = &choice.target;
    let named = target.upstream.as_ref().map(|upstream| &upstream.name).or(choice.fallback.as_ref());
    let label = target.upstream.as_ref().map(|upstream| &upstream.label);
    let renamed = match named {
        Some(name) => rename(shared, &mut request, name, label)?,
        None => false,
    };
    let facts = request.extensions().get::<Arc<Facts>>();
    let model = match &target.upstream {
        Some(upstream) => upstream.header.clone(),
        None => facts.and_then(|facts| facts.model.as_deref()).and_then(shown),
    };
    let mut clocks = target.clocks;
    if let (true, Some(after)) = (standby && facts.is_some_and(|facts| facts.stream), target.failover_after) {
        clocks.head = Some(clocks.head.map_or(after, |head| head.min(after)));
        clocks.first_event = Some(clocks.first_event.map_or(after, |first| first.min(after)));
    }
    let extensions = request.extensions_mut();
    if clocks != AttemptClocks::default() {
        extensions.insert(clocks);
    }
    if let Some(attempts) = NonZeroU32::new(attempts).filter(|attempts| *attempts != NonZeroU32::MAX) {
        extensions.insert(MaxAttempts(attempts));
    }
    if standby {
        extensions.insert(Standby);
    } else if table.last_resort {
        extensions.insert(LastResort);
    }
    let signature = Signature { provider: target.label.clone(), model, renamed };
    Ok(Asked { answer: target.service.clone().oneshot(request), signature })
}

/// A name that a client made up, where a header of the answer may repeat it: clients refuse a header of a megabyte.
fn shown(model: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(model).ok().filter(|_| model.len() <= Facts::MAX_SHOWN)
}

/// Puts the provider's own name for the model where the request names it, and into what is known of it; whether
/// anything changed.
fn rename(
    shared: &Shared,
    request: &mut Request<Body>,
    name: &Arc<str>,
    label: Option<&Label>,
) -> Result<bool, Error> {
    let Some(facts) = request.extensions().get::<Arc<Facts>>() else { return Ok(false) };
    if facts.model.as_deref() == Some(&**name) {
        return Ok(false);
    }
    let impossible = || Error::new(ErrorKind::BadRequest, "the request's model cannot be set");
    let (mut renamed, length) = match facts.model_in.clone() {
        ModelIn::Body => {
            let Some(body) = request.body().as_bytes().filter(|body| !body.is_empty()) else {
                return Ok(false);
            };
            let body = set_model(body, name).ok_or_else(impossible)?;
            let renamed = shared.protocol.read(facts.route, &body)?;
            let length = body.len() as u64;
            *request.body_mut() = held(shared, request.extensions(), body)?.into();
            (renamed, Some(length))
        }
        ModelIn::Stream(place) => {
            let renamed = Facts::clone(facts);
            let body = replace(std::mem::take(request.body_mut()), place, name);
            let length = body.size_hint().exact();
            *request.body_mut() = body;
            (renamed, length)
        }
        ModelIn::Query => {
            let renamed = Facts::clone(facts);
            *request.uri_mut() = set_query_model(request.uri(), name).ok_or_else(impossible)?;
            (renamed, None)
        }
    };
    renamed.model = Some(Arc::clone(name));
    if let Some(label) = label {
        renamed.model_label = label.clone();
    }
    request.extensions_mut().insert(Arc::new(renamed));
    if request.headers_mut().remove(CONTENT_LENGTH).is_some()
        && let Some(length) = length
    {
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    Ok(true)
}

/// A body that was made here takes the memory of its request, as the one does that it was made of.
fn held(shared: &Shared, extensions: &Extensions, body: Bytes) -> Result<Bytes, Error> {
    let record = extensions.get::<Arc<RequestRecord>>();
    let memory = &shared.memory;
    let mut reservation = record.map_or_else(|| memory.reservation(), |record| record.reservation(memory));
    reservation.grow(body.len())?;
    Ok(reservation.hold(body))
}

/// The same request for another candidate, where its body can be sent again.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = carry_over(request.extensions());
    Some(copy)
}

fn hand_over(
    from: &Choice,
    to: &Choice,
    reason: &'static str,
    request: &Request<Body>,
    result: &Result<Response<Body>, BoxError>,
) {
    let extensions = request.extensions();
    tracing::warn!(
        from = from.target.label.as_str(),
        to = to.target.label.as_str(),
        reason,
        request_id = extensions.get().map(RequestId::as_str),
        status = result.as_ref().ok().map(|response| response.status().as_u16()),
        fallback_model = to.fallback.as_deref(),
        "another candidate takes over",
    );
    let from = from.target.label.to_shared();
    metrics::counter!("towergate_failovers_total", "provider" => from, "reason" => reason).increment(1);
}

// === impl Signature ===

impl Signature {
    /// Says on an answer who gave it, and what was changed for that.
    pub(super) fn sign(self, response: &mut Response<Body>, fallbacks: u32) {
        let Self { provider, model, renamed } = self;
        let extensions = response.extensions_mut();
        // Our own leaf has said so already; a stranger's service knows nothing of it.
        extensions.get_or_insert_with(|| Answered { provider });
        extensions.insert(Served { model, fallbacks });
        if renamed {
            response.headers_mut().append(X_TOWERGATE_MODIFIED, HeaderValue::from_static("model"));
        }
    }
}
