//! Finding the client key among the credentials of a request.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
};
use towergate_core::{Error, ErrorKind};

use super::keys::{Client, ClientKeys};

const API_KEY: HeaderName = HeaderName::from_static("api-key");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Credentials of a request that are looked at: one for each place that can hold a key. A request with more is none of
/// an SDK's, and each costs a digest.
pub(super) const MAX_CANDIDATES: usize = 4;
/// How OpenAI's own WebSocket endpoints take a key from a browser.
const SUBPROTOCOL: &str = "openai-insecure-api-key.";

/// The search for a client key among the credentials of one request.
struct Search<'k> {
    keys: &'k ClientKeys,
    client: Option<&'k Client>,
    /// Credentials that were looked at.
    candidates: usize,
    /// Whether there was a credential at all.
    shown: bool,
}

/// Finds the client, and removes every field that holds one of the gateway's keys.
pub(super) fn admit<'k>(keys: &'k ClientKeys, headers: &mut HeaderMap) -> Result<&'k Client, Error> {
    let mut search = Search { keys, client: None, candidates: 0, shown: false };
    for name in [AUTHORIZATION, API_KEY, X_API_KEY] {
        search.field(name, headers);
    }
    search.subprotocols(headers);
    search.client.ok_or_else(|| refusal(search.shown))
}

// === impl Search ===

impl Search<'_> {
    /// Whether a credential must not go on: it is one of the gateway's keys, or could be one, as it comes after the
    /// last that is looked at.
    fn takes(&mut self, candidate: &[u8]) -> bool {
        self.shown = true;
        if self.candidates == MAX_CANDIDATES {
            return true;
        }
        self.candidates += 1;
        let found = self.keys.find(candidate);
        self.client = self.client.or(found);
        found.is_some()
    }

    fn field(&mut self, name: HeaderName, headers: &mut HeaderMap) {
        let is_bearer = name == AUTHORIZATION;
        let mut taken = false;
        for value in headers.get_all(&name) {
            self.shown = true;
            let candidate = if is_bearer { bearer(value.as_bytes()) } else { Some(value.as_bytes()) };
            taken |= candidate.is_some_and(|candidate| self.takes(candidate));
        }
        if taken {
            headers.remove(name);
        }
    }

    /// Takes keys from the list of subprotocols; the others stay, in order.
    fn subprotocols(&mut self, headers: &mut HeaderMap) {
        let shows_key = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(SUBPROTOCOL));
        if !headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().any(shows_key) {
            return;
        }
        let mut taken = false;
        let kept: Vec<&str> = headers
            .get_all(SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|protocol| {
                let candidate = protocol.strip_prefix(SUBPROTOCOL);
                let takes = candidate.is_some_and(|candidate| self.takes(candidate.as_bytes()));
                taken |= takes;
                !takes
            })
            .collect();
        if taken {
            let kept = HeaderValue::try_from(kept.join(", ")).ok().filter(|kept| !kept.is_empty());
            headers.remove(SEC_WEBSOCKET_PROTOCOL);
            if let Some(kept) = kept {
                headers.insert(SEC_WEBSOCKET_PROTOCOL, kept);
            }
        }
    }
}

/// The token of a bearer field; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn refusal(shown: bool) -> Error {
    let message = if shown {
        "the client key is not one of this gateway's; send one of its own as \"Authorization: Bearer <key>\""
    } else {
        "this gateway asks for a client key; send one as \"Authorization: Bearer <key>\""
    };
    Error::new(ErrorKind::Unauthorized, message)
}
