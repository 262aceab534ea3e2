//! How a leaf is configured.

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use http::HeaderName;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use rustls_pki_types::CertificateDer;
use secrecy::{ExposeSecret as _, SecretBox};
use towergate_core::{Clock, label::Label};

use super::{
    Client, OpenAi, Pools, Shared,
    cdn_loop::CdnLoop,
    connector::{self, Connector},
    error::Upstream,
    proxy::{Choice, Proxy},
    request::Outgoing,
    tls::{self, Identity, Trust},
    uri::{BaseUrl, InvalidBaseUrl},
};
use crate::answer::AnswerSettings;

/// The default of [`Builder::base_url`].
pub const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

/// An upstream's head over this many bytes is an error.
const MAX_HEAD: usize = 256 * 1024;
/// What one HTTP/2 stream may have on the way, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
/// As large as HTTP/2 allows (RFC 9113, section 6.9.1): 8,191 streams whose readers have stopped do
/// not hold up the next one. Memory is bounded by the windows of the streams.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
const HTTP1: &[&[u8]] = &[b"http/1.1"];
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Configures an [`OpenAi`]. Made by [`OpenAi::builder`].
#[derive(Clone)]
pub struct Builder {
    base_url: String,
    name: Label,
    http2: Option<Http2>,
    connect_timeout: Duration,
    connect_within: Option<(Duration, &'static str)>,
    tcp_keep_alive: Option<Duration>,
    pool_idle_timeout: Duration,
    pool_max_idle: usize,
    roots: Vec<Vec<u8>>,
    identity: Option<Arc<IdentityPem>>,
    proxy: Choice,
    allowed: Vec<HeaderName>,
    trailers: Vec<HeaderName>,
    answers: AnswerSettings,
    asks_usage: Option<bool>,
    tunnel_idle: Duration,
}

/// A client identity, parsed when the leaf is built.
struct IdentityPem {
    chain: Vec<u8>,
    key: SecretBox<Vec<u8>>,
}

/// HTTP/2 towards the upstream.
///
/// Requests go round-robin over `shards` pools with one connection each, so that neither one
/// connection's loss nor one server behind it takes them all. On `https` an upstream that does not
/// offer HTTP/2 is spoken to in HTTP/1.1; on `http` it must speak HTTP/2 from the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    /// How many connections. Default 4.
    pub shards: NonZeroUsize,
}

