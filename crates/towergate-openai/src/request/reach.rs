//! What a request reaches beside the model that it is routed by, checked against its client's key.
//!
//! A second look at the body, for keys that do not reach everything. Looked for are
//!
//! * models: under every key that names some (`models`, `fallbacks` and their kind, the `model` of a tool, of a session, of
//!   a transcription in it, of a moderation), in any case and at any depth. Each must be one that the key reaches.
//! * what refers to something stored (`previous_response_id`, `conversation`, a stored `prompt`, item references, files,
//!   vector stores, containers, skills). Each needs the endpoint at which that is kept.
//!
//! Not looked at is what is a client's own and no setting of a server's: metadata, JSON schemas, and, for models, the texts
//! of a conversation.

use http::Uri;
use towergate_core::{Error, ErrorKind, Route, access::ClientAccess};

use super::names::{names_models, plain};
use crate::{
    json::{Fault, Reader, decode},
    routes::PROMPTS,
};

/// A body may be nested so deep; no request of an SDK comes near it. What is the client's own is not counted.
const MAX_DEPTH: usize = 100;

/// Whether a client may send this body.
///
/// # Errors
///
/// [`ErrorKind::Forbidden`] where its key does not reach what the body names or refers to.
/// [`ErrorKind::BadRequest`] where that cannot be told: the body is not UTF-8, or nested too deep.
pub fn check_body(access: &ClientAccess, route: &Route, body: &[u8]) -> Result<(), Error> {
    if std::str::from_utf8(body).is_err() {
        return Err(unclear("the request body is not UTF-8", "invalid_json"));
    }
    let mut look = Look { access, route, depth: 0, names_model: false, refused: None };
    // A fault is none of the body, which was read before: it stands for the refusal.
    let _ = look.value(&mut Reader::new(body), Place::Settings);
    match look.refused {
        Some(refused) => Err(refused),
        None if runs_model(route) && !look.names_model => access.check_no_model(),
        None => Ok(()),
    }
}

/// Whether a client may name the models that are in its URI's query.
///
/// # Errors
///
/// [`ErrorKind::Forbidden`] where its key does not reach one.
pub fn check_query(access: &ClientAccess, uri: &Uri) -> Result<(), Error> {
    // Some readers take a semicolon for an ampersand.
    for pair in uri.query().unwrap_or_default().split(['&', ';']) {
        for (key, value) in form_urlencoded::parse(pair.as_bytes()) {
            if names_models(&plain(&key)) {
                access.check_name(&value)?;
            }
        }
    }
    Ok(())
}

/// Whether a request runs a model of the server's choice where it names none, though its answer does not come from that
/// model.
pub fn runs_model(route: &Route) -> bool {
    route.name == "videos.create" || route.name.starts_with("realtime.")
}

/// What a key of a body says of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It names models.
    Models,
    /// It refers to what is kept at the endpoint with this template.
    Stored {
        name: &'static str,
        template: &'static str,
    },
    /// It does so where it is a text.
    StoredText {
        name: &'static str,
        template: &'static str,
    },
    /// It does so where it is an object.
    StoredObject {
        name: &'static str,
        template: &'static str,
    },
    /// It is the client's own.
    Own,
    Other,
}

/// Where in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Among what the server is to do.
    Settings,
    /// Among the tools that it may use.
    Tools,
    /// In a list of items, each of which may be a reference to one.
    Items,
    /// In what is said.
    Content,
}

struct Look<'a> {
    access: &'a ClientAccess,
    route: &'a Route,
    depth: usize,
    /// Whether a model is named.
    names_model: bool,
    refused: Option<Error>,
}

// === impl Look ===

