//! [`CdnLoop`]: finds out that the base URL leads back to the gateway.

use http::{HeaderMap, HeaderName, HeaderValue};
use towergate_core::{Error, ErrorKind, Phase, Sent};

pub(super) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// What every id of ours begins with.
const PREFIX: &str = "towergate-";

/// The id by which a leaf signs its requests in the field `CDN-Loop` (RFC 8586), its own and no other's: a request
/// that it signed before has gone round. `Via` would do as well, but makes servers serve otherwise (RFC 8586, section
/// 1). Of the ids of others, those of towergates go on, so that a round through several of them is seen; all else says
/// too much of the callers' network.
#[derive(Debug)]
pub(super) struct CdnLoop {
    id: String,
    field: HeaderValue,
}

// === impl CdnLoop ===

impl CdnLoop {
    pub(super) fn new() -> Self {
        let id = format!("{PREFIX}{:016x}", fastrand::u64(..));
        // Letters, digits and a hyphen.
        let field = HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("towergate"));
        Self { id, field }
    }

    /// The field for the upstream of a request that came with these.
    pub(super) fn sign(&self, headers: &HeaderMap) -> Result<HeaderValue, Error> {
        if !headers.contains_key(CDN_LOOP) {
            return Ok(self.field.clone());
        }
        let mut ids = Vec::new();
        let values = headers.get_all(CDN_LOOP).iter().filter_map(|value| value.to_str().ok());
        for member in values.flat_map(|value| value.split(',')) {
            let id = member.split(';').next().unwrap_or_default().trim();
            if id == self.id {
                return Err(gone_round());
            }
            if id.starts_with(PREFIX) {
                ids.push(id);
            }
        }
        ids.push(&self.id);
        Ok(HeaderValue::from_str(&ids.join(", ")).unwrap_or_else(|_| self.field.clone()))
    }
}

fn gone_round() -> Error {
    Error::new(ErrorKind::LoopDetected, "the request came back to the gateway: the base URL leads to itself")
        .with_phase(Phase::Connect)
        .with_sent(Sent::Nothing)
        .with_setting("base_url")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (CDN_LOOP, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn it_signs_and_keeps_the_signatures_of_its_like() {
        let (one, other) = (CdnLoop::new(), CdnLoop::new());
        let first = one.sign(&HeaderMap::new()).unwrap();
        assert_eq!(first, one.id);
        let inbound = headers(&["example-cdn; a=b", first.to_str().unwrap()]);
        assert_eq!(other.sign(&inbound).unwrap(), format!("{}, {}", one.id, other.id));
    }

    #[test]
    fn what_it_signed_before_has_gone_round() {
        let own = CdnLoop::new();
        for field in [vec![own.id.clone()], vec!["a".to_owned(), format!("towergate-x ,  {} ; v=1", own.id)]]
        {
            let field: Vec<&str> = field.iter().map(String::as_str).collect();
            let error = own.sign(&headers(&field)).unwrap_err();
            assert_eq!((error.kind(), error.sent()), (ErrorKind::LoopDetected, Sent::Nothing));
        }
        assert!(own.sign(&headers(&["garbage", ";", ""])).is_ok());
    }
}
