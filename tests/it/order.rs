//! The order of the layers, held by what it does: each test fails where two neighbours that must
//! not be swapped are (`docs/stack.md`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tower::{ServiceExt as _, service_fn};
use towergate::{
    Body, Gateway, ServiceProvider,
    core::{
        BoxError,
        credentials::{Credential, CredentialSource},
    },
    layers::{breaker::BreakerConfig, guard::AllowedOrigins, retry::RetryLayer, timeout::Timeouts},
};
use towergate_sim::{Fault, Gate};

use super::support::{PROVIDER_KEY, Several, World, chat, chat_stream, counted};

/// A gateway over a service in this process.
fn over<F>(leaf: F) -> Gateway
where
    F: Fn(Request<Body>) -> Result<Response<Body>, BoxError> + Clone + Send + Sync + 'static,
{
    let leaf = service_fn(move |request| std::future::ready(leaf(request)));
    Gateway::builder().provider(ServiceProvider::new("test", leaf)).build().unwrap()
}

/// RequestId and Metrics outside of CatchPanic, and CatchPanic outside of all that may panic.
#[test]
fn a_panic_is_an_answer_with_an_id_and_counts_as_what_it_is() {
    let counted = counted(async {
        let gateway = over(|_| panic!("on purpose"));
        let request = Request::get("/v1/models").body(Body::empty()).unwrap();
        let response = gateway.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key("x-request-id"));
    });
    assert_eq!(counted.get("towergate_requests_total{internal}"), Some(&1), "{counted:?}");
}

/// Respond outside of the inner CatchPanic: a panic inside a stream is told in it, once.
#[tokio::test]
async fn a_panic_inside_a_stream_is_its_last_event() {
    let content =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\n";
    let gateway = over(move |_| {
        let frames = futures_util::stream::iter([true, false]).map(move |well| {
            assert!(well, "on purpose");
            Ok::<_, BoxError>(Frame::data(bytes::Bytes::from_static(content.as_bytes())))
        });
        let mut response = Response::new(Body::new(StreamBody::new(frames)));
        response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        Ok(response)
    });
    let request = Request::post("/v1/chat/completions").header("content-type", "application/json");
    let request = request.body(Body::from(chat_stream("gpt-4o").to_string())).unwrap();
    let mut body = gateway.oneshot(request).await.unwrap().into_body();
    let mut frames = Vec::new();
    let end = loop {
        match body.frame().await {
            Some(Ok(frame)) => frames.push(frame.into_data().unwrap()),
            end => break end,
        }
    };
    assert_eq!((frames.len(), &frames[0][..]), (2, content.as_bytes()), "{frames:?}");
    assert!(frames[1].starts_with(b"data: {\"error\"") && end.is_some(), "{frames:?}");
}

/// Respond outside of ClientAuth, Limit, Timeout and Intake: their refusals are envelopes with an id.
#[tokio::test]
async fn every_refusal_is_an_envelope_with_an_id() {
    let keys = || towergate::parse_client_keys("right").unwrap();
    let short = Timeouts::default().with_total(Duration::from_millis(50));
    let worlds = [
        (401, World::builder().gateway(move |gateway| gateway.client_keys(keys()))),
        (503, World::builder().gateway(|gateway| gateway.max_in_flight(0))),
        (504, World::builder().gateway(move |gateway| gateway.timeouts(short))),
        (413, World::builder().gateway(|gateway| gateway.max_body(1))),
    ];
    for (status, world) in worlds {
        let world = world.start().await;
        let refused = world.http1().chat(&chat("fault:stall-head")).await;
        assert_eq!(refused.status, status);
        assert!(refused.error()["message"].is_string() && refused.header("x-request-id").is_some());
    }
}

/// Metrics outside of Respond: what counts is the answer that the client got. The upstream's 401 is
/// no fault of the client's, and only Respond knows.
#[test]
fn the_answer_that_the_client_got_is_counted() {
    let counted = counted(async {
        let world = World::start().await;
        assert_eq!(world.http1().chat(&chat("fault:status=401")).await.status, 500);
    });
    assert_eq!(counted.get("towergate_requests_total{upstream_error}"), Some(&1), "{counted:?}");
}

