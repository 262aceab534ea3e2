//! Keeps the idempotency keys of several clients apart.
//!
//! An upstream sees all of them under one account: to a second request with the same `Idempotency-Key` it gives the response
//! to the first. So two clients that choose the same value, one of them on purpose, would share a response.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, header::Entry};
use sha2::{Digest as _, Sha256};
use towergate_core::label::Label;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Puts in place of an `Idempotency-Key` one that only this client gets, and gets again for the same value; whether there
/// was one. A value in quotes, as the IETF's draft wants it, stays one.
pub(super) fn scope(client: &Label, headers: &mut HeaderMap) -> bool {
    let Entry::Occupied(mut entry) = headers.entry(IDEMPOTENCY_KEY) else { return false };
    for value in entry.iter_mut() {
        *value = scoped(client.as_str(), value);
    }
    true
}

fn scoped(client: &str, value: &HeaderValue) -> HeaderValue {
    let value = value.as_bytes();
    // The length keeps "ab" of the client "c" and "b" of "ca" apart.
    let digest = Sha256::new()
        .chain_update((client.len() as u64).to_be_bytes())
        .chain_update(client)
        .chain_update(value)
        .finalize();
    let is_quoted = value.len() > 1 && value.starts_with(b"\"") && value.ends_with(b"\"");
    let quote = if is_quoted { "\"" } else { "" };
    let mut text = quote.to_owned();
    for byte in digest {
        let _ = write!(text, "{byte:02x}");
    }
    text.push_str(quote);
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(client: &str, values: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static(value));
        }
        assert_eq!(scope(&Label::new(client), &mut headers), !values.is_empty());
        headers.get_all(IDEMPOTENCY_KEY).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_key_is_the_clients_own_and_stable() {
        let alices = of("alice", &["k"]);
        assert_eq!(alices, of("alice", &["k"]));
        assert_eq!((alices.len(), alices[0].len()), (1, 64));
        assert_ne!(alices, of("bob", &["k"]));
        assert_ne!(alices, of("alice", &["l"]));
        assert_ne!(of("a", &["bc"]), of("ab", &["c"]));
        // Who knows another one's key cannot ask for it.
        assert_ne!(of("bob", &["dd"]), ["dd"]);
        assert_eq!(of("alice", &["k", "l"]), [&alices[0], &of("alice", &["l"])[0]].map(String::clone));
        assert_eq!(of("alice", &[]), [""; 0]);
    }

    #[test]
    fn a_string_stays_one() {
        let quoted = of("alice", &["\"k\""]).remove(0);
        assert!(quoted.len() == 66 && quoted.starts_with('"') && quoted.ends_with('"'), "{quoted}");
        assert_eq!(of("alice", &["\""])[0].len(), 64);
    }
}
