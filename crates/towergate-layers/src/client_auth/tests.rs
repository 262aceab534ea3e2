use std::{cell::Cell, convert::Infallible, sync::Mutex};

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use secrecy::SecretString;
use tower::{ServiceExt as _, service_fn};
use towergate_core::{Error, ErrorKind, access::ClientAccess, label::Label};

use super::{admit::MAX_CANDIDATES, keys::MAX_KEY_BYTES, *};

thread_local! {
    /// Digests that this thread has made of candidates and keys.
    pub(super) static DIGESTS: Cell<usize> = const { Cell::new(0) };
    /// Digests that it has compared with another.
    pub(super) static COMPARISONS: Cell<usize> = const { Cell::new(0) };
}

/// What a search for the client costs: digests made, and digests compared.
fn cost(keys: &ClientKeys, headers: &mut HeaderMap) -> (usize, usize) {
    DIGESTS.set(0);
    COMPARISONS.set(0);
    let _ = admit(keys, headers);
    (DIGESTS.get(), COMPARISONS.get())
}

fn key(text: &str) -> ClientKey {
    ClientKey::new(&SecretString::from(text)).unwrap()
}

fn keys() -> ClientKeys {
    let named = [("alice", "tg-alice"), ("bob", "tg-bob"), ("alice", "tg-alice-2")];
    ClientKeys::new(named.map(|(name, text)| (Label::new(name), key(text)))).unwrap()
}

/// What the inner service got: the client's name, and the headers.
async fn send(
    layer: &ClientAuthLayer,
    fields: &[(&'static str, &'static str)],
) -> Result<(Option<String>, HeaderMap), BoxError> {
    let seen = Mutex::new(None);
    let service = layer.layer(service_fn(async |request: Request<()>| {
        *seen.lock().unwrap() = Some(request);
        Ok::<_, Infallible>(Response::new(()))
    }));
    let mut request = Request::new(());
    for (name, value) in fields {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    service.oneshot(request).await?;
    let seen = seen.into_inner().unwrap().unwrap();
    let client = seen.extensions().get::<ClientName>().map(|ClientName(name)| name.to_string());
    Ok((client, seen.headers().clone()))
}

#[tokio::test]
async fn a_right_key_lets_in_and_goes_no_further() {
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[("authorization", "Bearer tg-alice")], "alice"),
        (&[("authorization", "bEaReR   tg-alice-2 ")], "alice"),
        (&[("api-key", "tg-bob")], "bob"),
        (&[("x-api-key", "tg-bob")], "bob"),
        (&[("x-api-key", "tg-bob"), ("authorization", "Bearer tg-bob")], "bob"),
        (&[("authorization", "Bearer junk"), ("authorization", "Bearer tg-bob")], "bob"),
        (&[("sec-websocket-protocol", "openai-insecure-api-key.tg-bob")], "bob"),
    ];
    for (fields, name) in cases {
        let (client, headers) = send(&ClientAuthLayer::new(keys()), fields).await.unwrap();
        assert_eq!(client.as_deref(), Some(name));
        assert!(headers.is_empty(), "{fields:?} left {headers:?}");
    }
}

