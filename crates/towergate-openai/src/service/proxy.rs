//! Which proxy lies on the way to the upstream, by the variables that curl and the SDKs obey.

use std::ffi::OsString;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use secrecy::SecretString;

use super::{ConfigError, uri::BaseUrl};

/// A proxy, and how we are known to it.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) uri: Uri,
    /// `Proxy-Authorization`, marked sensitive.
    pub(super) auth: Option<HeaderValue>,
}

/// Where the proxy comes from.
#[derive(Clone)]
pub(super) enum Choice {
    Direct,
    Environment,
    Url(String),
}

// === impl Proxy ===

impl Proxy {
    pub(super) fn choose(
        choice: &Choice,
        base: &BaseUrl,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, ConfigError> {
        match choice {
            Choice::Direct => Ok(None),
            Choice::Url(url) => Self::parse(url, base).map(Some).ok_or(ConfigError::Proxy { from: "proxy" }),
            Choice::Environment if base.is_loopback() => Ok(None),
            Choice::Environment => Self::from_variables(base, variable),
        }
    }

    fn from_variables(
        base: &BaseUrl,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, ConfigError> {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|&name| {
                let value = variable(name)?.into_string().ok()?;
                (!value.trim().is_empty()).then(|| (name, value.trim().to_owned()))
            })
        };
        let names: &[&'static str] = if base.is_https() {
            &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
        } else if variable("REQUEST_METHOD").is_some() {
            // A CGI script: HTTP_PROXY is the request header `Proxy`, set by whoever calls.
            &["http_proxy", "all_proxy", "ALL_PROXY"]
        } else {
            &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        };
        let Some((name, url)) = first(names) else { return Ok(None) };
        if let Some((_, none)) = first(&["no_proxy", "NO_PROXY"]) {
            // The address of the proxy is no part of the question.
            let matcher = Matcher::builder().all("http://proxy").no(none).build();
            if matcher.intercept(&base.to_uri()).is_none() {
                return Ok(None);
            }
        }
        Self::parse(&url, base).map(Some).ok_or(ConfigError::Proxy { from: name })
    }

    fn parse(url: &str, base: &BaseUrl) -> Option<Self> {
        let found = Matcher::builder().all(url).build().intercept(&base.to_uri())?;
        let uri = found.uri().clone();
        let http = matches!(uri.scheme_str(), Some("http" | "https"));
        http.then(|| Self { uri, auth: found.basic_auth().cloned() })
    }

    /// What the proxy is told and nobody else may be: the credentials as they are sent, what they stand for, and the
    /// password alone.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        let sent = self.auth.as_ref().and_then(|auth| auth.to_str().ok());
        let Some((_, encoded)) = sent.and_then(|auth| auth.split_once(' ')) else { return Vec::new() };
        let mut secrets = vec![encoded.into()];
        let plain = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(plain) = plain {
            secrets.extend(plain.split_once(':').map(|(_, password)| password.into()));
            secrets.push(plain.into());
        }
        secrets
    }

    /// Host and port; never the credentials.
    pub(super) fn host_and_port(&self) -> String {
        let default = if self.uri.scheme_str() == Some("https") { 443 } else { 80 };
        format!("{}:{}", self.uri.host().unwrap_or_default(), self.uri.port_u16().unwrap_or(default))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn choose(base: &str, variables: &[(&str, &str)]) -> Result<Option<String>, ConfigError> {
        let base = BaseUrl::parse(base).unwrap();
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Ok(Proxy::choose(&Choice::Environment, &base, variable)?.map(|proxy| proxy.host_and_port()))
    }

    #[test]
    fn the_variable_of_the_scheme_counts_then_all() {
        let both = [("HTTPS_PROXY", "http://s:1"), ("HTTP_PROXY", "p:2"), ("ALL_PROXY", "http://all:3")];
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(choose("https://api.example", &both).unwrap(), some("s:1"));
        assert_eq!(choose("http://api.example", &both).unwrap(), some("p:2"));
        assert_eq!(choose("https://api.example", &both[1..]).unwrap(), some("all:3"));
        assert_eq!(
            choose("https://api.example", &[("https_proxy", "http://l"), both[0]]).unwrap(),
            some("l:80")
        );
        assert_eq!(choose("https://api.example", &[("HTTPS_PROXY", " ")]).unwrap(), None);
        assert_eq!(choose("https://api.example", &[]).unwrap(), None);
    }

    #[test]
    fn no_proxy_and_this_machine_are_reached_directly() {
        let all = ("ALL_PROXY", "http://all:3");
        for (base, none) in [
            ("https://api.example", "example"),
            ("https://api.example", "other, .api.example"),
            ("https://10.1.2.3", "10.0.0.0/8"),
            ("https://api.example", "*"),
            ("http://localhost:1", "other"),
            ("http://127.0.0.1:1", "other"),
            ("http://[::1]:1", "other"),
        ] {
            assert_eq!(choose(base, &[all, ("NO_PROXY", none)]).unwrap(), None, "{base} {none}");
        }
        assert!(choose("https://notexample", &[all, ("no_proxy", "example")]).unwrap().is_some());
    }

    #[test]
    fn a_cgi_script_does_not_trust_the_upper_case_variable() {
        let variables = [("HTTP_PROXY", "http://evil"), ("REQUEST_METHOD", "GET")];
        assert_eq!(choose("http://api.example", &variables).unwrap(), None);
    }

    #[test]
    fn a_bad_proxy_is_named_and_never_shown() {
        for bad in ["socks5://u:canary@h", "http://u:canary@", "ftp://u:canary@h"] {
            let error = choose("https://api.example", &[("HTTPS_PROXY", bad)]).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains("HTTPS_PROXY") && !text.contains("canary"), "{text}");
        }
        let base = BaseUrl::parse("https://api.example").unwrap();
        let choice = Choice::Url("http://user:canary@proxy:3128".into());
        let proxy = Proxy::choose(&choice, &base, |_| None).unwrap().unwrap();
        assert!(proxy.auth.is_some());
        assert!(!format!("{proxy:?} {}", proxy.host_and_port()).contains("canary"));
    }

    #[test]
    fn its_credentials_are_secrets_in_each_form() {
        let base = BaseUrl::parse("https://api.example").unwrap();
        let secrets = |url: &str| {
            let proxy = Proxy::choose(&Choice::Url(url.into()), &base, |_| None).unwrap().unwrap();
            let secrets = proxy.secrets();
            secrets.iter().map(|secret| secret.expose_secret().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(secrets("http://user:can%2Fary@proxy"), ["dXNlcjpjYW4vYXJ5", "can/ary", "user:can/ary"]);
        assert!(secrets("http://proxy").is_empty());
    }
}
