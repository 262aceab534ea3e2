//! [`ClientAccess`]: what a client's key reaches.

use std::{borrow::Cow, collections::HashSet};

use crate::{Error, ErrorKind, Facts, Route, route::Reads};

/// What a client's key reaches. A request extension (`Arc<ClientAccess>`) where that is not everything.
///
/// With [models](Self::allowed_models) and no [endpoints](Self::allowed_endpoints) it is the endpoints that
/// run a model and keep nothing ([`Route::stateless`]): through a file or a batch any model could be
/// reached, and what others have stored could be read. For the same reason a request reaches what is stored
/// (an earlier response, a conversation, a file) only with the endpoint at which that is kept
/// ([`check_stored`](Self::check_stored)).
///
/// A key that is [restricted to models](Self::restricts_models) holds however the server behind the gateway
/// may read the bytes: requests that two servers could read differently are refused, and so are paths
/// of unknown endpoints.
///
/// ```
/// use towergate_core::access::ClientAccess;
///
/// let access = ClientAccess::all().allowed_models(["gpt-4o-mini"]).allowed_endpoints(["/v1/chat/completions"]);
/// assert!(access.allows_model("gpt-4o-mini") && !access.allows_model("gpt-4o"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct ClientAccess {
    models: Option<HashSet<Box<str>>>,
    endpoints: Option<Vec<Box<str>>>,
}

// === impl ClientAccess ===

impl ClientAccess {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only these models, by the names that clients use. Default: all. What the gateway falls back to on
    /// its own is not asked about.
    pub fn allowed_models<M: Into<String>>(mut self, models: impl IntoIterator<Item = M>) -> Self {
        self.models = Some(models.into_iter().map(|model| model.into().into()).collect());
        self
    }

    /// Only these endpoints, each with all that is below it: `/files` is also `/files/{id}/content`. With or
    /// without the base path `/v1`; `/v1` or `/` alone is every endpoint. Default: all, or as
    /// [above](Self) for a key that is restricted to models.
    pub fn allowed_endpoints<E: AsRef<str>>(mut self, endpoints: impl IntoIterator<Item = E>) -> Self {
        let path = |endpoint: E| {
            let path = endpoint.as_ref().trim_end_matches('*').trim_matches('/');
            let path = path
                .strip_prefix("v1")
                .filter(|rest| rest.is_empty() || rest.starts_with('/'))
                .unwrap_or(path);
            path.trim_matches('/').into()
        };
        self.endpoints = Some(endpoints.into_iter().map(path).collect());
        self
    }

