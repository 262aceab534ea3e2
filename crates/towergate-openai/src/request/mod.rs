//! The shallow look at a request body.
//!
//! One pass over the bytes, at about the speed of memory for what is large (prompts, images): only
//! the top level is looked at, nothing is built, and the bytes go upstream as they came. Read are
//! `model`, `stream`, `stream_options.include_usage`, `reasoning_effort` and `reasoning` (for the
//! clocks: a model that thinks is silent), for chat and completions `n` and how many prompts there
//! are (a stream is complete when all choices are), `stream_format` for speech, and for responses
//! what they refer to (`previous_response_id`, `conversation`, `prompt`): only one provider keeps it.
//!
//! Refused is only what cannot be a request: what is not JSON, not an object (or nothing, where no
//! model is run), lacks a `model` that the route requires, or has one that is no string; and a
//! duplicate of a key that is read (escapes decoded), since the reader behind us could take the
//! other one. For the same reason a key is refused that is `model` but for case: a server in Go reads it as that. (The
//! other keys decide nothing that such a server could be misled about, and pass.) Upstream is the judge of all else: other
//! types, unknown keys, deep nesting.
//!
//! What a request reaches beside its model is looked at where the client's key does not reach everything
//! ([`check_body`], [`check_query`]).
//!
//! ```
//! use towergate_openai::{request, routes};
//!
//! let route = routes::find(&http::Method::POST, "/chat/completions");
//! let body = br#"{"model":"gpt-4o","messages":[],"stream":true}"#;
//! let request = request::read(route, body)?;
//! assert_eq!(request.model.as_deref(), Some("gpt-4o"));
//! assert!(request.stream);
//!
//! let error = request::read(route, br#"{"messages":[]}"#).unwrap_err();
//! assert_eq!((error.param(), error.code()), (Some("model"), "missing_required_parameter"));
//! # Ok::<(), towergate_core::Error>(())
//! ```

mod form;
mod models;
mod names;
mod query;
mod reach;
mod replace;
mod splice;

use std::{borrow::Cow, num::NonZeroU32};

use towergate_core::{Error, ErrorKind, Route};

pub use self::{
    form::Form,
    models::{MODELS, is_known_to_think},
    query::{query_model, set_query_model},
    reach::{check_body, check_query, runs_model},
    replace::replace,
    splice::{include_usage, set_model},
};
use crate::json::{Fault, Reader, decode};

/// What a request body says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request<'a> {
    /// `model`.
    pub model: Option<Cow<'a, str>>,
    /// Whether a stream is asked for: `stream`, or for speech `"stream_format": "sse"`.
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
    /// How many choices it asks for: `n` for each prompt. None where that is not said, or makes no sense.
    pub choices: Option<NonZeroU32>,
    /// Whether reasoning is asked for (`reasoning_effort`, `reasoning`), or expressly not; none
    /// where it is left to the model.
    pub reasoning: Option<bool>,
    /// Whether it refers to an earlier response, a conversation or a stored prompt.
    pub refers: bool,
}

