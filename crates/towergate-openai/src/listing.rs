//! The list of models, as a gateway in front of several upstreams gives it.

use std::{borrow::Cow, collections::HashSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A model of the gateway's own, as `GET /models/{id}` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "object", rename = "model")]
pub struct Listed<'a> {
    /// Its name, as a request's `model` has it.
    pub id: &'a str,
    /// When it was made, in Unix seconds; clients ask for a number, and 0 says that nobody knows.
    pub created: u64,
    /// Who serves it.
    pub owned_by: &'a str,
}

/// One entry of an upstream's list; the whole of it goes on as it came.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Upstream<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

// === impl Listed ===

impl<'a> Listed<'a> {
    /// A model that somebody serves under this name.
    #[must_use]
    pub fn new(id: &'a str, owned_by: &'a str) -> Self {
        Self { id, created: 0, owned_by }
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The model that a path such as `/v1/models/meta-llama%2FLlama-3` names.
#[must_use]
pub fn named_by(path: &str) -> Option<Cow<'_, str>> {
    let (_, name) = path.split_once("/models/")?;
    percent_encoding::percent_decode_str(name).decode_utf8().ok()
}

/// The answer to `GET /models`: the gateway's own models, then those of an upstream's answer that `keep` lets
/// pass and that are not there yet. None where that answer is no list of models.
///
/// ```
/// use towergate_openai::listing::{Listed, list};
///
/// let upstream = br#"{"object":"list","data":[{"id":"gpt-4o","x":1},{"id":"o3"}]}"#;
/// let all = list([Listed::new("fast", "main")], Some(upstream), |id| id != "o3").unwrap();
/// assert_eq!(
///     all,
///     r#"{"object":"list","data":[{"object":"model","id":"fast","created":0,"owned_by":"main"},{"id":"gpt-4o","x":1}]}"#
/// );
/// ```
#[must_use]
pub fn list<'a>(
    own: impl IntoIterator<Item = Listed<'a>>,
    upstream: Option<&[u8]>,
    keep: impl Fn(&str) -> bool,
) -> Option<Bytes> {
    let mut seen = HashSet::new();
    let mut data = Vec::new();
    for model in own {
        data.push(serde_json::to_string(&model).ok()?.into());
        seen.insert(Cow::Borrowed(model.id));
    }
    let upstream: Option<Upstream<'_>> = upstream.map(serde_json::from_slice).transpose().ok()?;
    for entry in upstream.iter().flat_map(|upstream| &upstream.data) {
        let id = serde_json::from_str::<Entry<'_>>(entry.get()).ok()?.id;
        if keep(&id) && seen.insert(id.into_owned().into()) {
            data.push(Cow::Borrowed(entry.get()));
        }
    }
    Some(format!(r#"{{"object":"list","data":[{}]}}"#, data.join(",")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_model_however_it_is_written() {
        for path in ["/v1/models/a%2Fb", "/models/a/b"] {
            assert_eq!(named_by(path).as_deref(), Some("a/b"), "{path}");
        }
        assert_eq!(named_by("/v1/models/%ff"), None);
        assert_eq!(named_by("/v1/models"), None);
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["", "[]", "{}", r#"{"data":{}}"#, r#"{"data":[{"name":"x"}]}"#, r#"{"data":["x"]}"#] {
            assert_eq!(list([], Some(text.as_bytes()), |_| true), None, "{text}");
        }
        assert_eq!(list([], None, |_| true).unwrap(), r#"{"object":"list","data":[]}"#);
    }

    #[test]
    fn nothing_is_there_twice_and_names_are_escaped() {
        let upstream = br#"{"data":[{"id":"a\"b"},{"id":"c"},{"id":"c","second":true}]}"#;
        let all = list([Listed::new("a\"b", "x")], Some(upstream), |_| true).unwrap();
        let all: serde_json::Value = serde_json::from_slice(&all).unwrap();
        assert_eq!(all["data"].as_array().unwrap().len(), 2);
        assert_eq!(all["data"][0]["owned_by"], "x");
        assert_eq!(all["data"][1], serde_json::json!({"id": "c"}));
    }
}
