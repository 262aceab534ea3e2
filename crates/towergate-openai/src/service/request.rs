//! What is done to a request before it goes upstream.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Version,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST,
        PROXY_AUTHORIZATION, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};
use http_body::{Body as _, SizeHint};
use towergate_core::{Body, Error, ErrorKind, Facts, context::CallerCredential, headers};

use super::{
    cdn_loop::{CDN_LOOP, CdnLoop},
    uri::BaseUrl,
};
use crate::answer;

/// What a leaf does to every request.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) base: BaseUrl,
    pub(super) allowed: Vec<HeaderName>,
    /// The trailers that may go upstream; none where there are no such.
    pub(super) trailers: Option<Arc<[HeaderName]>>,
    /// `Proxy-Authorization`, where the proxy reads our requests itself.
    pub(super) proxy_auth: Option<HeaderValue>,
    pub(super) cdn_loop: CdnLoop,
}

// === impl Outgoing ===

impl Outgoing {
    /// The absolute URI, the allow-list, framing that is true. Extensions stay behind: what the
    /// server or the layers put there (an upgrade handle, connection info) is not hyper's business.
    pub(super) fn prepare(
        &self,
        request: Request<Body>,
        facts: Option<&Facts>,
    ) -> Result<Request<Body>, Error> {
        let (parts, body) = request.into_parts();
        if parts.method == Method::CONNECT {
            return Err(Error::new(ErrorKind::BadRequest, "CONNECT is not forwarded"));
        }
        let uri = self.base.join(&parts.uri)?;
        let mut fields = parts.headers;
        let signature = self.cdn_loop.sign(&fields)?;
        // Before the hop's fields go: a length beside a transfer coding means nothing.
        if fields.contains_key(TRANSFER_ENCODING) {
            fields.remove(CONTENT_LENGTH);
        }
        let announced = self.trailers.as_deref().and_then(|allowed| announced(&fields, allowed));
        headers::retain_request(&mut fields, &self.allowed);
        fields.insert(CDN_LOOP, signature);
        // Never, whatever is allowed: they are this hop's, or the client's own affair.
        for name in [HOST, EXPECT, COOKIE, TRAILER] {
            fields.remove(name);
        }
        if answer::is_read(facts) {
            fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(auth) = &self.proxy_auth {
            fields.insert(PROXY_AUTHORIZATION, auth.clone());
        }
        match announced {
            Some(announced) => {
                fields.insert(TRAILER, announced);
                // A body of a known length has no place for them in HTTP/1.1.
                fields.remove(CONTENT_LENGTH);
                fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            None => frame(&mut fields, &parts.method, body.is_end_stream(), &body.size_hint()),
        }

        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = uri;
        // Right for both: hyper speaks HTTP/2 where the connection does, and refuses a request that
        // insists on it where the connection does not.
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = fields;
        Ok(request)
    }

    /// The same for the opening handshake of a WebSocket (RFC 6455, section 4.1), whose fields are
    /// between the two ends: they go on, but for what the subprotocols hold of credentials.
    pub(super) fn prepare_upgrade(&self, request: Request<Body>) -> Result<Request<Body>, Error> {
        let callers_credential = request.extensions().get::<CallerCredential>().is_some();
        let handshake = request.headers();
        let kept = [SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_EXTENSIONS]
            .map(|name| (handshake.get_all(&name).iter().cloned().collect::<Vec<_>>(), name));
        let protocols = Subprotocols::of(handshake);

        let mut request = self.prepare(request.map(|_| Body::empty()), None)?;
        let fields = request.headers_mut();
        // The proxy on the way opens a tunnel, and was told then.
        fields.remove(PROXY_AUTHORIZATION);
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
        for (values, name) in kept {
            for value in values {
                fields.append(&name, value);
            }
        }
        if let Some(offered) = protocols.offered {
            fields.insert(SEC_WEBSOCKET_PROTOCOL, offered);
        }
        if callers_credential {
            for (name, value) in protocols.credentials {
                fields.entry(name).or_insert(value);
            }
        }
        Ok(request)
    }
}

/// What a browser puts among the subprotocols, as it can set no field on a WebSocket.
static IN_SUBPROTOCOLS: [(&str, HeaderName); 3] = [
    ("openai-insecure-api-key.", AUTHORIZATION),
    ("openai-organization.", HeaderName::from_static("openai-organization")),
    ("openai-project.", HeaderName::from_static("openai-project")),
];

/// The subprotocols that a client offers.
struct Subprotocols {
    /// Those that are.
    offered: Option<HeaderValue>,
    /// Those that stand for fields, as these: never sent on as subprotocols, which are logged.
    credentials: Vec<(HeaderName, HeaderValue)>,
}

impl Subprotocols {
    fn of(handshake: &HeaderMap) -> Self {
        let mut offered = Vec::new();
        let mut credentials = Vec::new();
        let values = handshake.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        for protocol in values.flat_map(|value| value.split(',')).map(str::trim).filter(|one| !one.is_empty())
        {
            let field = IN_SUBPROTOCOLS
                .iter()
                .find_map(|(prefix, name)| Some((name, strip_prefix_any_case(protocol, prefix)?)));
            let Some((name, value)) = field else {
                offered.push(protocol);
                continue;
            };
            let value = if *name == AUTHORIZATION { format!("Bearer {value}") } else { value.to_owned() };
            if let Ok(mut value) = HeaderValue::try_from(value) {
                value.set_sensitive(*name == AUTHORIZATION);
                credentials.push((name.clone(), value));
            }
        }
        let offered = (!offered.is_empty()).then(|| HeaderValue::try_from(offered.join(", ")).ok()).flatten();
        Self { offered, credentials }
    }
}

fn strip_prefix_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The allowed ones of the trailers that a request announces (RFC 9110, section 6.6.2). HTTP/1.1 has no place for others.
fn announced(fields: &HeaderMap, allowed: &[HeaderName]) -> Option<HeaderValue> {
    let names: Vec<&str> = allowed
        .iter()
        .filter(|name| headers::may_be_trailer(name) && headers::lists(fields, &TRAILER, name.as_str()))
        .map(HeaderName::as_str)
        .collect();
    HeaderValue::try_from(names.join(", ")).ok().filter(|names| !names.is_empty())
}

/// Makes the framing fields agree with the body. hyper derives a length that it knows, and believes
/// a field that is there.
fn frame(fields: &mut HeaderMap, method: &Method, ended: bool, hint: &SizeHint) {
    let claimed = content_length(fields);
    let known = if ended { Some(0) } else { hint.exact() };
    match (known, claimed) {
        // RFC 9110, section 8.6: methods that mean something by content say so when there is none.
        (Some(0), None) if [Method::POST, Method::PUT, Method::PATCH].contains(method) => {
            fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        (Some(known), Some(claimed)) if known == claimed => {}
        (Some(0), Some(_)) => {
            fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        (Some(_), _) => {
            fields.remove(CONTENT_LENGTH);
        }
        // The body does not know its length and the client said it: it stays, if it can be true.
        (None, Some(claimed))
            if hint.lower() <= claimed && hint.upper().is_none_or(|upper| claimed <= upper) => {}
        (None, _) => {
            fields.remove(CONTENT_LENGTH);
            // hyper takes a GET of unknown length for one without a body.
            if [Method::GET, Method::HEAD].contains(method) {
                fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
    }
}

/// The length that the client claims; nothing where it claims none, or several.
fn content_length(fields: &HeaderMap) -> Option<u64> {
    let mut values = fields.get_all(CONTENT_LENGTH).iter();
    let (first, None) = (values.next()?, values.next()) else { return None };
    let digits = first.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    first.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, CONTENT_TYPE};
    use http_body_util::StreamBody;

    use super::*;

    fn outgoing(base: &str) -> Outgoing {
        Outgoing {
            base: BaseUrl::parse(base).unwrap(),
            allowed: Vec::new(),
            trailers: None,
            proxy_auth: None,
            cdn_loop: CdnLoop::new(),
        }
    }

    /// A body of unknown length.
    fn stream() -> Body {
        Body::new(StreamBody::new(futures_util::stream::pending::<Result<_, std::io::Error>>()))
    }

    fn prepared(method: Method, body: Body, fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = "/v1/x".parse().unwrap();
        for (name, value) in fields {
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
        outgoing("https://api.example/v1").prepare(request, None).unwrap().into_parts().0.headers
    }

    #[test]
    fn what_belongs_to_the_hop_or_the_client_stays_behind() {
        let mut outgoing = outgoing("https://api.example/v1");
        outgoing.allowed = vec![HOST, EXPECT, HeaderName::from_static("x-tenant")];
        let mut request = Request::new(Body::from("{}"));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = "https://gateway.example/v1/chat/completions?a=b".parse().unwrap();
        request.extensions_mut().insert("connection info");
        for (name, value) in [
            ("host", "gateway.example"),
            ("authorization", "Bearer sk"),
            ("connection", "upgrade, x-drop"),
            ("content-type", "application/json"),
            ("expect", "100-continue"),
            ("upgrade", "websocket"),
            ("x-drop", "1"),
            ("x-tenant", "1"),
            ("x-forwarded-for", "10.0.0.1"),
        ] {
            request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let request = outgoing.prepare(request, None).unwrap();
        assert_eq!(request.uri(), "https://api.example/v1/chat/completions?a=b");
        assert_eq!(request.version(), Version::HTTP_11);
        assert!(request.extensions().is_empty());
        let mut names: Vec<_> = request.headers().keys().cloned().collect();
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        assert_eq!(names, [AUTHORIZATION, CDN_LOOP, CONTENT_TYPE, HeaderName::from_static("x-tenant")]);
    }

    #[test]
    fn a_tunnel_is_not_a_request() {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::CONNECT;
        let error = outgoing("http://a").prepare(request, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRequest);
    }

    #[test]
    fn trailers_are_announced_as_far_as_they_go_on() {
        let mut outgoing = outgoing("http://a/v1");
        let announced = |outgoing: &Outgoing| {
            let mut request = Request::new(stream());
            *request.method_mut() = Method::POST;
            *request.uri_mut() = "/v1/x".parse().unwrap();
            for value in ["X-Sum, authorization", "x-other,te"] {
                request.headers_mut().append(TRAILER, HeaderValue::from_static(value));
            }
            outgoing.prepare(request, None).unwrap().headers().get(TRAILER).cloned()
        };
        assert_eq!(announced(&outgoing), None);
        let allowed = ["x-sum", "x-never", "authorization", "te"].map(HeaderName::from_static);
        outgoing.trailers = Some(Arc::new(allowed));
        assert_eq!(announced(&outgoing).unwrap(), "x-sum");
        // Allowed as a header, it is still not the client's to say.
        outgoing.allowed = vec![TRAILER];
        outgoing.trailers = None;
        assert_eq!(announced(&outgoing), None);
    }

    fn handshake(protocols: &[&'static str]) -> Request<Body> {
        let mut request = Request::new(Body::from("not for a handshake"));
        *request.uri_mut() = "/v1/realtime?model=gpt-realtime".parse().unwrap();
        for (name, value) in [
            ("connection", "Upgrade, sec-websocket-key"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("openai-beta", "realtime=v1"),
            ("origin", "https://app.example"),
        ] {
            request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        for value in protocols {
            request.headers_mut().append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn a_handshake_keeps_what_is_between_the_ends() {
        let mut outgoing = outgoing("https://api.example/v1");
        outgoing.proxy_auth = Some(HeaderValue::from_static("Basic eA=="));
        let secret = "openai-insecure-api-key.sk-x, OpenAI-Insecure-Api-Key.sk-y";
        let offered =
            ["realtime,openai-beta.realtime-v1", secret, "openai-organization.org, openai-project.p"];
        let request = outgoing.prepare_upgrade(handshake(&offered)).unwrap();
        assert_eq!(request.uri(), "https://api.example/v1/realtime?model=gpt-realtime");
        assert!(request.body().is_end_stream());
        let mut fields: Vec<_> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        fields.retain(|(name, _)| *name != "cdn-loop");
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                ("connection", "upgrade"),
                ("openai-beta", "realtime=v1"),
                ("sec-websocket-extensions", "permessage-deflate"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("sec-websocket-protocol", "realtime, openai-beta.realtime-v1"),
                ("sec-websocket-version", "13"),
                ("upgrade", "websocket"),
            ]
        );
    }

    #[test]
    fn a_callers_own_credentials_become_fields_where_they_are_to_be_sent() {
        let mut request = handshake(&["openai-insecure-api-key.sk-x, openai-project.p, realtime"]);
        request.extensions_mut().insert(CallerCredential);
        let request = outgoing("https://api.example/v1").prepare_upgrade(request).unwrap();
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer sk-x");
        assert!(request.headers()[AUTHORIZATION].is_sensitive());
        assert_eq!(request.headers()["openai-project"], "p");
        assert_eq!(request.headers()[SEC_WEBSOCKET_PROTOCOL], "realtime");
    }

    #[test]
    fn the_length_is_true_or_absent() {
        let length = |method, body, fields: &[_]| {
            let fields = prepared(method, body, fields);
            fields.get(CONTENT_LENGTH).map(|value| value.to_str().unwrap().to_owned())
        };
        let claim = |value| [(CONTENT_LENGTH, value)];
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(length(Method::POST, "ab".into(), &claim("2")), some("2"));
        assert_eq!(length(Method::POST, "ab".into(), &claim("3")), None);
        assert_eq!(length(Method::POST, Body::empty(), &[]), some("0"));
        assert_eq!(length(Method::POST, Body::empty(), &claim("7")), some("0"));
        assert_eq!(length(Method::GET, Body::empty(), &[]), None);
        assert_eq!(length(Method::GET, Body::empty(), &claim("0")), some("0"));
        assert_eq!(length(Method::POST, stream(), &claim("7")), some("7"));
        for bad in ["+7", "x", "7, 7", "-1", "99999999999999999999"] {
            assert_eq!(length(Method::POST, stream(), &claim(bad)), None, "{bad}");
        }
        let twice = [(CONTENT_LENGTH, "7"), (CONTENT_LENGTH, "7")];
        assert_eq!(length(Method::POST, stream(), &twice), None);
        let chunked = [(CONTENT_LENGTH, "7"), (TRANSFER_ENCODING, "chunked")];
        assert_eq!(length(Method::POST, stream(), &chunked), None);
    }

    #[test]
    fn a_get_keeps_a_body_of_unknown_length() {
        assert_eq!(prepared(Method::GET, stream(), &[])[TRANSFER_ENCODING], "chunked");
        assert!(!prepared(Method::POST, stream(), &[]).contains_key(TRANSFER_ENCODING));
    }
}
