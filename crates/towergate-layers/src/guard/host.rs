//! Hosts: as a request names them, and which of them are accepted.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

/// How containers name the machine that they run on, and so its loopback address (Docker Desktop, Podman).
const CONTAINER_HOSTS: [&str; 2] = ["host.docker.internal", "host.containers.internal"];

/// Domains that never resolve in the public DNS: RFC 6761 (`localhost`), RFC 6762 (`local`), RFC 8375 (`home.arpa`),
/// and the top-level domain that ICANN reserved for private use in 2024 (`internal`).
const PRIVATE_DOMAINS: [&str; 4] = ["localhost", "local", "internal", "home.arpa"];

/// The longest host name (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;

/// Which hosts a request may be for.
///
/// What stands in `Host` or `:authority` is the name that a browser resolved, so a page whose name was rebound to
/// this listener's address (DNS rebinding) betrays itself there. An IP address cannot be rebound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHosts {
    scope: Scope,
    patterns: Arc<[HostPattern]>,
}

/// A host that is accepted: `gateway.example.com`, `10.0.0.5`, `*.example.com` (every name below it), or `any`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern(pub(super) Pattern);

/// What is wrong with a [`HostPattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidHost;

/// What is accepted without being named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Loopback,
    Network,
    /// What the browser found in the server's certificate.
    Certified,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    Any,
    Address(IpAddr),
    Name(Box<str>),
    /// Every name below this one.
    Below(Box<str>),
}

/// A host with its port, as `Host`, `:authority` and `Origin` have them (RFC 3986, section 3.2, without user
/// information).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    pub(super) host: Host<'a>,
    pub(super) port: Option<u16>,
}

/// A host; names are compared without regard to case, and have no dot at their end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Host<'a> {
    Address(IpAddr),
    Name(&'a str),
}

// === impl AllowedHosts ===

impl AllowedHosts {
    /// Every host: nothing is checked.
    #[must_use]
    pub fn any() -> Self {
        Self::loopback().and([HostPattern(Pattern::Any)])
    }

    /// Loopback names and addresses, on any port: `localhost` and what is below it, `127.0.0.0/8`, `[::1]`, and the names
    /// by which containers reach the loopback address of their machine (`host.docker.internal`,
    /// `host.containers.internal`).
    #[must_use]
    pub fn loopback() -> Self {
        Self { scope: Scope::Loopback, patterns: Arc::from([]) }
    }

    /// What only a private network resolves, on any port: all of [`loopback`](Self::loopback), every IP address, names
    /// without a dot (a container, a Kubernetes service of the same namespace), and names below `local`, `internal`
    /// and `home.arpa`. A name of the public DNS, which anybody can point here, is not among them.
    #[must_use]
    pub fn private_network() -> Self {
        Self { scope: Scope::Network, patterns: Arc::from([]) }
    }

    /// [`loopback`](Self::loopback) for a listener that only this machine reaches, else
    /// [`private_network`](Self::private_network).
    #[must_use]
    pub fn for_listener(address: SocketAddr) -> Self {
        if address.ip().to_canonical().is_loopback() { Self::loopback() } else { Self::private_network() }
    }

    /// Every host, at a listener that speaks TLS: a browser talks to it by no name but one of its certificate.
    #[must_use]
    pub fn for_tls_listener() -> Self {
        Self { scope: Scope::Certified, patterns: Arc::from([]) }
    }

    /// These hosts, too.
    #[must_use]
    pub fn and(self, patterns: impl IntoIterator<Item = HostPattern>) -> Self {
        Self { patterns: self.patterns.iter().cloned().chain(patterns).collect(), ..self }
    }

    /// What is accepted by name here, at another listener, which is plain.
    #[must_use]
    pub fn at(&self, listener: SocketAddr) -> Self {
        Self { patterns: Arc::clone(&self.patterns), ..Self::for_listener(listener) }
    }

    /// Whether a host is accepted, written as in `Host` or `:authority`. Its port does not matter. None at all is
    /// accepted, for every browser names one.
    #[must_use]
    pub fn allows(&self, authority: &str) -> bool {
        authority.is_empty()
            || self.scope == Scope::Certified
            || self.patterns.iter().any(HostPattern::is_any)
            || Authority::parse(authority).is_some_and(|Authority { host, .. }| {
                self.scope.holds(host) || self.patterns.iter().any(|pattern| pattern.matches(host))
            })
    }
}

