//! [`Rules`]: what a request has to show to be let in.

use http::{
    HeaderMap, HeaderName, Method, Request,
    header::{HOST, ORIGIN},
};
use towergate_core::{Error, ErrorKind, headers::asks_for_websocket};

use super::{
    host::{AllowedHosts, Authority},
    origin::{AllowedOrigins, Origin},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

const ALLOWED_HOSTS: &str = "server.allowed_hosts";
const ALLOWED_ORIGINS: &str = "server.allowed_origins, server.cors";

/// The longest host or origin that an error quotes.
const QUOTED: usize = 256;

/// Which requests are let in, by the host that they are for and the page that they come from.
///
/// A request comes from a page of another origin where
///
/// - its `Origin` is not that of the host that it is for. The browser's own word, `Sec-Fetch-Site: same-origin` or
///   `none` (the user's own doing), is above that: it holds, too, where a proxy between the page and the gateway changed
///   the host, and no page can set it. Or where
/// - it has no `Origin`, and its `Sec-Fetch-Site` is anything else.
///
/// What has neither field was not sent by a page: SDKs and curl send neither. Several values of a field must all be
/// accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Those of every request; `None` where only WebSockets are looked at.
    hosts: Option<AllowedHosts>,
    origins: AllowedOrigins,
    links: bool,
}

impl Rules {
    /// Looks at WebSockets alone (RFC 6455; RFC 8441), and at their origin alone: no browser asks for leave before it opens
    /// one, so a check of `Origin` is all that keeps pages of others out (RFC 6455, section 10.2).
    #[must_use]
    pub fn for_websockets() -> Self {
        Self { hosts: None, origins: AllowedOrigins::default(), links: false }
    }

    /// Looks at every request: it must be for one of these hosts, and no page of another origin may have sent it. For a
    /// service that asks for no credentials, where whatever reaches it is served.
    #[must_use]
    pub fn for_every_request(hosts: AllowedHosts) -> Self {
        Self { hosts: Some(hosts), ..Self::for_websockets() }
    }

    /// Pages of these origins are let in as well. Default: none.
    #[must_use]
    pub fn allowed_origins(self, origins: AllowedOrigins) -> Self {
        Self { origins, ..self }
    }

    /// A link on a page of another origin may be followed: a `GET` that opens a page of its own
    /// (`Sec-Fetch-Mode: navigate`, `Sec-Fetch-Dest: document`). The other origin cannot read what it shows.
    /// Default: it may not.
    #[must_use]
    pub fn links(self, allowed: bool) -> Self {
        Self { links: allowed, ..self }
    }

    /// Whether a request is let in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`], with the code `host_not_allowed` or `origin_not_allowed`.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), Error> {
        match &self.hosts {
            Some(hosts) => {
                check_host(hosts, request)?;
                self.check_origin(request)
            }
            // Over HTTP/2 a WebSocket is a `CONNECT`, and nothing else that a page can send is.
            None if asks_for_websocket(request) || request.method() == Method::CONNECT => {
                self.check_origin(request)
            }
            None => Ok(()),
        }
    }

    fn check_origin<B>(&self, request: &Request<B>) -> Result<(), Error> {
        let headers = request.headers();
        let site = headers.get(SEC_FETCH_SITE).map(|site| site.as_bytes());
        let is_own =
            |site: &[u8]| [&b"same-origin"[..], b"none"].iter().any(|own| site.eq_ignore_ascii_case(own));
        if site.is_some_and(is_own) || self.origins.is_any() {
            return Ok(());
        }
        let mut origins = headers.get_all(ORIGIN).iter().peekable();
        let is_let_in = if origins.peek().is_none() {
            site.is_none() || (self.links && is_link(request))
        } else {
            origins.all(|origin| {
                self.origins.allows(origin.as_bytes())
                    || (site.is_none() && is_same(origin.as_bytes(), request))
            })
        };
        if is_let_in { Ok(()) } else { Err(foreign_page(headers)) }
    }
}

fn check_host<B>(hosts: &AllowedHosts, request: &Request<B>) -> Result<(), Error> {
    for host in named_hosts(request) {
        if !host.is_some_and(|host| hosts.allows(host)) {
            let what = match host.filter(|host| Authority::parse(host).is_some() && host.len() <= QUOTED) {
                Some(host) => format!("the host {host:?} is not accepted without client keys"),
                None => "what the request names as its host is not one".to_owned(),
            };
            let error = Error::new(ErrorKind::Forbidden, what).with_code("host_not_allowed");
            return Err(error.with_setting(ALLOWED_HOSTS));
        }
    }
    Ok(())
}

/// Every host that a request names: in its target (`:authority`, the absolute form of HTTP/1.1), and in each `Host`. A
/// proxy in front, or a layer inside, may go by any of them. `None` for bytes that are not text.
fn named_hosts<B>(request: &Request<B>) -> impl Iterator<Item = Option<&str>> {
    let target = request.uri().authority().map(|authority| Some(authority.as_str()));
    target.into_iter().chain(request.headers().get_all(HOST).iter().map(|host| host.to_str().ok()))
}

/// Whether an origin is that of every host that the request names.
fn is_same<B>(origin: &[u8], request: &Request<B>) -> bool {
    let Some(origin) = std::str::from_utf8(origin).ok().and_then(Origin::parse) else { return false };
    let mut hosts = named_hosts(request).peekable();
    hosts.peek().is_some()
        && hosts.all(|host| host.and_then(Authority::parse).is_some_and(|authority| origin.is_at(authority)))
}

fn is_link<B>(request: &Request<B>) -> bool {
    let is = |name: HeaderName, value: &str| {
        request.headers().get(name).is_some_and(|is| is.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    request.method() == Method::GET && is(SEC_FETCH_MODE, "navigate") && is(SEC_FETCH_DEST, "document")
}

fn foreign_page(headers: &HeaderMap) -> Error {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let message = match origin.filter(|origin| origin.len() <= QUOTED) {
        Some(origin) => format!("a web page of the origin {origin:?} may not use this gateway"),
        None => "a web page of another origin may not use this gateway".to_owned(),
    };
    Error::new(ErrorKind::Forbidden, message).with_code("origin_not_allowed").with_setting(ALLOWED_ORIGINS)
}