#[tokio::test]
async fn what_is_not_the_gateways_own_key_stays() {
    let fields = [("x-api-key", "tg-alice"), ("authorization", "Bearer sk-callers-own"), ("cookie", "a=b")];
    let (_, headers) = send(&ClientAuthLayer::new(keys()), &fields).await.unwrap();
    assert_eq!(headers["authorization"], "Bearer sk-callers-own");
    assert!(headers.contains_key("cookie") && !headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn the_other_subprotocols_stay_in_order() {
    let fields = [
        ("sec-websocket-protocol", "realtime, openai-insecure-api-key.tg-alice"),
        ("sec-websocket-protocol", "openai-beta.realtime-v1"),
    ];
    let (client, headers) = send(&ClientAuthLayer::new(keys()), &fields).await.unwrap();
    assert_eq!(client.as_deref(), Some("alice"));
    assert_eq!(headers["sec-websocket-protocol"], "realtime, openai-beta.realtime-v1");
    assert_eq!(headers.len(), 1);
}

#[tokio::test]
async fn without_a_right_key_nobody_comes_in_and_nothing_is_echoed() {
    let cases: [&[(&str, &str)]; 10] = [
        &[],
        &[("authorization", "Bearer sk-canary")],
        &[("authorization", "Bearer tg-alice-canary")],
        &[("authorization", "Bearer tg-alic")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "tg-alice")],
        &[("authorization", "Basic tg-alice")],
        &[("api-key", "Bearer tg-alice")],
        &[("sec-websocket-protocol", "tg-alice, openai-insecure-api-key.canary")],
    ];
    for fields in cases {
        let error = send(&ClientAuthLayer::new(keys()), fields).await.unwrap_err();
        let error = Error::find(&*error).unwrap();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{fields:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("Authorization: Bearer <key>") && !text.contains("canary"), "{text}");
        assert_eq!(text.contains("asks for a client key"), fields.is_empty());
    }
}

#[tokio::test]
async fn a_preflight_is_told_what_would_answer_it() {
    let service = ClientAuthLayer::new(keys())
        .layer(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(()))));
    for (method, fields, is_preflight) in [
        ("OPTIONS", &["origin", "access-control-request-method"][..], true),
        ("OPTIONS", &["origin"], false),
        ("OPTIONS", &["access-control-request-method"], false),
        ("GET", &["origin", "access-control-request-method"], false),
    ] {
        let request = Request::builder().method(method);
        let request =
            fields.iter().fold(request, |request, name| request.header(*name, "GET")).body(()).unwrap();
        let error = Error::from_boxed(service.clone().oneshot(request).await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert_eq!(error.setting(), is_preflight.then_some("server.cors"), "{method} {fields:?}");
    }
}

#[tokio::test]
async fn what_a_key_reaches_goes_with_the_request() {
    let restricted = ClientAccess::all().allowed_models(["gpt-4o"]);
    let keys = ClientKeys::new([
        (Label::new("alice"), key("tg-alice").access(restricted.clone())),
        (Label::new("bob"), key("tg-bob").access(ClientAccess::all())),
    ]);
    let service = ClientAuthLayer::new(keys.unwrap()).layer(service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(request.extensions().get::<Arc<ClientAccess>>().cloned()))
    }));
    for (shown, access) in [("tg-alice", Some(Arc::new(restricted))), ("tg-bob", None)] {
        let request = Request::builder().header("api-key", shown).body(()).unwrap();
        assert_eq!(*service.clone().oneshot(request).await.unwrap().body(), access);
    }
}

#[tokio::test]
async fn the_name_is_known_however_the_request_ends() {
    let service = ClientAuthLayer::new(keys())
        .layer(service_fn(async |_: Request<()>| Err::<Response<()>, BoxError>("full".into())));
    let mut request = Request::builder().header("api-key", "tg-bob").body(()).unwrap();
    let record = RequestRecord::of(request.extensions_mut());
    service.oneshot(request).await.unwrap_err();
    assert_eq!(record.client(), Some(&ClientName(Label::new("bob"))));
}

#[tokio::test]
async fn four_credentials_are_looked_at_and_what_comes_after_goes_no_further() {
    let subprotocols = "openai-insecure-api-key.tg-bob, realtime";
    let fields = |right: usize| {
        let mut fields: [_; 5] = std::array::from_fn(|at| {
            ("authorization", if at == right { "Bearer tg-alice" } else { "Bearer sk-other" })
        });
        fields[4].0 = "x-api-key";
        fields[4].1 = "tg-bob";
        fields.into_iter().chain([("sec-websocket-protocol", subprotocols)]).collect::<Vec<_>>()
    };
    let (client, headers) = send(&ClientAuthLayer::new(keys()), &fields(3)).await.unwrap();
    assert_eq!(client.as_deref(), Some("alice"));
    // Keys of the gateway's that nobody looked at.
    assert_eq!(headers.len(), 1, "{headers:?}");
    assert_eq!(headers["sec-websocket-protocol"], "realtime");
    // The fifth and the sixth are right.
    send(&ClientAuthLayer::new(keys()), &fields(9)).await.unwrap_err();
}

