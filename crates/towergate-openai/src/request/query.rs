//! The model in a URI's query, as a WebSocket names it.

use http::Uri;
use towergate_core::{Error, ErrorKind};

/// The `model` that a URI names in its query.
///
/// # Errors
///
/// [`ErrorKind::BadRequest`] where there are two.
pub fn query_model(uri: &Uri) -> Result<Option<String>, Error> {
    let query = uri.query().unwrap_or_default().as_bytes();
    let mut models = form_urlencoded::parse(query).filter(|(key, _)| key == "model");
    let model = models.next().map(|(_, model)| model.into_owned());
    if models.next().is_some() {
        return Err(Error::new(ErrorKind::BadRequest, "the query has the key \"model\" twice")
            .with_code("duplicate_key")
            .with_param("model"));
    }
    Ok(model)
}

/// The URI with another `model` in its query; none where it has none.
///
/// ```
/// use towergate_openai::request::set_query_model;
///
/// let uri = set_query_model(&"/v1/realtime?model=fast&x=%20".parse()?, "my/model").unwrap();
/// assert_eq!(uri, "/v1/realtime?model=my%2Fmodel&x=%20");
/// # Ok::<(), http::uri::InvalidUri>(())
/// ```
#[must_use]
pub fn set_query_model(uri: &Uri, model: &str) -> Option<Uri> {
    let model: String = form_urlencoded::byte_serialize(model.as_bytes()).collect();
    let mut query = String::with_capacity(uri.query()?.len() + model.len());
    let mut found = false;
    for pair in uri.query()?.split('&') {
        if !query.is_empty() {
            query.push('&');
        }
        let is_model = form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| key == "model");
        if is_model {
            query.push_str("model=");
        }
        query.push_str(if is_model { &model } else { pair });
        found |= is_model;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}?{query}", uri.path()).parse().ok()?);
    Uri::from_parts(parts).ok().filter(|_| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_and_replaced_however_it_is_encoded() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        for (before, model, after) in [
            ("/realtime?model=a", "a", "/realtime?model=b+c"),
            ("/realtime?x=1&mod%65l=a%2Fb&y", "a/b", "/realtime?x=1&model=b+c&y"),
            ("http://host/realtime?model=a", "a", "http://host/realtime?model=b+c"),
        ] {
            assert_eq!(query_model(&uri(before)).unwrap().as_deref(), Some(model));
            assert_eq!(set_query_model(&uri(before), "b c").unwrap(), after);
        }
        for none in ["/realtime", "/realtime?", "/realtime?models=a&x=model"] {
            assert_eq!(query_model(&uri(none)).unwrap(), None);
            assert_eq!(set_query_model(&uri(none), "b"), None);
        }
        let refused = query_model(&uri("/realtime?model=a&mod%65l=b")).unwrap_err();
        assert_eq!(refused.code(), "duplicate_key");
    }
}