/// Guard outside of ClientAuth: a page that was not let in learns nothing of keys. Respond outside of Guard: it is told in
/// an envelope. CORS outside of Respond, and so of
/// ClientAuth: a preflight, which carries no key, is answered, and a page can read the 401.
#[tokio::test]
async fn pages_are_looked_at_before_keys() {
    let app = "https://app.example.com";
    let world = World::builder()
        .gateway(move |gateway| {
            let cors = AllowedOrigins::new([app.parse().unwrap()]);
            gateway.client_keys(towergate::parse_client_keys("right").unwrap()).cors(cors)
        })
        .start()
        .await;
    let http = world.http1();
    for (method, origin, upgrade, status) in [
        (Method::GET, "https://evil.example", "websocket", 403),
        (Method::OPTIONS, app, "none", 200),
        (Method::GET, app, "none", 401),
    ] {
        let request = http.request(method, "/v1/realtime").header("origin", origin);
        let request = request.header("connection", "upgrade").header("upgrade", upgrade);
        let answer = http.read(request.body(Default::default()).unwrap()).await;
        assert_eq!(answer.status, status);
        if status >= 400 {
            assert!(answer.error()["message"].is_string() && answer.header("x-request-id").is_some());
        }
        let is_allowed = answer.header("access-control-allow-origin") == Some(app);
        assert_eq!(is_allowed, origin == app, "{answer:?}");
    }
}

/// ClientAuth outside of Limit: a stranger takes no permit. Outside of Intake: nor is its body read.
#[tokio::test]
async fn a_stranger_costs_nothing() {
    let world = World::builder()
        .gateway(|gateway| {
            gateway.client_keys(towergate::parse_client_keys("right").unwrap()).max_in_flight(0).max_body(1)
        })
        .start()
        .await;
    // With no permit to be had and a body over the limit, a stranger still learns only this.
    assert_eq!(world.http1().chat(&chat("gpt-4o")).await.status, 401);
}

/// Limit outside of Intake: what is shed is shed before its body is read.
#[tokio::test]
async fn what_is_shed_is_not_read() {
    let world = World::builder().gateway(|gateway| gateway.max_in_flight(0).max_body(1)).start().await;
    assert_eq!(world.http1().chat(&chat("gpt-4o")).await.status, 503);
}

/// Timeout (total) outside of Intake: an upload that never ends is bounded.
#[tokio::test]
async fn the_upload_is_inside_the_clocks() {
    let world = World::builder()
        .gateway(|gateway| gateway.timeouts(Timeouts::default().with_request_body(Duration::from_millis(50))))
        .start()
        .await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let answer = super::support::raw(world.address, head.as_bytes());
    // The other way round it would be waited for without an end.
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

/// Intake outside of Retry: what it refuses is no attempt.
#[tokio::test]
async fn a_refusal_is_no_attempt() {
    let world = World::builder().quick_retries(3).start().await;
    let refused = world.http1().post("/v1/chat/completions", &serde_json::json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.header("x-towergate-attempts")), (400, None));
}

/// Retry outside of Metrics (attempt): each attempt is counted. Metrics (request) sees one request.
#[test]
fn attempts_are_counted_one_by_one_and_requests_once() {
    let counted = counted(async {
        let world = World::builder().quick_retries(2).start().await;
        assert_eq!(world.http1().chat(&chat("fault:status=503")).await.status, 502);
    });
    assert_eq!(counted["towergate_attempts_total{upstream_error}"], 3);
    assert_eq!(counted["towergate_requests_total{upstream_error}"], 1);
}

/// Metrics (attempt) outside of Commit: a 200 that is no answer is the upstream's failure. The other
/// way round Metrics would see a success whose body is dropped.
#[test]
fn a_200_that_is_no_answer_is_a_failed_attempt() {
    let counted = counted(async {
        let world = World::start().await;
        assert_eq!(world.http1().chat(&chat("fault:html-200")).await.status, 502);
    });
    assert_eq!(counted.get("towergate_attempts_total{upstream_error}"), Some(&1), "{counted:?}");
}

