//! [`OpenAiProtocol`]: what the layers ask of a protocol, answered for OpenAI's.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use towergate_core::{
    Class, Error, Facts, Route,
    access::ClientAccess,
    label::Labels,
    protocol::{Classify, ReadForm, ReadRequest, RenderError, Routes},
    route::{ModelIn, Reads},
};

use crate::{
    envelope,
    request::{self, Form},
    routes,
};

/// OpenAI's routes, requests, error envelope and error codes. Cheap to clone.
///
/// ```
/// use bytes::Bytes;
/// use http::Method;
/// use towergate_core::protocol::{ReadRequest as _, Routes as _};
/// use towergate_openai::protocol::OpenAiProtocol;
///
/// let protocol = OpenAiProtocol::new().with_thinking("my-model", true);
/// let route = protocol.route(&Method::POST, "/responses");
/// let facts = protocol.read(route, &Bytes::from(r#"{"model":"my-model","stream":true}"#))?;
/// assert!(facts.stream && facts.silent_first_event);
/// assert_eq!(facts.model_label.as_str(), "other");
/// # Ok::<(), towergate_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct OpenAiProtocol {
    models: Labels,
    thinking: Arc<HashMap<Box<str>, bool>>,
}

// === impl OpenAiProtocol ===

impl OpenAiProtocol {
    /// OpenAI's own model names become metric labels; the o-series, and gpt-5 and later, are known
    /// to think.
    #[must_use]
    pub fn new() -> Self {
        Self { models: Labels::new(request::MODELS.iter().copied()), thinking: Arc::default() }
    }

    /// Sets the model names that may become metric labels, in place of OpenAI's own
    /// ([`MODELS`](request::MODELS)).
    #[must_use]
    pub fn with_models(mut self, models: Labels) -> Self {
        self.models = models;
        self
    }

    /// Says whether a model thinks before its first event, and so may be silent for as long as the
    /// total timeout allows. Unset: [`is_known_to_think`](request::is_known_to_think).
    #[must_use]
    pub fn with_thinking(mut self, model: &str, thinks: bool) -> Self {
        Arc::make_mut(&mut self.thinking).insert(model.into(), thinks);
        self
    }

    /// Whether a model thinks, where it was said by [`with_thinking`](Self::with_thinking).
    #[must_use]
    pub fn thinks(&self, model: &str) -> Option<bool> {
        self.thinking.get(model).copied()
    }

    fn with_model(&self, facts: Facts, model: &str, model_in: ModelIn) -> Facts {
        Facts { model: Some(model.into()), model_label: self.models.of(model).clone(), model_in, ..facts }
    }
}

impl Default for OpenAiProtocol {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes for OpenAiProtocol {
    fn route(&self, method: &Method, path: &str) -> &'static Route {
        routes::find(method, path)
    }

    fn base_path(&self) -> &str {
        routes::BASE_PATH
    }
}

impl ReadRequest for OpenAiProtocol {
    fn facts(&self, route: &'static Route) -> Facts {
        Facts::of_route(route, self.models.other().clone())
    }

    fn read(&self, route: &'static Route, body: &Bytes) -> Result<Facts, Error> {
        let request = request::read(route, body)?;
        let model = request.model.as_deref();
        let thinks = || {
            let by_name = |model| self.thinks(model).unwrap_or_else(|| request::is_known_to_think(model));
            model.is_some_and(by_name)
        };
        Ok(Facts {
            model: model.map(Into::into),
            model_label: model.map_or(self.models.other(), |model| self.models.of(model)).clone(),
            stream: request.stream,
            include_usage: request.include_usage,
            choices: request.choices.map_or(1, NonZeroU32::get),
            silent_head: route.generates && !request.stream,
            silent_first_event: (route.generates || request.stream)
                && request.reasoning.unwrap_or_else(thinks),
            bound: request.refers || !route.stateless,
            ..self.facts(route)
        })
    }

    /// A WebSocket names its model in the query.
    fn read_head(&self, route: &'static Route, uri: &Uri) -> Result<Facts, Error> {
        let facts = self.facts(route);
        if route.name != "realtime.connect" {
            return Ok(facts);
        }
        let model = request::query_model(uri)?;
        Ok(model.map_or(facts.clone(), |model| self.with_model(facts, &model, ModelIn::Query)))
    }

