//! The router: finds who may serve a request, and lets another one take over before the client has got
//! anything.
//!
//! **Where.** Below intake, which reads the model, and above the providers' own stacks.
//!
//! **Who.** The model's candidates (those that name it, and those that take any), by `priority`; among
//! those of one priority by `weight`, exact to within one request, or by another [`Strategy`]. Those that are set aside are passed
//! over while others stand. Then the candidates of the model's fallback models. A request that is bound
//! to one provider (it is about a file, a batch, a stored response, a conversation) goes to the one that
//! the header `x-towergate-provider` names, else to the first of its model's, else to the default one;
//! to nobody else, whatever comes of it.
//!
//! **Taking over.** Where a candidate fails in a way that another may not (429, a used-up quota, a refused
//! credential, 5xx, no connection, a clock of the attempt, an answer that is none) the next one is asked,
//! as long as attempts are left, the request's deadline has not come, and the body can be sent again.
//! While `k` others stand, one gets at most two attempts and leaves `k` for them, and repeats nothing that
//! it would have to wait for. A refusal for the length or the content of a request goes to the models
//! listed for that, if any are.
//!
//! **Models.** `GET /models` and `/models/{id}` are answered here where models are named; where a provider
//! takes any, its list is put behind the names. A client that is restricted to models sees those.
//!
//! **Reads** on the request: [`Arc<Facts>`](towergate_core::Facts), the
//! [`RequestRecord`](towergate_core::context::RequestRecord)'s attempts, the header
//! `x-towergate-provider` and `x-towergate-fallback-models`, which go no further, and
//! [`Arc<ClientAccess>`](towergate_core::access::ClientAccess). **Writes** on it: `MaxAttempts`, `Standby`, `LastResort`, `AttemptClocks`, and, where the
//! provider knows the model by another name, that name in the body and in the facts. On the answer:
//! [`Served`](towergate_core::context::Served).
//!
//! **Dropped** at any time: the candidate that is being asked is dropped with it. Nothing is spawned.
//!
//! | metric | labels |
//! |---|---|
//! | `towergate_failovers_total` | `provider` (which gave up), `reason` |

mod balance;
mod failover;
mod load;
mod models;
mod order;
mod plan;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod verdict;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower_service::Service;
use towergate_core::{
    Body, BoxError, Error,
    headers::{X_TOWERGATE_FALLBACK_MODELS, X_TOWERGATE_PROVIDER},
    memory::MemoryBudget,
};
use towergate_openai::protocol::OpenAiProtocol;

pub use self::settings::{Candidate, Routing, ServedModel, Strategy};
use self::{
    failover::{Asked, Signature, ask_alone, ask_in_turn},
    models::Asks,
    plan::Plan,
    table::{Model, Table},
};
#[cfg(feature = "config")]
pub(crate) use self::{plan::MAX_CLIENT_FALLBACKS, settings::MAX_ATTEMPTS};
use crate::{BuildError, ProviderService};

/// How much of a streamed upload is kept for another candidate.
const REPLAY_CAP: usize = 1024 * 1024;

/// The service; see the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Router {
    table: Arc<Table>,
    shared: Arc<Shared>,
}

/// What all requests need.
#[derive(Debug)]
struct Shared {
    protocol: OpenAiProtocol,
    memory: MemoryBudget,
    replay_cap: usize,
}

pin_project! {
    /// The future of [`Router`].
    pub(crate) struct ResponseFuture {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProj]
    enum State {
        Refused { error: Option<Error> },
        Known { answer: Option<Response<Body>> },
        /// There is one candidate: nothing is kept for another.
        Alone { #[pin] answer: Oneshot<ProviderService, Request<Body>>, signature: Option<Signature> },
        InTurn { answer: Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>> },
    }
}

// === impl Router ===

impl Router {
    pub(crate) fn new(
        routing: &Routing,
        protocol: OpenAiProtocol,
        memory: MemoryBudget,
    ) -> Result<Self, BuildError> {
        let shared = Shared { protocol, memory, replay_cap: REPLAY_CAP };
        Ok(Self { table: Arc::new(Table::new(routing)?), shared: Arc::new(shared) })
    }

    fn route(&self, mut request: Request<Body>) -> Result<State, Error> {
        let listing = match models::asks(&self.table, &request)? {
            Asks::Known(answer) => return Ok(State::Known { answer: Some(answer) }),
            Asks::List(listing) => Some(listing),
            Asks::Other => None,
        };
        let plan = Plan::of(&self.table, &request)?;
        // They are ours.
        for field in [X_TOWERGATE_PROVIDER, X_TOWERGATE_FALLBACK_MODELS] {
            request.headers_mut().remove(field);
        }
        if let Some(listing) = listing {
            let (shared, table) = (Arc::clone(&self.shared), Arc::clone(&self.table));
            return Ok(State::InTurn {
                answer: Box::pin(models::list(shared, table, plan, request, listing)),
            });
        }
        if plan.others.len() == 0 && !plan.model.as_deref().is_some_and(Model::has_lists_of_refusals) {
            let Asked { answer, signature } = ask_alone(&self.shared, &self.table, &plan.first, request)?;
            return Ok(State::Alone { answer, signature: Some(signature) });
        }
        let answer = ask_in_turn(Arc::clone(&self.shared), Arc::clone(&self.table), plan, request);
        Ok(State::InTurn { answer: Box::pin(answer) })
    }
}

impl Service<Request<Body>> for Router {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = ResponseFuture;

    /// Whether a provider is ready is asked once it is known which.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        let state = self.route(request).unwrap_or_else(|error| State::Refused { error: Some(error) });
        ResponseFuture { state }
    }
}

// === impl ResponseFuture ===

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Refused { error } => match error.take() {
                Some(error) => Poll::Ready(Err(error.into())),
                None => Poll::Pending,
            },
            StateProj::Known { answer } => {
                answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer)))
            }
            StateProj::Alone { answer, signature } => {
                let mut result = ready!(answer.poll(cx));
                if let (Ok(response), Some(signature)) = (&mut result, signature.take()) {
                    signature.sign(response, 0);
                }
                Poll::Ready(result)
            }
            StateProj::InTurn { answer } => answer.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}
