//! The list of models: what this gateway serves, to the client that asks.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
        RANGE,
    },
};
use http_body_util::{BodyExt as _, Limited};
use towergate_core::{Body, BoxError, Error, ErrorKind, Facts, access::ClientAccess};
use towergate_openai::listing::{self, Listed};

use super::{
    Shared,
    failover::ask_in_turn,
    plan::{Plan, pinned, unknown_model},
    table::Table,
};

/// How long an upstream's list may be.
const MAX_LIST: usize = 8 * 1024 * 1024;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Asks {
    /// It is about no model list, or about an upstream's own as it is.
    Other,
    /// The gateway knows the answer.
    Known(Response<Body>),
    /// An upstream's list is wanted too: some provider takes any model.
    List(Listing),
}

/// What is done to an upstream's list.
#[derive(Debug)]
pub(super) struct Listing {
    access: Option<Arc<ClientAccess>>,
    /// Whether the gateway's own models are put in front.
    with_own: bool,
}

/// Looks whether a request is one for models, and what of it the gateway knows.
pub(super) fn asks(table: &Table, request: &Request<Body>) -> Result<Asks, Error> {
    let extensions = request.extensions();
    let Some(facts) = extensions.get::<Arc<Facts>>() else { return Ok(Asks::Other) };
    let access = extensions.get::<Arc<ClientAccess>>();
    match facts.route.name {
        "models.list" => {}
        "models.get" => {
            let Some(name) = listing::named_by(request.uri().path()) else {
                return match access {
                    Some(access) => access.check_no_model().map(|()| Asks::Other),
                    None => Ok(Asks::Other),
                };
            };
            if access.is_some_and(|access| !access.allows_model(&name)) {
                return Err(unknown_model(&name));
            }
            return match table.named(&name) {
                Some(owner) => Ok(Asks::Known(answer(Listed::new(&name, owner).to_json()))),
                None if table.takes_any() => Ok(Asks::Other),
                None => Err(unknown_model(&name)),
            };
        }
        _ => return Ok(Asks::Other),
    }
    let with_own = table.has_names() && !pinned(request);
    if !table.takes_any() && with_own {
        let own = listing::list(own(table, access), None, |_| true).unwrap_or_default();
        return Ok(Asks::Known(answer(own)));
    }
    match access {
        None if !with_own => Ok(Asks::Other),
        access => Ok(Asks::List(Listing { access: access.cloned(), with_own })),
    }
}

/// Asks an upstream for its list, and puts that of the gateway together.
pub(super) async fn list(
    shared: Arc<Shared>,
    table: Arc<Table>,
    plan: Plan,
    mut request: Request<Body>,
    Listing { access, with_own }: Listing,
) -> Result<Response<Body>, BoxError> {
    // It is read here, and is another one than the client may have.
    for field in [ACCEPT_ENCODING, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE] {
        request.headers_mut().remove(field);
    }
    let response = ask_in_turn(shared, Arc::clone(&table), plan, request).await?;
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let upstream = match Limited::new(body, MAX_LIST).collect().await {
        Ok(upstream) => upstream.to_bytes(),
        Err(error) if Error::find(&*error).is_some() => return Err(error),
        Err(error) => return Err(no_list().with_source(error).into()),
    };
    let own = own(&table, access.as_ref()).filter(|_| with_own);
    let reaches = |model: &str| access.as_ref().is_none_or(|access| access.allows_model(model));
    let list = listing::list(own, Some(&upstream), reaches).ok_or_else(no_list)?;
    for field in [CONTENT_LENGTH, ETAG, LAST_MODIFIED] {
        parts.headers.remove(field);
    }
    Ok(Response::from_parts(parts, list.into()))
}

fn own<'a>(table: &'a Table, access: Option<&'a Arc<ClientAccess>>) -> impl Iterator<Item = Listed<'a>> {
    table
        .names()
        .filter(move |(name, _)| access.is_none_or(|access| access.allows_model(name)))
        .map(|(name, owner)| Listed::new(name, owner))
}

fn answer(json: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn no_list() -> Error {
    Error::new(
        ErrorKind::BadAnswer,
        "a provider that takes any model answered GET /models with no list of models",
    )
}