/// Reads a body.
///
/// # Errors
///
/// [`ErrorKind::BadRequest`], with the `code` and `param` of the envelope, as the module says. An
/// empty body is refused only where the route runs a model: elsewhere clients do send none, or write
/// `null` for it.
pub fn read<'a>(route: &Route, body: &'a [u8]) -> Result<Request<'a>, Error> {
    let takes_model = route.requires_model || route.generates;
    let mut reader = Reader::new(body);
    match reader.peek() {
        None if !takes_model => return Ok(Request::default()),
        None => return Err(invalid("the request body is empty; a JSON object is expected")),
        Some(b'{') => {}
        Some(_) => {
            return match reader.skip().and_then(|value| reader.end().map(|()| value)) {
                Ok(b"null") if !takes_model => Ok(Request::default()),
                Ok(_) => Err(invalid("the request body is JSON, but not an object")),
                Err(fault) => Err(not_json(fault, reader.at())),
            };
        }
    }
    let mut request = Request::default();
    let (mut model, mut look_alike) = (None, None);
    let mut seen = Seen::default();
    let is_response = route.name.starts_with("responses");
    let is_completion = route.name == "completions";
    let (mut n, mut prompts) = (None, None);
    reader
        .object(|key, value| {
            match key {
                b"model" => {
                    seen.once("model");
                    model = Some(value.skip()?);
                }
                key if key.eq_ignore_ascii_case(b"model") => {
                    look_alike = Some(String::from_utf8_lossy(key).into_owned());
                    value.skip()?;
                }
                b"stream" => {
                    seen.once("stream");
                    request.stream |= value.skip()? == b"true";
                }
                b"stream_format" if route.name == "audio.speech" => {
                    seen.once("stream_format");
                    request.stream |= value.text()?.as_deref() == Some("sse");
                }
                b"stream_options" => {
                    seen.once("stream_options");
                    value.object(|key, value| {
                        let value = value.skip()?;
                        if key == b"include_usage" {
                            request.include_usage = value == b"true";
                        }
                        Ok(())
                    })?;
                }
                b"n" if is_completion || route.name == "chat.completions" => {
                    seen.once("n");
                    n = value.whole_number()?;
                }
                b"prompt" if is_completion => {
                    seen.once("prompt");
                    prompts = count_prompts(value)?;
                }
                b"previous_response_id" if is_response => {
                    seen.once("previous_response_id");
                    request.refers |= value.skip()? != b"null";
                }
                b"conversation" if is_response => {
                    seen.once("conversation");
                    request.refers |= value.skip()? != b"null";
                }
                b"prompt" if is_response => {
                    seen.once("prompt");
                    request.refers |= value.skip()? != b"null";
                }
                b"reasoning_effort" => {
                    seen.once("reasoning_effort");
                    request.reasoning = request.reasoning.or(effort(value.skip()?));
                }
                b"reasoning" => {
                    seen.once("reasoning");
                    let mut asked = None;
                    if value.object(|key, value| {
                        let value = value.skip()?;
                        if key == b"effort" {
                            asked = effort(value);
                        }
                        Ok(())
                    })? {
                        request.reasoning = asked.or(Some(true));
                    }
                }
                _ => {
                    value.skip()?;
                }
            }
            Ok(())
        })
        .and_then(|_| reader.end())
        .map_err(|fault| not_json(fault, reader.at()))?;
    if let Some(key) = seen.twice {
        let message = format!("the request body has the key {key:?} twice");
        return Err(Error::new(ErrorKind::BadRequest, message).with_code("duplicate_key").with_param(key));
    }
    if let Some(key) = look_alike {
        let message = format!(
            "the request body has the key {key:?}, which some servers read as \"model\", and others do not"
        );
        return Err(Error::new(ErrorKind::BadRequest, message)
            .with_code("ambiguous_key")
            .with_param("model"));
    }
    request.choices = match (n, prompts) {
        (None, None) => None,
        (n, prompts) => {
            let choices = n.unwrap_or(1).saturating_mul(prompts.unwrap_or(1));
            u32::try_from(choices).ok().and_then(NonZeroU32::new)
        }
    };
    request.model = match model {
        None | Some(b"null") if route.requires_model => {
            let message = "the request body has no \"model\", which this endpoint requires";
            return Err(Error::new(ErrorKind::BadRequest, message)
                .with_code("missing_required_parameter")
                .with_param("model"));
        }
        None | Some(b"null") => None,
        Some(value) => match decode(value) {
            None if takes_model => {
                return Err(Error::new(ErrorKind::BadRequest, "\"model\" must be a string of Unicode text")
                    .with_code("invalid_type")
                    .with_param("model"));
            }
            model => model,
        },
    };
    Ok(request)
}

/// The keys read so far.
#[derive(Default)]
struct Seen {
    keys: [&'static str; 11],
    count: usize,
    twice: Option<&'static str>,
}

impl Seen {
    fn once(&mut self, key: &'static str) {
        if self.keys.contains(&key) {
            self.twice = self.twice.or(Some(key));
        } else if let Some(place) = self.keys.get_mut(self.count) {
            *place = key;
            self.count += 1;
        }
    }
}

/// How many prompts an array of them holds: texts, or prompts in tokens. Numbers are the tokens of one.
fn count_prompts(prompt: &mut Reader<'_>) -> Result<Option<u64>, Fault> {
    let mut count = 0;
    prompt.array(|element| {
        count += u64::from(matches!(element.peek(), Some(b'"' | b'[')));
        element.skip().map(drop)
    })?;
    Ok((count > 0).then_some(count))
}

fn effort(value: &[u8]) -> Option<bool> {
    let effort = decode(value)?;
    Some(!matches!(&*effort, "none" | "minimal"))
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::BadRequest, message).with_code("invalid_json")
}

fn not_json(fault: Fault, at: usize) -> Error {
    invalid(match fault {
        Fault::End => Cow::from("the request body is not valid JSON: it ends too early"),
        Fault::Malformed => format!("the request body is not valid JSON (near byte {at})").into(),
    })
}

#[cfg(test)]
mod tests;
