use std::convert::Infallible;

use proptest::prelude::*;
use tower::{ServiceExt as _, service_fn};

use super::*;

/// Sends these ids; gives back the request's headers and id as the inner service saw them, and the
/// answer. The inner service answers with the ids in `upstream`.
async fn send(ids: &[&[u8]], upstream: &[&'static str]) -> (HeaderMap, RequestId, HeaderMap) {
    let mut request = Request::new(());
    for id in ids {
        request.headers_mut().append(X_REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
    }
    let (seen_in, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let service = RequestIdLayer::new().layer(service_fn(async |request: Request<()>| {
        let id = request.extensions().get::<RequestId>().unwrap().clone();
        seen_in.send((request.headers().clone(), id)).unwrap();
        let mut response = Response::new(());
        for id in upstream {
            response.headers_mut().append(X_REQUEST_ID, HeaderValue::from_static(id));
        }
        Ok::<_, Infallible>(response)
    }));
    let response = service.oneshot(request).await.unwrap();
    let (headers, id) = seen.recv().await.unwrap();
    (headers, id, response.headers().clone())
}

#[tokio::test]
async fn a_valid_id_is_kept_everywhere() {
    let (request, id, response) = send(&[b"client-1"], &[]).await;
    assert_eq!(request[X_REQUEST_ID], "client-1");
    assert_eq!(id.as_str(), "client-1");
    assert_eq!(response[X_REQUEST_ID], "client-1");
    assert!(!response.contains_key(X_UPSTREAM_REQUEST_ID));
}

#[tokio::test]
async fn a_missing_bad_or_ambiguous_id_is_replaced() {
    let long = [b'x'; RequestId::MAX_LEN + 1];
    let cases: [&[&[u8]]; 6] = [&[], &[b""], &[b"two words"], &[b"\xff"], &[&long], &[b"one", b"two"]];
    for sent in cases {
        let (request, id, response) = send(sent, &[]).await;
        let uuid = Uuid::try_parse(id.as_str()).unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(request.get_all(X_REQUEST_ID).iter().collect::<Vec<_>>(), [id.header()]);
        assert_eq!(response.get_all(X_REQUEST_ID).iter().collect::<Vec<_>>(), [id.header()]);
    }
}

#[tokio::test]
async fn each_request_has_its_own() {
    assert_ne!(send(&[], &[]).await.1, send(&[], &[]).await.1);
}

#[tokio::test]
async fn the_upstreams_id_is_kept_under_its_own_name() {
    let (_, _, response) = send(&[b"ours"], &["theirs", "again"]).await;
    assert_eq!(response.get_all(X_REQUEST_ID).iter().collect::<Vec<_>>(), ["ours"]);
    assert_eq!(response[X_UPSTREAM_REQUEST_ID], "theirs");
}

#[tokio::test]
async fn an_echo_of_ours_is_not_the_upstreams() {
    let (_, _, response) = send(&[b"ours"], &["ours"]).await;
    assert_eq!(response[X_REQUEST_ID], "ours");
    assert!(!response.contains_key(X_UPSTREAM_REQUEST_ID));
}

proptest! {
    #[test]
    fn what_is_kept_is_what_was_sent(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let headers = HeaderMap::from_iter([(X_REQUEST_ID, value)]);
            let valid = (1..=RequestId::MAX_LEN).contains(&bytes.len())
                && bytes.iter().all(u8::is_ascii_graphic);
            let kept = inbound(&headers);
            prop_assert_eq!(kept.is_some(), valid);
            if let Some(id) = kept {
                prop_assert_eq!(id.header().as_bytes(), &bytes[..]);
            }
        }
    }
}