    /// Whether it is everything.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it reaches a model of this name.
    #[must_use]
    pub fn allows_model(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.contains(model))
    }

    /// Whether it reaches certain models only.
    #[must_use]
    pub fn restricts_models(&self) -> bool {
        self.models.is_some()
    }

    /// Whether it reaches an endpoint. Asked before the body is read.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`]; where it is restricted to models also for each path that is no
    /// [known](Route::is_known) endpoint, since the server behind the gateway may take it for one that runs a
    /// model.
    pub fn check_route(&self, route: &Route) -> Result<(), Error> {
        if self.restricts_models() && !route.is_known() {
            return Err(unreached_endpoint(
                "the client key reaches certain models only, and the path and method are those of no endpoint that \
                 is known here: which model it would reach cannot be told",
            ));
        }
        let allowed = match &self.endpoints {
            Some(_) => self.reaches(route.template),
            None => self.models.is_none() || route.stateless,
        };
        if allowed {
            return Ok(());
        }
        Err(unreached_endpoint(format!("the client key does not reach the endpoint {}", route.name)))
    }

    /// Whether it reaches what a request refers to with its field `param`, and what is kept at the endpoint with this
    /// template: an earlier response at `/responses/{id}`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`].
    pub fn check_stored(&self, param: &'static str, template: &str) -> Result<(), Error> {
        if self.is_all() || self.reaches(template) {
            return Ok(());
        }
        let message = format!(
            "the request refers with {param:?} to what is kept at {template}, and the client key does not reach \
             that endpoint"
        );
        Err(unreached_endpoint(message).with_param(param))
    }

    /// Whether it reaches the model that a request names. `tunnelled` is a request that becomes a
    /// WebSocket, in which a model could be named that nobody sees.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`]; also where no model is named and one would run.
    pub fn check_model(&self, facts: &Facts, tunnelled: bool) -> Result<(), Error> {
        if self.models.is_none() {
            return Ok(());
        }
        let route = facts.route;
        let runs_one = tunnelled || route.generates || (route.stateless && route.reads != Reads::Nothing);
        match facts.model.as_deref() {
            Some(model) => self.check_name(model),
            None if runs_one => self.check_no_model(),
            None => Ok(()),
        }
    }

    /// Whether a body may pass that is not read, though those of its endpoint are: it is not of the type that the endpoint
    /// takes, or in an encoding.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`].
    pub fn check_unread(&self, route: &Route) -> Result<(), Error> {
        let expected = match route.reads {
            Reads::Json => "JSON (application/json, in UTF-8)",
            Reads::Form => "a form (multipart/form-data)",
            Reads::JsonOrForm => "JSON (application/json, in UTF-8) or a form (multipart/form-data)",
            Reads::Nothing => return Ok(()),
        };
        if self.models.is_none() {
            return Ok(());
        }
        Err(unreached_model(format!(
            "the client key reaches certain models only, and the body cannot be searched for its model: the endpoint \
             {} takes {expected}, without a content encoding",
            route.name
        )))
    }

    /// Whether a request may run a model that it does not name: upstream would pick one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`].
    pub fn check_no_model(&self) -> Result<(), Error> {
        if self.models.is_none() {
            return Ok(());
        }
        Err(unreached_model(
            "the client key reaches certain models only, and no model was found in the request (in a multipart \
             body it must stand in the first 64 KiB)",
        ))
    }

    /// Whether it reaches a model of this name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`].
    pub fn check_name(&self, model: &str) -> Result<(), Error> {
        if self.allows_model(model) {
            return Ok(());
        }
        let model: String = model.chars().take(100).collect();
        Err(unreached_model(format!("the client key does not reach the model {model:?}")))
    }

    /// Whether one of the endpoints that it names is this one, or above it.
    fn reaches(&self, template: &str) -> bool {
        self.endpoints.iter().flatten().any(|endpoint| is_below(template, endpoint))
    }
}

fn unreached_endpoint(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Forbidden, message)
        .with_code("endpoint_not_allowed")
        .with_setting("client_keys.allowed_endpoints")
}

fn unreached_model(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Forbidden, message)
        .with_code("model_not_allowed")
        .with_param("model")
        .with_setting("client_keys.allowed_models")
}