impl Scope {
    fn holds(self, host: Host<'_>) -> bool {
        match (self, host) {
            (Self::Certified, _) | (Self::Network, Host::Address(_)) => true,
            (Self::Loopback, Host::Address(address)) => address.is_loopback(),
            (_, Host::Name(name)) if is_below(name, "localhost") => true,
            (Self::Network, Host::Name(name)) => {
                !name.contains('.') || PRIVATE_DOMAINS.iter().any(|domain| is_below(name, domain))
            }
            (Self::Loopback, Host::Name(name)) => {
                name.eq_ignore_ascii_case("localhost")
                    || CONTAINER_HOSTS.iter().any(|host| name.eq_ignore_ascii_case(host))
            }
        }
    }
}

/// Whether a name is below a domain.
fn is_below(name: &str, domain: &str) -> bool {
    let Some((above, end)) = name.len().checked_sub(domain.len()).and_then(|at| name.split_at_checked(at))
    else {
        return false;
    };
    end.eq_ignore_ascii_case(domain) && above.strip_suffix('.').is_some_and(|above| !above.is_empty())
}

// === impl HostPattern ===

impl HostPattern {
    pub(super) fn is_any(&self) -> bool {
        self.0 == Pattern::Any
    }

    pub(super) fn matches(&self, host: Host<'_>) -> bool {
        match (&self.0, host) {
            (Pattern::Any, _) => true,
            (Pattern::Address(allowed), Host::Address(address)) => *allowed == address,
            (Pattern::Name(allowed), Host::Name(name)) => allowed.eq_ignore_ascii_case(name),
            (Pattern::Below(domain), Host::Name(name)) => is_below(name, domain),
            _ => false,
        }
    }
}

impl FromStr for HostPattern {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if matches!(text, "any" | "*") {
            return Ok(Self(Pattern::Any));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(Pattern::Address(address.to_canonical())));
        }
        match Pattern::parse(text) {
            Some((pattern, None)) => Ok(Self(pattern)),
            _ => Err(InvalidHost),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pattern::Any => f.write_str("any"),
            Pattern::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Pattern::Address(address) => address.fmt(f),
            Pattern::Name(name) => f.write_str(name),
            Pattern::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl Pattern {
    /// A host, or `*.` and a domain, and the port behind it.
    pub(super) fn parse(text: &str) -> Option<(Self, Option<u16>)> {
        let (below, named) = match text.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, text),
        };
        let Authority { host, port } = Authority::parse(named)?;
        let pattern = match host {
            Host::Name(name) if below => Self::Below(name.to_ascii_lowercase().into()),
            Host::Name(name) => Self::Name(name.to_ascii_lowercase().into()),
            Host::Address(address) if !below => Self::Address(address),
            Host::Address(_) => return None,
        };
        Some((pattern, port))
    }
}

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this is not a host; write it without scheme and port, such as gateway.example.com, *.example.com or \
             10.0.0.5, or any",
        )
    }
}

impl std::error::Error for InvalidHost {}

// === impl Authority ===

impl<'a> Authority<'a> {
    /// `None` for what is not a host with or without a port: user information, a path, a second port, bytes that no
    /// host name has.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, behind) = rest.split_once(']')?;
                let address = IpAddr::V6(address.parse::<Ipv6Addr>().ok()?);
                let port = if behind.is_empty() { behind } else { behind.strip_prefix(':')? };
                (Host::Address(address.to_canonical()), port)
            }
            None => {
                let (host, port) = text.split_once(':').unwrap_or((text, ""));
                (Host::parse(host)?, port)
            }
        };
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = if port.is_empty() { None } else { Some(port.parse().ok().filter(|_| is_number)?) };
        Some(Self { host, port })
    }
}

impl<'a> Host<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        // An underscore is in no host name of the DNS, but in those of containers.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_sound = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_name);
        is_sound.then_some(Self::Name(text))
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one == other,
            (Self::Name(one), Self::Name(other)) => one.eq_ignore_ascii_case(other),
            _ => false,
        }
    }
}

impl Eq for Host<'_> {}
