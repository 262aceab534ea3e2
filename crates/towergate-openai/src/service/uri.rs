//! The base URL, and how the path of a request is joined to it.

use std::net::IpAddr;

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use towergate_core::{Error, ErrorKind, path::climbs};

use crate::routes::BASE_PATH;

/// A checked base URL: scheme, host and port, and a path prefix without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    prefix: Box<str>,
}

/// Why a text is no base URL. Says nothing of the text: it may hold a password, or be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBaseUrl {
    /// It cannot be parsed, or holds no host.
    #[error("it is not a URL; expected one such as https://api.openai.com/v1")]
    NotAUrl,
    /// A scheme other than `http` and `https`.
    #[error("its scheme is not http or https")]
    Scheme,
    /// A user name or password in front of the host.
    #[error("it holds a user name or password; give the key as the provider's key instead")]
    UserInfo,
    /// A query or a fragment: nothing can be appended to those.
    #[error("it holds a query or a fragment (`?` or `#`)")]
    QueryOrFragment,
    /// A `.` or `..` segment.
    #[error("its path holds a `.` or `..` segment")]
    DotSegment,
}

/// Says whether a text can be a base URL, as [`Builder`](super::Builder) takes it.
///
/// # Errors
///
/// Why not.
pub fn check_base_url(text: &str) -> Result<(), InvalidBaseUrl> {
    BaseUrl::parse(text).map(drop)
}

/// Whether what is sent to a base URL goes over plain http to another machine, where everybody on the way can read it.
/// Nothing is sent to what is not a base URL.
#[must_use]
pub fn sends_in_clear(base_url: &str) -> bool {
    BaseUrl::parse(base_url).is_ok_and(|base| base.sends_in_clear())
}

// === impl BaseUrl ===

impl BaseUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidBaseUrl> {
        let text = text.trim();
        // The parser drops a fragment without a word.
        if text.contains(['?', '#']) {
            return Err(InvalidBaseUrl::QueryOrFragment);
        }
        let parts = text.parse::<Uri>().map_err(|_| InvalidBaseUrl::NotAUrl)?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(InvalidBaseUrl::NotAUrl);
        };
        if authority.as_str().contains('@') {
            return Err(InvalidBaseUrl::UserInfo);
        }
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(InvalidBaseUrl::Scheme);
        }
        let has_port = authority.as_str().len() > authority.host().len();
        if authority.host().is_empty() || (has_port && authority.port_u16().is_none()) {
            return Err(InvalidBaseUrl::NotAUrl);
        }
        let prefix = parts.path_and_query.as_ref().map_or("", |path| path.path().trim_end_matches('/'));
        if climbs(prefix) {
            return Err(InvalidBaseUrl::DotSegment);
        }
        Ok(Self { scheme, authority, prefix: prefix.into() })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    pub(crate) fn host(&self) -> &str {
        self.authority.host()
    }

    /// Host and port, as people read it in a message.
    pub(crate) fn host_and_port(&self) -> String {
        let default = if self.is_https() { 443 } else { 80 };
        format!("{}:{}", self.host(), self.authority.port_u16().unwrap_or(default))
    }

    /// Whether it names this machine: no proxy lies on the way there.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host().trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => {
                let host = host.to_ascii_lowercase();
                host == "localhost" || host.ends_with(".localhost")
            }
        }
    }

    /// See [`sends_in_clear`].
    pub(crate) fn sends_in_clear(&self) -> bool {
        !self.is_https() && !self.is_loopback()
    }

    /// The URL itself.
    pub(crate) fn to_uri(&self) -> Uri {
        self.with(PathAndQuery::from_static("/")).unwrap_or_default()
    }

    /// The absolute URI of a request: its path, less one leading `/v1`, behind the prefix. The query
    /// stays byte for byte, and so does the path.
    ///
    /// # Errors
    ///
    /// A path that would leave the prefix: `.` and `..` segments, percent-encoded ones too.
    pub(crate) fn join(&self, uri: &Uri) -> Result<Uri, Error> {
        let path = uri.path();
        if !path.starts_with('/') {
            return Err(bad_path("the request target is not a path"));
        }
        if climbs(path) {
            return Err(bad_path("the path holds a `.` or `..` segment"));
        }
        let below = match path.strip_prefix(BASE_PATH) {
            Some(below) if below.is_empty() || below.starts_with('/') => below,
            _ => path,
        };
        let unchanged = path.len() == self.prefix.len() + below.len() && path.starts_with(&*self.prefix);
        let joined = match uri.path_and_query() {
            Some(same) if unchanged => same.clone(),
            _ => {
                let query = uri.query().map_or(0, |query| query.len() + 1);
                let mut joined = String::with_capacity(self.prefix.len() + below.len() + query + 1);
                joined.push_str(&self.prefix);
                joined.push_str(below);
                if joined.is_empty() {
                    joined.push('/');
                }
                if let Some(query) = uri.query() {
                    joined.push('?');
                    joined.push_str(query);
                }
                PathAndQuery::try_from(joined).map_err(|_| bad_path("the path is too long"))?
            }
        };
        self.with(joined).ok_or_else(|| bad_path("the path is too long"))
    }

    fn with(&self, path: PathAndQuery) -> Option<Uri> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).ok()
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