/// Whether a template is a path or below it.
fn is_below(template: &str, path: &str) -> bool {
    let template = template.strip_prefix('/').unwrap_or(template);
    path.is_empty()
        || template.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Label;

    const fn route(template: &'static str, reads: Reads, generates: bool, stateless: bool) -> Route {
        Route {
            name: "route",
            index: 0,
            template,
            reads,
            requires_model: false,
            generates,
            holds_answer: true,
            bare: true,
            stateless,
        }
    }

    static CHAT: Route = route("/chat/completions", Reads::Json, true, true);
    static MODELS: Route = route("/models", Reads::Nothing, false, true);
    static FILES: Route = route("/files", Reads::Nothing, false, false);
    static CONTENT: Route = route("/files/{id}/content", Reads::Nothing, false, false);
    static OTHER: Route = route("/{rest}", Reads::Nothing, false, false);

    fn reaches(access: &ClientAccess, route: &Route) -> bool {
        access.check_route(route).is_ok()
    }

    fn facts(route: &'static Route, model: Option<&str>) -> Facts {
        Facts { model: model.map(Into::into), ..Facts::of_route(route, Label::new("other")) }
    }

    #[test]
    fn a_key_restricted_to_models_reaches_what_runs_them() {
        let access = ClientAccess::all().allowed_models(["a"]);
        assert!(reaches(&access, &CHAT) && reaches(&access, &MODELS));
        assert!(!reaches(&access, &FILES) && !reaches(&access, &OTHER));
        let checked = |route, model, tunnelled| access.check_model(&facts(route, model), tunnelled).is_ok();
        assert!(checked(&CHAT, Some("a"), false) && !checked(&CHAT, Some("b"), false));
        assert!(!checked(&CHAT, None, false), "upstream would pick one");
        assert!(checked(&MODELS, None, false));
        let files = access.allowed_endpoints(["/files"]);
        assert!(files.check_model(&facts(&FILES, None), false).is_ok());
        assert!(files.check_model(&facts(&FILES, None), true).is_err());
    }

    #[test]
    fn endpoints_are_paths_and_what_is_below_them() {
        for files in ["/files", "/v1/files", "files/", "/v1/files/*"] {
            let access = ClientAccess::all().allowed_endpoints([files]);
            assert!(reaches(&access, &FILES) && reaches(&access, &CONTENT), "{files}");
            assert!(!reaches(&access, &CHAT) && !reaches(&access, &OTHER), "{files}");
        }
        assert!(!reaches(&ClientAccess::all().allowed_endpoints(["/file"]), &FILES));
        assert!(!reaches(&ClientAccess::all().allowed_endpoints([""; 0]), &FILES));
        for all in ["/", "/v1", "*", "/v1/*"] {
            let access = ClientAccess::all().allowed_endpoints([all]);
            assert!([&CHAT, &FILES, &CONTENT, &OTHER].iter().all(|route| reaches(&access, route)), "{all}");
            let access = access.allowed_models(["a"]);
            assert!([&CHAT, &FILES, &CONTENT].iter().all(|route| reaches(&access, route)), "{all}");
            let refused = access.check_route(&OTHER).unwrap_err();
            assert!(refused.to_string().contains("no endpoint that is known"), "{refused}");
        }
    }

    #[test]
    fn what_is_stored_is_reached_with_the_endpoint_that_keeps_it() {
        let stored = |access: &ClientAccess| access.check_stored("conversation", "/conversations/{id}");
        assert!(stored(&ClientAccess::all()).is_ok());
        for endpoint in ["/v1", "/v1/conversations", "/conversations/{id}"] {
            let access = ClientAccess::all().allowed_models(["a"]).allowed_endpoints([endpoint]);
            assert!(stored(&access).is_ok(), "{endpoint}");
        }
        let models = ClientAccess::all().allowed_models(["a"]);
        for access in [models.clone(), models.allowed_endpoints(["/v1/responses"])] {
            let refused = stored(&access).unwrap_err();
            assert_eq!((refused.code(), refused.param()), ("endpoint_not_allowed", Some("conversation")));
            assert!(refused.to_string().contains("/conversations/{id}"), "{refused}");
        }
    }

    #[test]
    fn the_refusal_names_the_setting() {
        let access = ClientAccess::all().allowed_models(["a"]);
        let refused = access.check_model(&facts(&CHAT, Some("b")), false).unwrap_err();
        assert_eq!((refused.kind(), refused.code()), (ErrorKind::Forbidden, "model_not_allowed"));
        assert!(refused.to_string().contains("\"b\" [setting: client_keys.allowed_models]"), "{refused}");
        let refused = access.check_route(&FILES).unwrap_err();
        assert_eq!((refused.kind(), refused.code()), (ErrorKind::Forbidden, "endpoint_not_allowed"));
        assert!(ClientAccess::all().is_all() && !access.is_all());
    }
}