impl Look<'_> {
    fn value(&mut self, reader: &mut Reader<'_>, place: Place) -> Result<(), Fault> {
        if !matches!(reader.peek(), Some(b'{' | b'[')) {
            return reader.skip().map(drop);
        }
        self.deeper(|look| {
            let mut item = Item::default();
            let is_object = reader.peek() == Some(b'{');
            if is_object {
                let is_top = look.depth == 1;
                reader.object(|written, value| {
                    let key = plain(&String::from_utf8_lossy(written));
                    if is_top && key == "model" && written != b"model" {
                        let message = "the request body has a key that some servers read as \"model\"";
                        look.refuse(Err(unclear(message, "ambiguous_key")))?;
                    }
                    if place == Place::Items {
                        item.see(&key, value);
                    }
                    look.member(&key, value, place)
                })?;
            } else {
                reader.array(|element| look.value(element, place))?;
            }
            if item.is_reference() {
                look.stored("input", "/responses/{id}")?;
            }
            Ok(())
        })
    }

    fn member(&mut self, key: &str, value: &mut Reader<'_>, place: Place) -> Result<(), Fault> {
        match role(key, place) {
            Role::Own => value.skip().map(drop),
            Role::Models => self.models(value),
            Role::Stored { name, template } => {
                // Two words of the Realtime API.
                if !matches!(value.skip()?, b"null" | b"[]" | b"\"auto\"" | b"\"none\"") {
                    self.stored(name, template)?;
                }
                Ok(())
            }
            Role::StoredText { name, template } if value.peek() == Some(b'"') => {
                self.stored(name, template)?;
                value.skip().map(drop)
            }
            Role::StoredObject { name, template } if value.peek() == Some(b'{') => {
                self.stored(name, template)?;
                value.skip().map(drop)
            }
            Role::StoredText { .. } | Role::StoredObject { .. } | Role::Other => {
                let is_list = value.peek() == Some(b'[');
                self.value(value, place.below(key, is_list))
            }
        }
    }

    /// Every text in a value names a model.
    fn models(&mut self, value: &mut Reader<'_>) -> Result<(), Fault> {
        match value.peek() {
            Some(b'{') => self.deeper(|look| value.object(|_, member| look.models(member)).map(drop)),
            Some(b'[') => self.deeper(|look| value.array(|element| look.models(element)).map(drop)),
            Some(b'"') => {
                let Some(name) = decode(value.skip()?) else {
                    return self.refuse(Err(unclear("a model's name is no Unicode text", "invalid_type")));
                };
                self.names_model = true;
                self.refuse(self.access.check_name(&name))
            }
            _ => value.skip().map(drop),
        }
    }

    /// An endpoint that keeps things is reached by name; what its requests refer to is a part of it. But a stored prompt
    /// may say which model is run.
    fn stored(&mut self, name: &'static str, template: &str) -> Result<(), Fault> {
        if !self.route.stateless && template != PROMPTS {
            return Ok(());
        }
        self.refuse(self.access.check_stored(name, template))
    }

    fn deeper(&mut self, look: impl FnOnce(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        if self.depth == MAX_DEPTH {
            let message = "the request body is nested too deep for its models to be looked for";
            return self.refuse(Err(unclear(message, "nested_too_deep")));
        }
        self.depth += 1;
        let looked = look(self);
        self.depth -= 1;
        looked
    }

    /// Ends the look at the first refusal.
    fn refuse(&mut self, checked: Result<(), Error>) -> Result<(), Fault> {
        checked.map_err(|refused| {
            self.refused = Some(refused);
            Fault::Malformed
        })
    }
}

// === impl Place ===

impl Place {
    /// Where the value of a key is.
    fn below(self, key: &str, is_list: bool) -> Self {
        match (self, key) {
            (_, "tools" | "functions") => Self::Tools,
            (Self::Settings, "input" | "items") if is_list => Self::Items,
            (
                Self::Settings,
                "messages" | "additionalmessages" | "content" | "output" | "instructions" | "prompt",
            ) if is_list => Self::Content,
            (Self::Settings | Self::Tools, _) => self,
            (Self::Items | Self::Content, _) => Self::Content,
        }
    }
}

fn role(key: &str, place: Place) -> Role {
    let (settings, tools) = (place == Place::Settings, place == Place::Tools);
    let stored = |name, template| Role::Stored { name, template };
    match key {
        "metadata" | "attributes" | "filters" | "chattemplatekwargs" | "arguments" => Role::Own,
        // JSON schemas.
        "schema" | "jsonschema" | "inputschema" | "outputschema" | "guidedjson" | "properties" | "defs"
        | "definitions" => Role::Own,
        "parameters" | "headers" if tools => Role::Own,
        // What an earlier response said.
        "annotations" | "results" if !settings => Role::Own,
        "previousresponseid" => stored("previous_response_id", "/responses/{id}"),
        "comparisonresponseid" => stored("comparison_response_id", "/responses/{id}"),
        "conversation" if settings => stored("conversation", "/conversations/{id}"),
        "prompt" if settings => Role::StoredObject { name: "prompt", template: PROMPTS },
        // OpenRouter's; LiteLLM's.
        "preset" if settings => stored("preset", PROMPTS),
        "promptid" if settings => stored("prompt_id", PROMPTS),
        "fileid" => stored("file_id", "/files/{id}"),
        "fileids" => stored("file_ids", "/files/{id}"),
        "vectorstoreids" => stored("vector_store_ids", "/vector_stores/{id}"),
        "container" if tools => Role::StoredText { name: "container", template: "/containers/{id}" },
        "containerid" if tools => stored("container_id", "/containers/{id}"),
        "skillid" if tools => stored("skill_id", "/skills/{id}"),
        key if place != Place::Content && names_models(key) => Role::Models,
        _ => Role::Other,
    }
}

/// What tells a reference to an item from an item.
#[derive(Debug, Default)]
struct Item {
    says_so: bool,
    has_id: bool,
    has_kind: bool,
}

// === impl Item ===

impl Item {
    fn see(&mut self, key: &str, value: &Reader<'_>) {
        match key {
            "id" => self.has_id = true,
            "role" => self.has_kind = true,
            "type" => {
                self.has_kind = true;
                let kind = value.clone().text().ok().flatten();
                self.says_so |= kind.is_some_and(|kind| kind == "item_reference");
            }
            _ => {}
        }
    }

    /// A reference need not say that it is one.
    fn is_reference(&self) -> bool {
        self.says_so || (self.has_id && !self.has_kind)
    }
}

fn unclear(message: &'static str, code: &'static str) -> Error {
    Error::new(ErrorKind::BadRequest, format!("{message}, and the client key does not reach everything"))
        .with_code(code)
        .with_setting("client_keys")
}

#[cfg(test)]
mod tests;
