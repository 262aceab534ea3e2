//! Which hosts a gateway answers for, and which web pages may call it.

use std::net::SocketAddr;

use http::Request;
use tower_http::cors::CorsLayer;
use towergate_core::Error;
use towergate_layers::guard::{AllowedHosts, AllowedOrigins, Rules};

use crate::{Gateway, GatewayBuilder, cors};

/// What is set of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct GuardSettings {
    hosts: Option<AllowedHosts>,
    origins: AllowedOrigins,
    cors: AllowedOrigins,
}

// === impl GuardSettings ===

impl GuardSettings {
    /// What is asked of a request to the API, before its key.
    pub(crate) fn rules(&self, asks_for_keys: bool) -> Rules {
        let rules = match &self.hosts {
            Some(hosts) if !asks_for_keys => Rules::for_every_request(hosts.clone()),
            _ => Rules::for_websockets(),
        };
        rules.allowed_origins(self.origins.and(&self.cors))
    }

    /// What is asked of a request to a path for operators.
    fn operator_rules(&self, own_listener: Option<SocketAddr>, asks_for_keys: bool) -> Rules {
        let rules = match (&self.hosts, own_listener) {
            (Some(hosts), Some(listener)) => Rules::for_every_request(hosts.at(listener)),
            _ => self.rules(asks_for_keys),
        };
        rules.allowed_origins(self.origins.and(&self.cors)).links(true)
    }

    pub(crate) fn cors(&self) -> Option<CorsLayer> {
        (!self.cors.is_empty()).then(|| cors::layer(&self.cors))
    }
}

// === impl GatewayBuilder ===

impl GatewayBuilder {
    /// Keeps web pages out where clients show no keys: every request must be for one of these hosts, and a page of
    /// another origin gets a 403 unless [`allowed_origins`](Self::allowed_origins) or [`cors`](Self::cors) names it; see
    /// [`Rules`]. With [client keys](Self::client_keys) it changes nothing but for the operators' own listener. Default:
    /// nothing of it is checked; whose pages may call is the business of the app that the gateway is mounted in. WebSockets
    /// are held to the rule for origins in any case.
    pub fn allowed_hosts(mut self, hosts: AllowedHosts) -> Self {
        self.guard.hosts = Some(hosts);
        self
    }

    /// Web pages that may call, where pages of other origins are kept out, and open WebSockets. It does not make
    /// browsers show them what comes back; [`cors`](Self::cors) does. Default: none beyond the gateway's own origin.
    pub fn allowed_origins(mut self, origins: AllowedOrigins) -> Self {
        self.guard.origins = origins;
        self
    }

    /// Web pages of other origins that may call, and read what comes back (CORS): their preflights are answered before
    /// clients have to show keys, and every response, errors and streams too, has the headers that browsers ask for. Default:
    /// none, and no such headers.
    pub fn cors(mut self, origins: AllowedOrigins) -> Self {
        self.guard.cors = origins;
        self
    }
}

// === impl Gateway ===

impl Gateway {
    /// Whether a request may see what is for operators, such as metrics: beside the API, if it may call the API; at
    /// a listener of its own, by the rules for one that asks for no keys, whether the API does or not. A link to it may be
    /// followed. Where no [`allowed_hosts`](GatewayBuilder::allowed_hosts) are set, it may.
    ///
    /// # Errors
    ///
    /// As [`Rules::check`].
    pub fn check_operator<B>(
        &self,
        request: &Request<B>,
        own_listener: Option<SocketAddr>,
    ) -> Result<(), Error> {
        let (guard, asks_for_keys) = self.guard();
        guard.operator_rules(own_listener, asks_for_keys).check(request)
    }
}