#[test]
fn a_request_costs_four_digests_whatever_it_shows() {
    let bearer = |at: usize| ("authorization", format!("Bearer sk-{at}"));
    let list = (0..1000).map(|at| format!("openai-insecure-api-key.{at}")).collect::<Vec<_>>().join(",");
    let huge = "x".repeat(MAX_KEY_BYTES + 1);
    let cases = [
        (vec![], 0),
        (vec![bearer(0)], 1),
        (vec![("authorization", "Basic x".to_owned()), ("sec-websocket-protocol", "a,b".to_owned())], 0),
        (vec![bearer(0), ("api-key", "a".to_owned()), ("x-api-key", "b".to_owned())], 3),
        ((0..1000).map(bearer).collect(), 4),
        ((0..1000).map(|at| ("x-api-key", at.to_string())).collect(), 4),
        (vec![("sec-websocket-protocol", list)], 4),
        // Too long for a key.
        (vec![("authorization", format!("Bearer {huge}")), ("api-key", huge)], 0),
    ];
    for (fields, digests) in cases {
        let mut headers = HeaderMap::new();
        for (name, value) in &fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(cost(&keys(), &mut headers).0, digests, "{:?}", fields.first());
    }
}

#[test]
fn a_request_costs_the_same_for_one_key_and_for_100_000() {
    const REQUESTS: usize = 1000;
    for count in [1, 100_000_u32] {
        let known = (0..count).map(|at| {
            let key = ClientKey::from_sha256(&format!("{at:064x}")).unwrap();
            (Label::new(&at.to_string()), key)
        });
        let known = known.chain([(Label::new("me"), key("tg-me"))]);
        let keys = ClientKeys::new(known).unwrap();
        let (mut digests, mut comparisons) = (0, 0);
        for at in 0..REQUESTS {
            let mut headers = HeaderMap::new();
            headers.append("authorization", HeaderValue::from_str(&format!("Bearer sk-{at}")).unwrap());
            headers.append("x-api-key", HeaderValue::from_static("tg-me"));
            let (made, compared) = cost(&keys, &mut headers);
            (digests, comparisons) = (digests + made, comparisons + compared);
        }
        assert_eq!(digests, 2 * REQUESTS);
        // One each finds the client. What the table compares in vain does not grow with the keys: where the client's own
        // place has such neighbours, by the random key of the table, it is one or two more for each request.
        assert!((REQUESTS..5 * REQUESTS).contains(&comparisons), "{count} keys: {comparisons}");
    }
}

#[tokio::test]
async fn off_touches_nothing() {
    let (client, headers) = send(&ClientAuthLayer::off(), &[("authorization", "Bearer x")]).await.unwrap();
    assert_eq!(client, None);
    assert_eq!(headers["authorization"], "Bearer x");
}

#[test]
fn a_key_may_be_given_as_its_digest() {
    // The SHA-256 of "abc" (FIPS 180-2, appendix B.1).
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(ClientKey::from_sha256(hex).unwrap(), key("abc"));
    assert_eq!(ClientKey::from_sha256(&format!(" {}\n", hex.to_uppercase())).unwrap(), key(" abc\n"));
    for bad in ["", "abc", &hex[1..], &hex[2..], &format!("{hex}00"), &hex.replace('b', "g")] {
        assert_eq!(ClientKey::from_sha256(bad), Err(InvalidClientKeys::NotSha256), "{bad}");
    }
}

#[test]
fn keys_that_cannot_work_are_refused() {
    let of = |text: &str| ClientKey::new(&SecretString::from(text));
    assert_eq!(of(" \n"), Err(InvalidClientKeys::EmptyKey));
    assert_eq!(of("tg-\nx"), Err(InvalidClientKeys::NotAHeaderValue));
    assert!(of(&"x".repeat(MAX_KEY_BYTES)).is_ok());
    assert_eq!(of(&"x".repeat(MAX_KEY_BYTES + 1)), Err(InvalidClientKeys::TooLong));
    assert_eq!(ClientKeys::new([]).unwrap_err(), InvalidClientKeys::NoKeys);
    let (one, other) = (Label::new("one"), Label::new("other"));
    let same = ClientKeys::new([(one.clone(), key("tg-canary")), (other.clone(), key("tg-canary "))]);
    let error = same.unwrap_err();
    assert_eq!(error, InvalidClientKeys::SameKey(one, other));
    assert!(!error.to_string().contains("canary"));
}