fn bad_path(message: &'static str) -> Error {
    Error::new(ErrorKind::BadRequest, message).with_code("invalid_path")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn join(base: &str, target: &str) -> String {
        BaseUrl::parse(base).unwrap().join(&target.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn a_path_is_joined_below_any_prefix() {
        for (base, target, joined) in [
            ("https://a/v1", "/v1/models", "https://a/v1/models"),
            ("https://a/v1/", "/v1/models?x=%20&&", "https://a/v1/models?x=%20&&"),
            ("https://a/v1", "/models", "https://a/v1/models"),
            ("https://a", "/v1/models", "https://a/models"),
            ("https://a/", "/models", "https://a/models"),
            ("https://a/openai/v1", "/v1/chat/completions", "https://a/openai/v1/chat/completions"),
            ("https://a:8443/x//", "/v1/models", "https://a:8443/x/models"),
            ("https://a/v1", "/v1beta/models", "https://a/v1/v1beta/models"),
            ("https://a/v1", "/v1/v1/models", "https://a/v1/v1/models"),
            ("https://a/v1", "/v1", "https://a/v1"),
            ("https://a", "/v1?q", "https://a/?q"),
            ("http://[::1]:1/v1", "/v1/a%2Fb", "http://[::1]:1/v1/a%2Fb"),
            ("https://a/v1", "http://evil.example/v1/models?k", "https://a/v1/models?k"),
        ] {
            assert_eq!(join(base, target), joined, "{base} + {target}");
        }
    }

    #[test]
    fn what_would_leave_the_prefix_is_refused() {
        let base = BaseUrl::parse("https://a/v1").unwrap();
        for target in [
            "/v1/../admin",
            "/v1/./models",
            "/..",
            "/v1/%2e%2e/admin",
            "/v1/.%2E/admin",
            "/v1/files/..%2fadmin",
            "/v1/files%5c..%5Cadmin",
            "/v1/x/.",
            "/v1/%252e%252e",
        ] {
            let error = base.join(&target.parse().unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadRequest, "{target}");
        }
        assert_eq!(base.join(&Uri::from_static("*")).unwrap_err().kind(), ErrorKind::BadRequest);
        for target in ["/v1/models/gpt-4.1", "/v1/.../x", "/v1/..a", "/v1/a.."] {
            assert!(base.join(&target.parse().unwrap()).is_ok(), "{target}");
        }
    }

    #[test]
    fn what_is_no_base_url_is_said_without_the_text() {
        use InvalidBaseUrl as Bad;
        for (text, bad) in [
            ("", Bad::NotAUrl),
            ("/v1", Bad::NotAUrl),
            ("api.openai.com/v1", Bad::NotAUrl),
            ("https://", Bad::NotAUrl),
            ("https://a:port", Bad::NotAUrl),
            ("ftp://a", Bad::Scheme),
            ("https://user:canary@a", Bad::UserInfo),
            ("https://a/v1?key=canary", Bad::QueryOrFragment),
            ("https://a/v1#x", Bad::QueryOrFragment),
            ("https://a/x/../v1", Bad::DotSegment),
        ] {
            let error = BaseUrl::parse(text).unwrap_err();
            assert_eq!(error, bad, "{text}");
            assert!(!error.to_string().contains("canary"));
        }
        assert_eq!(BaseUrl::parse(" https://a/v1/ ").unwrap().to_string(), "https://a/v1");
    }

    #[test]
    fn this_machine_is_known() {
        for (text, loopback) in [
            ("http://localhost:1", true),
            ("http://api.localhost", true),
            ("http://127.0.0.9", true),
            ("http://[::1]:8080", true),
            ("http://10.0.0.1", false),
            ("https://localhost.example", false),
        ] {
            assert_eq!(BaseUrl::parse(text).unwrap().is_loopback(), loopback, "{text}");
        }
        assert_eq!(BaseUrl::parse("https://a").unwrap().host_and_port(), "a:443");
        for (text, clear) in
            [("http://vllm:8000", true), ("https://vllm", false), ("http://[::1]", false), ("vllm", false)]
        {
            assert_eq!(sends_in_clear(text), clear, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_joined_path_keeps_its_bytes_and_its_place(
            target in "/[a-z0-9._~%/-]{0,40}(\\?[a-z0-9=&%./?]{0,20})?",
        ) {
            let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
            let base = BaseUrl::parse("https://host/some/prefix").unwrap();
            if let Ok(joined) = base.join(&uri) {
                prop_assert_eq!(joined.host(), Some("host"));
                prop_assert_eq!(joined.query(), uri.query());
                let below = joined.path().strip_prefix("/some/prefix").unwrap();
                let with_base = format!("/v1{below}");
                prop_assert!(uri.path() == below || uri.path() == with_base);
                prop_assert!(!below.split('/').any(|segment| segment == ".."));
            }
        }
    }
}