/// Why a configuration cannot work. Names the setting; never shows a value that may hold a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The base URL.
    #[error("base_url: {0}")]
    BaseUrl(#[from] InvalidBaseUrl),
    /// The proxy, from the variable or the setting named.
    #[error("{from}: not the URL of an http or https proxy (SOCKS is not supported)")]
    Proxy {
        /// The variable or the setting.
        from: &'static str,
    },
    /// The variable names a file or directory without a usable certificate.
    #[error("{variable}: no usable certificate is found there")]
    NoTrustRoots {
        /// The variable.
        variable: &'static str,
    },
    /// What was given as root certificates holds none, or a broken one.
    #[error("root_certificates: no certificate in PEM form, or a broken one")]
    RootCertificates,
    /// The client certificate or its key.
    #[error("client_identity: not a certificate chain and its private key in PEM form")]
    ClientIdentity,
    /// A time that must not be zero.
    #[error("{setting}: must be more than zero")]
    Zero {
        /// The setting.
        setting: &'static str,
    },
    /// TLS could not be set up at all.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

// === impl Http2 ===

impl Default for Http2 {
    fn default() -> Self {
        Self { shards: NonZeroUsize::MIN.saturating_add(3) }
    }
}

// === impl Builder ===

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            base_url: DEFAULT_BASE_URL.to_owned(),
            name: Label::new("openai"),
            http2: None,
            connect_timeout: Duration::from_secs(30),
            connect_within: None,
            tcp_keep_alive: Some(Duration::from_secs(60)),
            pool_idle_timeout: Duration::from_secs(30),
            pool_max_idle: 256,
            roots: Vec::new(),
            identity: None,
            proxy: Choice::Environment,
            allowed: Vec::new(),
            trailers: Vec::new(),
            answers: AnswerSettings::default(),
            asks_usage: None,
            tunnel_idle: Duration::from_secs(600),
        }
    }

    /// Where requests go: scheme, host, port and any path prefix, with or without a trailing slash.
    /// Default [`DEFAULT_BASE_URL`].
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// The provider's name: in errors, metrics and `x-towergate-provider`. Default `openai`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Label::new(name);
        self
    }

    /// HTTP/2 towards the upstream. Default off: HTTP/1.1 gives every stream a connection of its
    /// own, and no slow reader holds up another.
    #[must_use]
    pub fn http2(mut self, http2: impl Into<Option<Http2>>) -> Self {
        self.http2 = http2.into();
        self
    }

    /// The connect clock: DNS, TCP, a proxy and TLS together. Default 30 s.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Cuts the connect clock to the length of another one, set by `setting`, that runs at the same time and would
    /// go off first: an attempt that is still connecting then ends as one that sent nothing, and its error names
    /// that setting. Default none.
    #[must_use]
    pub fn connect_within(mut self, limit: Duration, setting: &'static str) -> Self {
        self.connect_within = Some((limit, setting));
        self
    }

    /// After how long a silent connection is probed by TCP; `None` for never. Default 60 s.
    #[must_use]
    pub fn tcp_keep_alive(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.tcp_keep_alive = after.into();
        self
    }

    /// How long an unused connection is kept. Default 30 s. Must be shorter than the upstream's own
    /// idle time: what it closes as we write cannot be told from what it has read.
    #[must_use]
    pub fn pool_idle_timeout(mut self, limit: Duration) -> Self {
        self.pool_idle_timeout = limit;
        self
    }

    /// How many unused connections are kept; 0 keeps none. Default 256.
    #[must_use]
    pub fn pool_max_idle_per_host(mut self, limit: usize) -> Self {
        self.pool_max_idle = limit;
        self
    }

    /// Trusts further root certificates (PEM), beside those of the system. Default none.
    ///
    /// The system's roots are read when the leaf is built; `SSL_CERT_FILE` and `SSL_CERT_DIR` are
    /// honoured; where there are none, built-in roots stand in.
    #[must_use]
    pub fn add_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// A client certificate chain and its private key (both PEM). Default none.
    #[must_use]
    pub fn client_identity(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        let key = SecretBox::new(Box::new(key.into()));
        self.identity = Some(Arc::new(IdentityPem { chain: chain.into(), key }));
        self
    }

    /// Whether `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` (lower case too, which wins)
    /// are obeyed. Default `true`. A base URL that names this machine never goes through them.
    #[must_use]
    pub fn proxy_from_env(mut self, obey: bool) -> Self {
        self.proxy = if obey { Choice::Environment } else { Choice::Direct };
        self
    }

    /// Goes through this http or https proxy, whatever the environment says.
    #[must_use]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Choice::Url(url.into());
        self
    }

    /// Lets one more request header through to the upstream; see
    /// [`retain_request`](towergate_core::headers::retain_request) for those that always go.
    /// `Host`, `Expect`, `Cookie`, `Trailer` and hop-by-hop fields never do.
    #[must_use]
    pub fn allow_header(mut self, name: HeaderName) -> Self {
        self.allowed.push(name);
        self
    }

    /// Lets one more trailer field of streamed request bodies through to the upstream. Default: none. Of a JSON body, which
    /// is collected before it is sent, there are none; and credentials, hop-by-hop fields and those that mean something in a head
    /// only never go, whatever is allowed ([`may_be_trailer`](towergate_core::headers::may_be_trailer)).
    #[must_use]
    pub fn allow_trailer(mut self, name: HeaderName) -> Self {
        self.trailers.push(name);
        self
    }

    /// How answers are read. Default [`AnswerSettings::default`].
    #[must_use]
    pub fn answer_settings(mut self, settings: AnswerSettings) -> Self {
        self.answers = settings;
        self
    }

    /// Whether a stream of chat or completions is asked for its usage (`stream_options.include_usage`) where the
    /// client did not ask; what comes of that is read and taken out of the stream again, and the answer says
    /// so in `x-towergate-modified`. Default: for OpenAI's own hosts only; there are servers that refuse it.
    #[must_use]
    pub fn usage_in_streams(mut self, asked: bool) -> Self {
        self.asks_usage = Some(asked);
        self
    }

    /// How long a WebSocket may be silent, in both directions together, pings included; both sides
    /// are closed then. Default 600 s.
    #[must_use]
    pub fn tunnel_idle(mut self, limit: Duration) -> Self {
        self.tunnel_idle = limit;
        self
    }

    /// Builds the leaf. Connects nowhere, and needs no runtime; reads the environment, and on
    /// `https` the trust roots from disk.
    ///
    /// # Errors
    ///
    /// A setting that cannot work.
    pub fn build(self) -> Result<OpenAi, ConfigError> {
        let base = BaseUrl::parse(&self.base_url)?;
        for (setting, time) in [
            ("connect_timeout", self.connect_timeout),
            ("pool_idle_timeout", self.pool_idle_timeout),
            ("tunnel_idle", self.tunnel_idle),
        ] {
            if time.is_zero() {
                return Err(ConfigError::Zero { setting });
            }
        }
        let proxy = Proxy::choose(&self.proxy, &base, |name| std::env::var_os(name))?;
        let tunnel_plain = self.http2.is_some();
        let upstream = Upstream {
            provider: self.name.clone(),
            place: match &proxy {
                Some(proxy) => {
                    format!("{} through the proxy {}", base.host_and_port(), proxy.host_and_port()).into()
                }
                None => base.host_and_port().into(),
            },
            is_proxied: proxy.is_some(),
            connect_timeout: self.connect_clock().0,
            connect_setting: self.connect_clock().1,
        };
        let secrets = proxy.as_ref().map(Proxy::secrets).unwrap_or_default();
        let proxy_auth = connector::request_auth(proxy.as_ref(), base.is_https(), tunnel_plain);
        let trust = self.trust(&base, proxy.as_ref())?;
        // A WebSocket needs HTTP/1.1, and through a proxy a tunnel (RFC 6455, section 4.1).
        let upgrading = self.connector(&trust, proxy.clone(), HTTP1, true)?;
        // On https the handshake decides which it is (ALPN); without one we must know.
        let http2_only = self.http2.is_some() && !base.is_https();
        let connector = match self.http2 {
            None if proxy.is_none() => upgrading.clone(),
            None => self.connector(&trust, proxy, HTTP1, false)?,
            Some(_) => self.connector(&trust, proxy, &[b"h2", b"http/1.1"], true)?.http2_only(http2_only),
        };
        let shards = self.http2.map_or(1, |http2| http2.shards.get());
        let client = || self.client(connector.clone(), self.pool_max_idle, http2_only);
        let pools = Pools::new((0..shards).map(|_| client()).collect(), self.client(upgrading, 0, false));
        let is_openai = base.host() == "api.openai.com" || base.host().ends_with(".api.openai.com");
        let trailers = (!self.trailers.is_empty()).then(|| self.trailers.into());
        let outgoing =
            Outgoing { base, allowed: self.allowed, trailers, proxy_auth, cdn_loop: CdnLoop::new() };
        let asks_usage = self.asks_usage.unwrap_or(is_openai);
        let idle = self.tunnel_idle;
        Ok(OpenAi::new(Shared::new(pools, outgoing, upstream, self.answers, asks_usage, idle, secrets)))
    }

    fn trust(&self, base: &BaseUrl, proxy: Option<&Proxy>) -> Result<Trust, ConfigError> {
        let added = self.root_certificates()?;
        let proxy_is_https = proxy.is_some_and(|proxy| proxy.uri.scheme_str() == Some("https"));
        // Reading the system's roots is slow; plain http has no use for them.
        if base.is_https() || proxy_is_https {
            Trust::load(&added, |name| std::env::var_os(name))
        } else {
            Ok(Trust::none())
        }
    }

    fn connector(
        &self,
        trust: &Trust,
        proxy: Option<Proxy>,
        protocols: &[&[u8]],
        tunnel_plain: bool,
    ) -> Result<Connector, ConfigError> {
        let identity = match &self.identity {
            Some(pem) => Some(Identity::from_pem(&pem.chain, pem.key.expose_secret())?),
            None => None,
        };
        let proxy = match proxy {
            Some(proxy) => Some((proxy, trust.client_config(HTTP1, None)?)),
            None => None,
        };
        Ok(Connector::new(connector::Options {
            limit: self.connect_clock().0,
            keep_alive: self.tcp_keep_alive,
            tls: trust.client_config(protocols, identity)?,
            proxy,
            tunnel_plain,
        }))
    }

    /// How long a connection may take, and the setting that changes it.
    fn connect_clock(&self) -> (Duration, &'static str) {
        let own = (self.connect_timeout, Clock::Connect.setting());
        self.connect_within.filter(|(limit, _)| limit < &own.0).unwrap_or(own)
    }

    fn root_certificates(&self) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let mut added = Vec::new();
        for pem in &self.roots {
            added.extend(tls::certificates(pem).ok_or(ConfigError::RootCertificates)?);
        }
        Ok(added)
    }

    fn client(&self, connector: Connector, max_idle: usize, http2_only: bool) -> Client {
        let mut client = legacy::Client::builder(TokioExecutor::new());
        client
            // The timer is what closes idle connections at all; without it they are only looked at
            // when the next request comes.
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(self.pool_idle_timeout)
            .pool_max_idle_per_host(max_idle)
            .http1_max_buf_size(MAX_HEAD)
            // Only what hyper hands back unsent, from a connection that was reused, goes out again
            // on another: nobody has seen a byte of it, so it is no attempt of its own.
            .retry_canceled_requests(true)
            .http2_max_header_list_size(MAX_HEAD as u32)
            .http2_adaptive_window(false)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            // What still comes of streams that clients gave up would otherwise count against the upstream, and after
            // a thousand of them end the connection with all others on it. That limit is for servers.
            .http2_max_local_error_reset_streams(None)
            .http2_only(http2_only);
        client.build(connector)
    }
}

impl fmt::Debug for Builder {
    /// Not the base URL, which is unchecked and may hold a password, nor the proxy or the identity.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("http2", &self.http2)
            .field("connect_timeout", &self.connect_timeout)
            .field("pool_idle_timeout", &self.pool_idle_timeout)
            .field("pool_max_idle_per_host", &self.pool_max_idle)
            .finish_non_exhaustive()
    }
}
