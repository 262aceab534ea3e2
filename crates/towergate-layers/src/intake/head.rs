//! What a request's head says: whether it may come in, and how its body is to be read.

use std::fmt;

use http::{
    HeaderMap, Method, Request, Uri, Version,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING},
};
use towergate_core::{Error, ErrorKind, Route, context::Downstream, headers, protocol::Routes, route::Reads};

use super::path;

/// How much of a client's own text an error message repeats.
const ECHOED: usize = 200;

/// The row of the table, for a request that may come in at all.
pub(super) fn find_route<P: Routes>(
    protocol: &P,
    method: &Method,
    uri: &Uri,
) -> Result<&'static Route, Error> {
    if !is_served(method) {
        let hint =
            if *method == Method::CONNECT { "; a WebSocket begins as a GET over HTTP/1.1" } else { "" };
        let message = format!("the method {} is not served here{hint}", Echoed(method.as_str()));
        return Err(Error::new(ErrorKind::BadRequest, message).with_code("method_not_allowed"));
    }
    let path = uri.path();
    if towergate_core::path::climbs(path) {
        return Err(Error::new(ErrorKind::BadRequest, "the path has a '.' or '..' segment"));
    }
    let base = protocol.base_path();
    let (below, based) = path::below(path, base);
    if below.starts_with('/') {
        let route = protocol.route(method, below);
        // Without the base path there is one way to write it.
        if based || (route.bare && towergate_core::path::normalize(below) == below) {
            return Ok(route);
        }
    }
    let message =
        format!("nothing is served at {} {}: the API is below {base}", Echoed(method.as_str()), Echoed(path));
    Err(Error::new(ErrorKind::NotFound, message))
}

/// The methods that an HTTP API is made of (RFC 9110, section 9; RFC 5789). What another one means nobody in between
/// can know: whether it has a body to be read, or can be sent again.
fn is_served(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::PATCH
            | Method::DELETE
            | Method::OPTIONS
    )
}

/// RFC 9112, section 6.1: what is under another coding than `chunked`, which the server takes off, is not the body that
/// it is taken for.
pub(super) fn only_chunked(fields: &HeaderMap) -> Result<(), Error> {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Error::new(ErrorKind::BadRequest, "the request has another transfer coding than chunked")
            .with_code("unsupported_transfer_coding")),
    }
}

/// RFC 9112, section 3.2: two readers could disagree about which of two hosts is meant, and an HTTP/1.1
/// request has one. The gateway does not go by it, and a request that was made in process has none: so
/// one is asked for only of what came in on a server's connection.
pub(super) fn one_host<B>(request: &Request<B>) -> Result<(), Error> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let refused = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => "the request has more than one Host header",
        (Some(host), None) if !is_host(host.as_bytes()) => "the request's Host header is not a host",
        (None, _) if request.version() == Version::HTTP_11 && is_from_a_server(request) => {
            "the request has no Host header"
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::BadRequest, refused).with_code("invalid_host"))
}

/// Whether nothing is in it that no host and port can hold (RFC 3986, section 3.2.2): a reader could take
/// what stands behind it for something else. It may be empty, where the target has no authority.
fn is_host(host: &[u8]) -> bool {
    const OTHERS: &[u8] = b"@/?#\\\"<>^`{|}";
    host.iter().all(|byte| byte.is_ascii_graphic() && !OTHERS.contains(byte))
}

fn is_from_a_server<B>(request: &Request<B>) -> bool {
    request.extensions().get::<Downstream>().is_some()
}

/// Whether a body means nothing: that of a method for which HTTP gives it no meaning (RFC 9110, sections 9.3.1, 9.3.2 and
/// 9.3.5), on a route that reads none. A server that leaves it unread takes it for the next request of the connection.
pub(super) fn expects_no_body(route: &Route, method: &Method) -> bool {
    route.reads == Reads::Nothing && matches!(*method, Method::GET | Method::HEAD | Method::DELETE)
}

/// Whether the body is one to be collected and read. `strict` is asked of a client whose key is restricted to models: a
/// reader that believed another charset, or another one of two content types, would read something else.
pub(super) fn is_read<B>(route: &Route, request: &Request<B>, strict: bool) -> bool {
    route.reads.json()
        && matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH)
        && is_json(request.headers())
        && !headers::is_encoded(request.headers())
        && (!strict || is_plain(request.headers()))
}

/// A body that does not say what it is is JSON, on a route that reads JSON.
fn is_json(fields: &HeaderMap) -> bool {
    !fields.contains_key(CONTENT_TYPE) || headers::is_json(headers::media_type(fields))
}

/// Whether there is at most one content type, in UTF-8.
fn is_plain(fields: &HeaderMap) -> bool {
    let mut types = fields.get_all(CONTENT_TYPE).iter();
    let Some(one) = types.next() else { return true };
    let Ok(one) = one.to_str() else { return false };
    let is_utf8 = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        !name.to_ascii_lowercase().contains("charset")
            || ["utf-8", "utf8", "us-ascii"].iter().any(|charset| value.eq_ignore_ascii_case(charset))
    };
    types.next().is_none() && one.split(';').skip(1).all(is_utf8)
}

/// The length of the body as the client, or the body itself, declares it.
pub(super) fn declared_length<B: http_body::Body>(request: &Request<B>) -> Option<u64> {
    let header = request.headers().get(CONTENT_LENGTH);
    let header = header.and_then(|value| value.to_str().ok()).and_then(|value| value.parse::<u64>().ok());
    header.max(Some(request.body().size_hint().lower()).filter(|lower| *lower > 0))
}

/// A client's own text, as far as an error message repeats it.
struct Echoed<'a>(&'a str);

impl fmt::Display for Echoed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.chars();
        for character in rest.by_ref().take(ECHOED) {
            write!(f, "{}", character.escape_default())?;
        }
        if rest.next().is_some() { f.write_str("…") } else { Ok(()) }
    }
}