/// Retry outside of Commit: a success that turns out to be an error is tried again.
#[tokio::test]
async fn a_200_that_is_an_error_is_tried_again() {
    let world = World::builder().quick_retries(1).start().await;
    world.sim.script(["error-at=0:server_error"]).unwrap();
    let answer = world.http1().chat(&chat_stream("gpt-4o")).await;
    assert!(answer.status == 200 && answer.whole);
    assert_eq!(answer.header("x-towergate-attempts"), Some("2"));
}

/// Commit outside of Timeout (attempt): the first event is waited for under a clock, and tried again.
#[tokio::test]
async fn a_silent_first_event_is_tried_again() {
    let world = World::builder()
        .quick_retries(1)
        .provider(|provider| {
            provider.timeouts(Timeouts::default().with_first_event(Duration::from_millis(200)))
        })
        .start()
        .await;
    let gate = Gate::new();
    world.sim.script([Fault::new().hold_at(0, &gate)]).unwrap();
    let http = world.http1();
    // The other way round the clock of the head, half a minute, would run instead.
    let answer =
        tokio::time::timeout(Duration::from_secs(10), http.chat(&chat_stream("gpt-4o"))).await.unwrap();
    assert!(answer.status == 200 && answer.whole);
    assert_eq!(answer.header("x-towergate-attempts"), Some("2"));
}

/// Retry outside of Auth: each attempt asks for the key anew.
#[tokio::test]
async fn a_key_that_rotates_is_used_by_the_next_attempt() {
    struct Rotating(Arc<AtomicUsize>);
    impl CredentialSource for Rotating {
        fn credential(&self) -> Option<Credential> {
            let asked = self.0.fetch_add(1, SeqCst);
            let key = if asked == 0 { "sk-old".to_owned() } else { PROVIDER_KEY.to_owned() };
            Credential::new(&key.into()).ok()
        }
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let source = Rotating(Arc::clone(&asked));
    let world = World::builder()
        .quick_retries(1)
        .sim(towergate_sim::Sim::new())
        .provider(|provider| provider.credentials(source))
        .start()
        .await;
    world.sim.script(["status=503"]).unwrap();
    assert_eq!(world.http1().chat(&chat("gpt-4o")).await.status, 200);
    let keys: Vec<_> =
        world.sim.requests().iter().map(|seen| seen.headers["authorization"].clone()).collect();
    assert_eq!(keys, ["Bearer sk-old".to_owned(), format!("Bearer {PROVIDER_KEY}")]);
}

/// Two providers with this breaker; the first is asked for as long as it is closed.
async fn with_breaker(consecutive_failures: u32) -> Several {
    let mut breaker = BreakerConfig::default();
    breaker.consecutive_failures = consecutive_failures;
    let retry = RetryLayer::new().max_backoff(Duration::from_millis(1));
    Several::of(2)
        .provider(move |provider| provider.breaker(breaker.clone()).retry(retry.clone()))
        .start()
        .await
}

/// Retry outside of Breaker: each attempt counts, so two of one request open a breaker.
#[tokio::test]
async fn the_breaker_counts_attempts() {
    let several = with_breaker(2).await;
    several.sims[0].script(["status=503", "status=503"]).unwrap();
    for _ in 0..2 {
        assert_eq!(several.http.chat(&chat("gpt-4o")).await.header("x-towergate-provider"), Some("b"));
    }
    assert_eq!(several.received(), [2, 2]);
}

/// Breaker outside of Commit: a 200 that is no answer is a failure of the provider.
#[tokio::test]
async fn a_200_that_is_no_answer_opens_the_breaker() {
    let several = with_breaker(1).await;
    several.sims[0].script(["html-200"]).unwrap();
    for _ in 0..2 {
        assert_eq!(several.http.chat(&chat("gpt-4o")).await.header("x-towergate-provider"), Some("b"));
    }
    assert_eq!(several.received(), [1, 2]);
}