#[test]
fn nothing_prints_a_key() {
    let layer = ClientAuthLayer::new(keys());
    let printed = format!("{layer:?} {:?}", key("tg-alice"));
    assert!(printed.contains("alice") && !printed.contains("tg-alice"), "{printed}");
}

proptest! {
    #[test]
    fn only_the_known_keys_are_found(text in "tg-[a-z]{0,3}") {
        let all = ["tg-a", "tg-b", "tg-ab"];
        let keys = ClientKeys::new(all.map(|text| (Label::new(text), key(text)))).unwrap();
        let expected = all.iter().find(|known| **known == text);
        prop_assert_eq!(keys.find(text.as_bytes()).map(|client| client.name.as_str()), expected.copied());
    }

    #[test]
    fn no_request_costs_more_than_four_digests(
        fields in proptest::collection::vec((0..4_usize, "(Bearer |openai-insecure-api-key\\.)?[a-z,. ]{0,20}"), 0..20)
    ) {
        const NAMES: [&str; 4] = ["authorization", "api-key", "x-api-key", "sec-websocket-protocol"];
        let mut headers = HeaderMap::new();
        for (name, value) in &fields {
            headers.append(NAMES[*name], HeaderValue::from_str(value).unwrap());
        }
        prop_assert!(cost(&keys(), &mut headers).0 <= MAX_CANDIDATES);
    }
}

#[tokio::test]
async fn an_idempotency_key_is_the_clients_own_where_there_are_several_clients() {
    let sent = async |keys: ClientKeys, client_key: &'static str, fields: &[(&'static str, &'static str)]| {
        let seen = Mutex::new(None);
        let service = ClientAuthLayer::new(keys).layer(service_fn(async |request: Request<()>| {
            *seen.lock().unwrap() = request.headers().get("idempotency-key").cloned();
            Ok::<_, Infallible>(Response::new(()))
        }));
        let mut request = Request::new(());
        for (name, value) in fields.iter().chain(&[("api-key", client_key)]) {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        let response = service.oneshot(request).await.unwrap();
        let modified = response.headers().get(X_TOWERGATE_MODIFIED).is_some_and(|it| it == "idempotency-key");
        (seen.into_inner().unwrap(), modified)
    };
    let chosen = [("idempotency-key", "k-1")];
    let (alices, modified) = sent(keys(), "tg-alice", &chosen).await;
    assert!(modified && alices.is_some());
    assert_ne!(alices.as_ref().unwrap(), "k-1");
    // The same client under another of its keys.
    assert_eq!(sent(keys(), "tg-alice-2", &chosen).await, (alices.clone(), true));
    assert_ne!(sent(keys(), "tg-bob", &chosen).await.0, alices);
    assert_eq!(sent(keys(), "tg-bob", &[]).await, (None, false));

    let one = ["tg-alice", "tg-alice-2"].map(|text| (Label::new("alice"), key(text)));
    let one = ClientKeys::new(one).unwrap();
    assert_eq!(sent(one, "tg-alice", &chosen).await, (Some(HeaderValue::from_static("k-1")), false));
}

#[tokio::test]
async fn a_connection_is_told_once_a_request_was_let_in() {
    let service = |layer: ClientAuthLayer| {
        layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(()))))
    };
    let request = |connection: &Downstream, key: &str| {
        let request = Request::builder().header("authorization", key).extension(connection.clone());
        request.body(()).unwrap()
    };
    let connection = Downstream::default();
    let guarded = service(ClientAuthLayer::new(keys()));
    assert!(guarded.clone().oneshot(request(&connection, "Bearer wrong")).await.is_err());
    assert!(!connection.is_admitted());
    guarded.clone().oneshot(request(&connection, "Bearer tg-alice")).await.unwrap();
    assert!(connection.is_admitted());
    assert!(guarded.oneshot(request(&connection, "Bearer wrong")).await.is_err());
    assert!(connection.is_admitted(), "once and for all");
    let connection = Downstream::default();
    service(ClientAuthLayer::off()).oneshot(request(&connection, "none")).await.unwrap();
    assert!(connection.is_admitted());
}