    /// Where JSON is expected, a form is read all the same: which provider it is for is better found than guessed.
    /// Strictly read is only one that is expected.
    fn read_form(
        &self,
        route: &'static Route,
        headers: &HeaderMap,
        access: Option<&Arc<ClientAccess>>,
    ) -> Result<Option<Box<dyn ReadForm>>, Error> {
        let access = access.filter(|access| access.restricts_models());
        let form = match access {
            Some(_) if route.reads.form() => Form::strict(headers)?,
            None if route.reads != Reads::Nothing => Form::new(headers),
            _ => None,
        };
        let access = access.cloned();
        Ok(form.map(|form| Box::new(FormFacts { form, route, protocol: self.clone(), access }) as _))
    }

    fn check_head(&self, access: &ClientAccess, route: &'static Route, uri: &Uri) -> Result<(), Error> {
        request::check_query(access, uri)?;
        if route.name == "realtime.calls.create" {
            // Its session is in a part of a form, or in nothing but the query.
            return access.check_no_model();
        }
        Ok(())
    }

    fn check_body(&self, access: &ClientAccess, route: &'static Route, body: &Bytes) -> Result<(), Error> {
        request::check_body(access, route, body)
    }
}

/// The facts of a form, as it comes.
struct FormFacts {
    form: Form,
    route: &'static Route,
    protocol: OpenAiProtocol,
    /// Of a key that is restricted to models.
    access: Option<Arc<ClientAccess>>,
}

impl ReadForm for FormFacts {
    fn read(&mut self, data: &[u8]) -> Result<(), Error> {
        self.form.read(data)
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.form.finish()?;
        match &self.access {
            Some(access) if request::runs_model(self.route) && self.form.model().is_none() => {
                access.check_no_model()
            }
            _ => Ok(()),
        }
    }

    fn facts(&self) -> Option<Facts> {
        let facts = || self.protocol.facts(self.route);
        match self.form.model() {
            Some((model, place)) => Some(self.protocol.with_model(facts(), model, ModelIn::Stream(place))),
            None => self.form.is_over().then(facts),
        }
    }
}

impl RenderError for OpenAiProtocol {
    fn body(&self, _: StatusCode, error: &Error) -> Bytes {
        envelope::body(error)
    }

    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/json")
    }

    fn event(&self, route: Option<&'static Route>, error: &Error) -> Bytes {
        envelope::event(route, error)
    }
}

impl Classify for OpenAiProtocol {
    fn classify(&self, status: StatusCode, _: &HeaderMap, body: Option<&[u8]>) -> Class {
        envelope::classify(status, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(path: &str, body: &'static str) -> Facts {
        let protocol = OpenAiProtocol::new();
        protocol.read(protocol.route(&Method::POST, path), &Bytes::from_static(body.as_bytes())).unwrap()
    }

    #[test]
    fn silence_is_known_from_the_request_and_the_model() {
        let chat = "/chat/completions";
        let plain = facts(chat, r#"{"model":"gpt-4o"}"#);
        assert!(plain.silent_head && !plain.silent_first_event);
        let streamed = facts(chat, r#"{"model":"gpt-5-mini","stream":true}"#);
        assert!(!streamed.silent_head && streamed.silent_first_event);
        assert!(!facts(chat, r#"{"model":"gpt-5","reasoning_effort":"none"}"#).silent_first_event);
        assert!(facts(chat, r#"{"model":"x","reasoning_effort":"low"}"#).silent_first_event);
        let embeddings = facts("/embeddings", r#"{"model":"x"}"#);
        assert!(!embeddings.silent_head && !embeddings.silent_first_event);
    }

    #[test]
    fn a_setting_beats_the_name() {
        let protocol = OpenAiProtocol::new().with_thinking("gpt-5", false).with_thinking("mine", true);
        let route = protocol.route(&Method::POST, "/responses");
        for (model, thinks) in [("gpt-5", false), ("mine", true), ("o3", true), ("other", false)] {
            let facts = protocol.read(route, &format!(r#"{{"model":"{model}"}}"#).into()).unwrap();
            assert_eq!(facts.silent_first_event, thinks, "{model}");
        }
    }

    #[test]
    fn only_known_models_become_labels() {
        let chat = "/chat/completions";
        assert_eq!(facts(chat, r#"{"model":"gpt-4o"}"#).model_label.as_str(), "gpt-4o");
        let junk = facts(chat, r#"{"model":"gpt-4o2"}"#);
        assert_eq!((junk.model_label.as_str(), junk.model.as_deref()), ("other", Some("gpt-4o2")));
    }
}
