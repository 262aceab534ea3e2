use std::{collections::VecDeque, sync::Mutex, time::Duration};

use http::{HeaderValue, StatusCode};
use secrecy::SecretString;
use tokio::time::advance;
use tower::{ServiceExt as _, service_fn};
use towergate_core::{Body, Route, credentials::CredentialSource, label::Label};

use super::*;

fn credential(key: &str) -> Credential {
    Credential::new(&SecretString::from(key)).unwrap()
}

fn ring(keys: &[(&'static str, f64)]) -> KeyRing {
    let keys =
        keys.iter().map(|(key, weight)| RingKey::new(Label::new(key), credential(key)).weight(*weight));
    KeyRing::new(Label::new("openai"), keys)
}

/// One attempt for a model, answered like this; the key that was picked, and whether another is free.
async fn attempt(
    ring: &KeyRing,
    model: &str,
    status: u16,
    retry_after: Option<&'static str>,
) -> (String, bool) {
    let seen = Arc::new(Mutex::new(VecDeque::new()));
    let saw = Arc::clone(&seen);
    let service = KeyRingLayer::new(ring.clone()).layer(service_fn(move |request: Request<Body>| {
        let picked = request.extensions().get::<Credential>().cloned();
        saw.lock().unwrap().push_back(picked.map(|picked| picked.bearer().to_str().unwrap()[7..].to_owned()));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(wait) = retry_after {
            response.headers_mut().insert("retry-after", HeaderValue::from_static(wait));
        }
        async move { Ok::<_, BoxError>(response) }
    }));
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(facts(model));
    let response = service.oneshot(request).await.unwrap();
    let picked = seen.lock().unwrap().pop_front().unwrap().unwrap_or_default();
    (picked, response.extensions().get::<OtherCredential>().is_some())
}

fn facts(model: &str) -> Arc<Facts> {
    static ROUTE: Route = Route {
        name: "chat",
        index: 0,
        template: "",
        reads: towergate_core::route::Reads::Json,
        requires_model: true,
        generates: true,
        holds_answer: true,
        bare: false,
        stateless: true,
    };
    let mut facts = Facts::of_route(&ROUTE, Label::new("other"));
    facts.model = Some(model.into());
    Arc::new(facts)
}

async fn picks(ring: &KeyRing, model: &str, count: usize) -> String {
    let mut picked = String::new();
    for _ in 0..count {
        picked += &attempt(ring, model, 200, None).await.0;
    }
    picked
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn keys_take_turns_by_weight() {
    let picked = picks(&ring(&[("a", 3.0), ("b", 1.0)]), "m", 8).await;
    assert_eq!(picked.matches('a').count(), 6, "{picked}");
    assert_eq!(picks(&ring(&[("a", 0.0), ("b", 1.0)]), "m", 3).await, "bbb");
}

#[tokio::test(start_paused = true)]
async fn a_limit_sets_a_key_aside_for_its_model_and_its_time() {
    let ring = ring(&[("a", 1.0), ("b", 1.0)]);
    assert_eq!(attempt(&ring, "m", 429, Some("7")).await, ("a".to_owned(), true));
    assert_eq!(picks(&ring, "m", 3).await, "bbb");
    let others = picks(&ring, "other", 4).await;
    assert_eq!(others.matches('a').count(), 2, "{others}");
    assert_eq!(ring.limited_until("m".into()), None);
    advance(s(7)).await;
    assert!(picks(&ring, "m", 2).await.contains('a'));
}

#[tokio::test(start_paused = true)]
async fn where_all_are_limited_the_soonest_is_used_and_the_router_is_told() {
    let ring = ring(&[("a", 1.0), ("b", 1.0)]);
    let now = tokio::time::Instant::now();
    assert_eq!(attempt(&ring, "m", 429, Some("9")).await, ("a".to_owned(), true));
    assert_eq!(attempt(&ring, "m", 429, None).await, ("b".to_owned(), false));
    assert_eq!(ring.limited_until(Some("m")), Some(now + s(1)));
    assert_eq!(ring.limited_until(Some("other")), None);
    assert_eq!(picks(&ring, "m", 1).await, "b");
    // It answered, so it is well again.
    assert_eq!(ring.limited_until(Some("m")), None);
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_is_set_aside_for_every_model() {
    let ring = ring(&[("a", 1.0), ("b", 1.0)]);
    assert_eq!(attempt(&ring, "m", 401, None).await, ("a".to_owned(), true));
    assert_eq!(picks(&ring, "other", 3).await, "bbb");
    advance(s(60)).await;
    assert!(picks(&ring, "m", 2).await.contains('a'));
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_end_is_bounded() {
    let ring = ring(&[("a", 1.0)]);
    attempt(&ring, "m", 429, Some("86400")).await;
    assert_eq!(ring.limited_until(Some("m")), Some(tokio::time::Instant::now() + s(300)));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_about_the_key_leaves_it() {
    let ring = ring(&[("a", 1.0)]);
    for status in [200, 400, 403, 404, 408, 500, 503] {
        // With one key, Auth asks its source.
        assert_eq!(attempt(&ring, "m", status, Some("5")).await, (String::new(), false));
    }
    assert_eq!(ring.limited_until(Some("m")), None);
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_another_one() {
    struct Rotating(Mutex<&'static str>);
    impl CredentialSource for Rotating {
        fn credential(&self) -> Option<Credential> {
            Some(credential(*self.0.lock().unwrap()))
        }
    }
    let source = Arc::new(Rotating(Mutex::new("old")));
    let ring = KeyRing::new(Label::new("openai"), [RingKey::new(Label::new("1"), Arc::clone(&source))]);
    attempt(&ring, "m", 401, None).await;
    assert!(ring.limited_until(Some("m")).is_some());
    *source.0.lock().unwrap() = "new";
    assert_eq!(ring.limited_until(Some("m")), None);
}

#[tokio::test(start_paused = true)]
async fn what_clients_name_is_remembered_within_bounds() {
    let ring = ring(&[("a", 1.0)]);
    for number in 0..1000 {
        attempt(&ring, &format!("junk-{number}"), 429, Some("60")).await;
    }
    let limited = (0..1000).filter(|number| ring.limited_until(Some(&format!("junk-{number}"))).is_some());
    assert_eq!(limited.count(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_name_of_a_megabyte_is_not_remembered() {
    let (ring, long) = (ring(&[("a", 1.0)]), "m".repeat(1 << 20));
    attempt(&ring, &long, 429, Some("60")).await;
    assert!(ring.limited_until(Some(&long)).is_none() && ring.limited_until(None).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_key_is_never_set_aside() {
    let ring = ring(&[("a", 1.0)]);
    let service = KeyRingLayer::new(ring.clone()).layer(service_fn(async |_: Request<Body>| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        response.extensions_mut().insert(CallerCredential);
        Ok::<_, BoxError>(response)
    }));
    service.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(ring.limited_until(None), None);
}
