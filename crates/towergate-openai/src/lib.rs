//! The OpenAI service of towergate.
//!
//! | module | what is in it |
//! |---|---|
//! | [`service`] | [`OpenAi`](service::OpenAi): the leaf, a tower service over hyper's pooled client |
//! | [`mod@env`] | `OPENAI_*` |
//! | [`file_watch`] | files that are followed, and never taken over half written |
//! | [`secret`] | keys from files, FIFOs and the environment, rotating |
//! | [`routes`] | the route table |
//! | [`protocol`] | [`OpenAiProtocol`](protocol::OpenAiProtocol): what the layers ask of a protocol: routes, requests, envelope, codes |
//! | [`request`] | the shallow look at a request body |
//! | [`listing`] | the list of models, as a gateway gives it |
//! | [`envelope`] | the error envelope: written for our errors, read from upstream's |
//! | [`sse`] | the event reader |
//! | [`answer`] | the body that reads an answer as it passes, and publishes what it saw |
//! | [`types`] | requests and responses, typed, for the client |
//! | [`client`] | the typed client, over any service of the leaf's kind |

pub mod answer;
mod api;
pub mod client;
pub mod env;
pub mod envelope;
pub mod file_watch;
mod json;
pub mod listing;
pub mod protocol;
pub mod request;
pub mod routes;
pub mod secret;
pub mod service;
pub mod sse;
pub mod types;
