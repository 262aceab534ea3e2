//! Origins of web pages: as a request names them, and which of them are accepted.

use std::{fmt, str::FromStr, sync::Arc};

use super::host::{Authority, Host, HostPattern, Pattern};

/// Which web pages may send requests, by their origin (RFC 6454). Default: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedOrigins(Arc<[OriginPattern]>);

/// An origin that is accepted: `https://app.example.com`, `http://localhost:3000`, `http://localhost:*` (every port),
/// `https://*.example.com`, `app://obsidian.md`, `chrome-extension://*`, `null` (files and sandboxed frames), or `any`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern(Kind);

/// What is wrong with an [`OriginPattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidOrigin;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Any,
    Null,
    Of { scheme: Box<str>, host: HostPattern, port: Port },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Any,
    /// `None` where the scheme has no port of its own.
    Is(Option<u16>),
}

/// A page's origin, `scheme://host:port`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    scheme: &'a str,
    host: Host<'a>,
    /// The scheme's own where none is written.
    port: Option<u16>,
}

// === impl AllowedOrigins ===

impl AllowedOrigins {
    /// These.
    #[must_use]
    pub fn new(patterns: impl IntoIterator<Item = OriginPattern>) -> Self {
        Self(patterns.into_iter().collect())
    }

    /// Every origin.
    #[must_use]
    pub fn any() -> Self {
        Self::new([OriginPattern(Kind::Any)])
    }

    /// These of another list, too.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&*other.0).cloned().collect())
    }

    /// Whether no origin is accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every origin is accepted.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.iter().any(|OriginPattern(kind)| *kind == Kind::Any)
    }

    /// Whether the value of an `Origin` field is accepted.
    #[must_use]
    pub fn allows(&self, origin: &[u8]) -> bool {
        self.is_any()
            || (!self.is_empty()
                && std::str::from_utf8(origin).is_ok_and(|text| {
                    let origin = Origin::parse(text);
                    self.0.iter().any(|OriginPattern(kind)| match (kind, &origin) {
                        (Kind::Null, _) => text == "null",
                        (Kind::Of { scheme, host, port }, Some(origin)) => {
                            origin.scheme.eq_ignore_ascii_case(scheme)
                                && host.matches(origin.host)
                                && (*port == Port::Any || *port == Port::Is(origin.port))
                        }
                        _ => false,
                    })
                }))
    }
}

// === impl OriginPattern ===

impl FromStr for OriginPattern {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        match text {
            "any" | "*" => return Ok(Self(Kind::Any)),
            "null" => return Ok(Self(Kind::Null)),
            _ => {}
        }
        let (scheme, rest) = split_scheme(text).ok_or(InvalidOrigin)?;
        let (host, any_port) = rest.strip_suffix(":*").map_or((rest, false), |host| (host, true));
        let (host, port) = match host {
            "*" => (Pattern::Any, None),
            "" if default_port(scheme).is_none() => (Pattern::Name("".into()), None),
            _ => Pattern::parse(host).ok_or(InvalidOrigin)?,
        };
        let port = if any_port { Port::Any } else { Port::Is(port.or(default_port(scheme))) };
        Ok(Self(Kind::Of { scheme: scheme.to_ascii_lowercase().into(), host: HostPattern(host), port }))
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Any => f.write_str("any"),
            Kind::Null => f.write_str("null"),
            Kind::Of { scheme, host, port } => {
                write!(f, "{scheme}://")?;
                if host.is_any() {
                    f.write_str("*")?
                } else {
                    host.fmt(f)?
                }
                match port {
                    Port::Any => f.write_str(":*"),
                    Port::Is(Some(port)) if Some(*port) != default_port(scheme) => write!(f, ":{port}"),
                    Port::Is(_) => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this is not an origin; write scheme, host and port alone, such as https://app.example.com or \
             http://localhost:3000, or any",
        )
    }
}

impl std::error::Error for InvalidOrigin {}

// === impl Origin ===

impl<'a> Origin<'a> {
    /// `None` for `null`, for several origins in one value, and for what is not an origin at all.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = split_scheme(text)?;
        let default_port = default_port(scheme);
        let Authority { host, port } = match rest {
            // Apps whose pages are files send `file://`.
            "" if default_port.is_none() => Authority { host: Host::Name(""), port: None },
            _ => Authority::parse(rest)?,
        };
        Some(Self { scheme, host, port: port.or(default_port) })
    }

    /// Whether a request for this authority is one to the page's own origin. The scheme is not known behind a proxy
    /// that ends TLS, so an authority without a port is taken for one on the default port of the origin's scheme.
    pub(super) fn is_at(&self, authority: Authority<'_>) -> bool {
        self.host == authority.host && self.port == authority.port.or(default_port(self.scheme))
    }
}

/// What is behind `://`; one slash at the end, which some WebSocket clients send, is not part of it.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let is_sound =
        scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(is_scheme);
    is_sound.then_some((scheme, rest.strip_suffix('/').unwrap_or(rest)))
}

/// WebSocket clients that are not browsers may name themselves by `ws` and `wss`.
fn default_port(scheme: &str) -> Option<u16> {
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    if is("http") || is("ws") {
        Some(80)
    } else if is("https") || is("wss") {
        Some(443)
    } else {
        None
    }
}
