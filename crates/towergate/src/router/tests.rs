mod labels;
mod listing;
mod named_elsewhere;
mod turns;

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use tower::{ServiceExt as _, service_fn};
use towergate_core::{
    Class, Clock, ErrorKind, Facts,
    context::{AttemptClocks, MaxAttempts, RequestRecord, Served, Standby},
    label::Label,
    protocol::{ReadRequest as _, Routes as _},
};

use super::*;
use crate::{Availability, Provider, Registry};

type Answer = Result<Response<Body>, Error>;

/// A provider that answers by a script, then with 200, and remembers what it was asked.
#[derive(Debug, Clone)]
struct Scripted {
    name: Label,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Answer>,
    asked: Vec<Asked>,
    set_aside: Option<tokio::time::Instant>,
}

#[derive(Debug, Clone, PartialEq)]
struct Asked {
    uri: String,
    headers: HeaderMap,
    body: String,
    model: Option<String>,
    max_attempts: Option<u32>,
    standby: bool,
    clocks: Option<AttemptClocks>,
}

impl Scripted {
    fn new(name: &str, script: impl IntoIterator<Item = Answer>) -> Self {
        let state = State { script: script.into_iter().collect(), ..State::default() };
        Self { name: Label::new(name), state: Arc::new(Mutex::new(state)) }
    }

    fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    fn set_aside(&self, time: Duration) {
        self.state.lock().unwrap().set_aside = Some(tokio::time::Instant::now() + time);
    }
}

impl Provider for Scripted {
    fn name(&self) -> &Label {
        &self.name
    }

    fn service(&self) -> ProviderService {
        let state = Arc::clone(&self.state);
        let service = service_fn(move |mut request: Request<Body>| {
            let state = Arc::clone(&state);
            async move {
                RequestRecord::of(request.extensions_mut()).count_attempt();
                let (uri, headers) = (request.uri().to_string(), request.headers().clone());
                let extensions = request.extensions().clone();
                let body = request.into_body().collect().await?.to_bytes();
                let mut state = state.lock().unwrap();
                state.asked.push(Asked {
                    uri,
                    headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                    model: extensions
                        .get::<Arc<Facts>>()
                        .and_then(|facts| facts.model.as_deref().map(Into::into)),
                    max_attempts: extensions.get::<MaxAttempts>().map(|MaxAttempts(most)| most.get()),
                    standby: extensions.get::<Standby>().is_some(),
                    clocks: extensions.get().copied(),
                });
                state.script.pop_front().unwrap_or_else(|| answer(200)).map_err(BoxError::from)
            }
        });
        ProviderService::new(service)
    }

    fn availability(&self, _: Option<&str>) -> Availability {
        self.state.lock().unwrap().set_aside.map_or(Availability::Ready, Availability::Until)
    }
}

fn answer(status: u16) -> Answer {
    let mut response = Response::new(Body::from("answer"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}

fn refusal(class: Class) -> Answer {
    let mut response = answer(400)?;
    response.extensions_mut().insert(class);
    Ok(response)
}

fn failed(kind: ErrorKind) -> Answer {
    Err(Error::new(kind, "scripted"))
}

fn routing(providers: &[&Scripted]) -> Routing {
    let mut registry = Registry::new();
    for provider in providers {
        registry.register(provider.name.as_str(), (*provider).clone());
    }
    Routing::new(registry)
}

fn router(routing: &Routing) -> Router {
    Router::new(routing, OpenAiProtocol::new(), MemoryBudget::new(1 << 20)).unwrap()
}

fn request_to(path: &str, body: impl Into<Body>) -> Request<Body> {
    let protocol = OpenAiProtocol::new();
    let body: Body = body.into();
    let method = if body.as_bytes() == Some(b"") { http::Method::GET } else { http::Method::POST };
    let route = protocol.route(&method, path);
    let facts = match body.as_bytes() {
        Some(bytes) if !bytes.is_empty() => protocol.read(route, &bytes.to_vec().into()).unwrap(),
        _ => protocol.facts(route),
    };
    let mut request = Request::builder().method(method).uri(path).body(body).unwrap();
    request.extensions_mut().insert(Arc::new(facts));
    request
}

fn chat(model: &str) -> Request<Body> {
    request_to("/chat/completions", format!(r#"{{"model":"{model}","stream":true}}"#))
}

async fn ask(router: &Router, request: Request<Body>) -> Result<Response<Body>, Error> {
    router.clone().oneshot(request).await.map_err(Error::from_boxed)
}

fn served(response: &Response<Body>) -> (Option<&str>, u32) {
    let served = response.extensions().get::<Served>().unwrap();
    (served.model.as_ref().map(|model| model.to_str().unwrap()), served.fallbacks)
}

// --- one provider

#[tokio::test]
async fn a_single_provider_gets_everything_as_it_came() {
    let only = Scripted::new("only", [answer(500)]);
    let router = router(&Routing::single(only.clone()));
    let response = ask(&router, chat("anything")).await.unwrap();
    assert_eq!(
        (response.status(), served(&response)),
        (StatusCode::INTERNAL_SERVER_ERROR, (Some("anything"), 0))
    );
    ask(&router, request_to("/files/file-1", "")).await.unwrap();
    let asked = only.asked();
    assert_eq!(asked[0].body, r#"{"model":"anything","stream":true}"#);
    assert!(
        asked.iter().all(|asked| asked.max_attempts.is_none() && !asked.standby && asked.clocks.is_none())
    );
}

// --- taking over

#[tokio::test]
async fn the_next_priority_takes_over_and_says_so() {
    for first in
        [answer(503), answer(429), answer(401), failed(ErrorKind::Connect), failed(ErrorKind::Truncated)]
    {
        let (a, b) = (Scripted::new("a", [first]), Scripted::new("b", []));
        let routing = routing(&[&b, &a])
            .candidate("a", Candidate::new().priority(1))
            .candidate("b", Candidate::new().priority(2));
        let response = ask(&router(&routing), chat("m")).await.unwrap();
        assert_eq!((response.status(), served(&response)), (StatusCode::OK, (Some("m"), 1)));
        let (asked, then) = (a.asked(), b.asked());
        assert_eq!((asked.len(), then.len()), (1, 1));
        assert_eq!((asked[0].max_attempts, asked[0].standby), (Some(2), true));
        assert_eq!((then[0].max_attempts, then[0].standby), (Some(3), false));
        assert_eq!(asked[0].body, then[0].body);
    }
}

#[tokio::test]
async fn what_is_final_goes_back_at_once() {
    for first in [
        answer(200),
        answer(400),
        answer(404),
        failed(ErrorKind::BadRequest),
        Err(Error::timeout(Clock::Total, Duration::from_secs(1))),
    ] {
        let (a, b) = (Scripted::new("a", [first]), Scripted::new("b", []));
        let routing = routing(&[&a, &b]).candidate("b", Candidate::new().priority(2));
        let _ = ask(&router(&routing), chat("m")).await;
        assert_eq!((a.asked().len(), b.asked().len()), (1, 0));
    }
}

#[tokio::test]
async fn the_last_failure_comes_back_and_the_attempts_are_one_budget() {
    let all: Vec<Scripted> =
        ["a", "b", "c", "d"].iter().map(|name| Scripted::new(name, [answer(503), answer(503)])).collect();
    let mut routing = routing(&all.iter().collect::<Vec<_>>()).max_attempts(NonZeroU32::new(3).unwrap());
    for (priority, provider) in (1..).zip(&all) {
        routing = routing.candidate(provider.name.as_str(), Candidate::new().priority(priority));
    }
    let response = ask(&router(&routing), chat("m")).await.unwrap();
    assert_eq!((response.status(), served(&response)), (StatusCode::SERVICE_UNAVAILABLE, (Some("m"), 2)));
    let asked: Vec<usize> = all.iter().map(|provider| provider.asked().len()).collect();
    assert_eq!(asked, [1, 1, 1, 0]);
}

#[tokio::test]
async fn a_body_that_cannot_be_sent_again_stays_with_the_first() {
    let (a, b) = (Scripted::new("a", [answer(503)]), Scripted::new("b", []));
    let long = vec![0; REPLAY_CAP + 1];
    let body =
        Body::new(http_body_util::BodyExt::boxed_unsync(http_body_util::Full::new(bytes::Bytes::from(long))));
    let mut request = Request::post("/audio/transcriptions").body(body).unwrap();
    let route = OpenAiProtocol::new().route(&http::Method::POST, "/audio/transcriptions");
    request.extensions_mut().insert(Arc::new(OpenAiProtocol::new().facts(route)));
    let state = Arc::clone(&a.state);
    state.lock().unwrap().asked.clear();
    let routing = routing(&[&a, &b]).candidate("b", Candidate::new().priority(2));
    // The script's provider reads the body as text; zeros are text.
    let response = ask(&router(&routing), request).await.unwrap();
    assert_eq!((response.status(), b.asked().len()), (StatusCode::SERVICE_UNAVAILABLE, 0));
    assert!(!a.asked()[0].standby, "nobody could take over");
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_candidate_along() {
    #[derive(Debug)]
    struct Silent(Label, Arc<()>);
    impl Provider for Silent {
        fn name(&self) -> &Label {
            &self.0
        }
        fn service(&self) -> ProviderService {
            let held = Arc::clone(&self.1);
            ProviderService::new(service_fn(move |_: Request<Body>| {
                let held = Arc::clone(&held);
                async move {
                    std::future::pending::<()>().await;
                    drop(held);
                    Ok(Response::new(Body::empty()))
                }
            }))
        }
    }
    let held = Arc::new(());
    let (a, spare) = (Scripted::new("a", [answer(503)]), Silent(Label::new("b"), Arc::clone(&held)));
    let mut registry = Registry::new();
    registry.register("a", a.clone());
    registry.register("b", spare);
    let routing = Routing::new(registry).candidate("b", Candidate::new().priority(2));
    let router = router(&routing);
    let before = Arc::strong_count(&held);
    let mut future = tokio_test::task::spawn(router.clone().oneshot(chat("m")));
    tokio_test::assert_pending!(future.poll());
    assert_eq!((a.asked().len(), Arc::strong_count(&held) > before), (1, true));
    drop(future);
    assert_eq!(Arc::strong_count(&held), before);
}

// --- who is asked

#[tokio::test]
async fn weights_hold_and_those_set_aside_are_passed_over() {
    let (a, b, c) = (Scripted::new("a", []), Scripted::new("b", []), Scripted::new("c", []));
    let routing = routing(&[&a, &b, &c])
        .candidate("a", Candidate::new().weight(0.7))
        .candidate("b", Candidate::new().weight(0.3))
        .candidate("c", Candidate::new().priority(2));
    let router = router(&routing);
    for _ in 0..20 {
        ask(&router, chat("m")).await.unwrap();
    }
    assert_eq!((a.asked().len(), b.asked().len(), c.asked().len()), (14, 6, 0));
    a.set_aside(Duration::from_secs(1));
    for _ in 0..5 {
        ask(&router, chat("m")).await.unwrap();
    }
    assert_eq!((a.asked().len(), b.asked().len(), c.asked().len()), (14, 11, 0));
    b.set_aside(Duration::from_secs(2));
    ask(&router, chat("m")).await.unwrap();
    assert_eq!(c.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_all_are_set_aside_the_soonest_is_tried_or_nobody() {
    let (a, b) = (Scripted::new("a", []), Scripted::new("b", []));
    a.set_aside(Duration::from_secs(9));
    b.set_aside(Duration::from_secs(4));
    let routing = routing(&[&a, &b]);
    ask(&router(&routing), chat("m")).await.unwrap();
    assert_eq!((a.asked().len(), b.asked().len()), (0, 1));
    let error = ask(&router(&routing.last_resort(false)), chat("m")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Unavailable, Some(Duration::from_secs(4))));
    assert_eq!(error.setting(), Some("routing.last_resort"));
}

#[tokio::test]
async fn a_model_goes_to_those_that_serve_it() {
    let (a, b) = (Scripted::new("a", []), Scripted::new("b", []));
    let routing = routing(&[&a, &b])
        .candidate("a", Candidate::new().model("gpt-4o").alias("fast", "gpt-4o-mini"))
        .candidate("b", Candidate::new().model("llama"));
    let router = router(&routing);
    ask(&router, chat("llama")).await.unwrap();
    let response = ask(&router, chat("fast")).await.unwrap();
    assert_eq!(served(&response), (Some("gpt-4o-mini"), 0));
    assert_eq!(response.headers()["x-towergate-modified"], "model");
    assert_eq!(
        (a.asked()[0].body.as_str(), a.asked()[0].model.as_deref()),
        (r#"{"model":"gpt-4o-mini","stream":true}"#, Some("gpt-4o-mini"))
    );
    assert_eq!(b.asked()[0].body, r#"{"model":"llama","stream":true}"#);
    let error = ask(&router, chat("nobody's")).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "model_not_found"));
}

#[tokio::test]
async fn fallback_models_take_over_and_refusals_have_lists_of_their_own() {
    let routes = |first: Answer| {
        let (a, b) = (Scripted::new("a", [first]), Scripted::new("b", []));
        let routing = routing(&[&a, &b])
            .candidate("a", Candidate::new().model("small"))
            .candidate("b", Candidate::new().model("large").model("other"))
            .fallback_models("small", ["other"])
            .context_length_fallbacks("small", ["large"]);
        (a, b, router(&routing))
    };
    let (_, b, to_other) = routes(answer(503));
    assert_eq!(served(&ask(&to_other, chat("small")).await.unwrap()), (Some("other"), 1));
    assert_eq!(b.asked()[0].body, r#"{"model":"other","stream":true}"#);
    let (_, b, to_large) = routes(refusal(Class::ContextLength));
    assert_eq!(served(&ask(&to_large, chat("small")).await.unwrap()), (Some("large"), 1));
    assert_eq!(b.asked().len(), 1);
    let (_, b, nowhere) = routes(refusal(Class::ContentPolicy));
    assert_eq!(ask(&nowhere, chat("small")).await.unwrap().status(), 400);
    assert!(b.asked().is_empty());
}

#[tokio::test]
async fn what_is_bound_goes_to_one_and_is_not_handed_on() {
    let (a, b) = (Scripted::new("a", []), Scripted::new("b", (0..9).map(|_| answer(503))));
    let base = routing(&[&a, &b]).candidate("b", Candidate::new().priority(2));
    let to_default = router(&base.clone().default_provider("b"));
    for path in ["/files/file-1", "/batches/b-1", "/responses/resp_1", "/vector_stores"] {
        assert_eq!(ask(&to_default, request_to(path, "")).await.unwrap().status(), 503);
    }
    assert_eq!((a.asked().len(), b.asked().len()), (0, 4));
    let stored = || request_to("/responses", r#"{"model":"m","previous_response_id":"resp_1"}"#);
    assert_eq!(ask(&router(&base), stored()).await.unwrap().status(), 200);
    let mut named = stored();
    named.headers_mut().insert("x-towergate-provider", HeaderValue::from_static("b"));
    assert_eq!(ask(&router(&base), named).await.unwrap().status(), 503);
    let mut unknown = stored();
    unknown.headers_mut().insert("x-towergate-provider", HeaderValue::from_static("c"));
    assert_eq!(ask(&router(&base), unknown).await.unwrap_err().code(), "unknown_provider");
}

#[tokio::test]
async fn a_models_clocks_and_a_shorter_one_while_another_stands() {
    let (a, b) = (Scripted::new("a", [answer(503)]), Scripted::new("b", []));
    let (idle, after) = (Some(Duration::from_secs(7)), Duration::from_secs(3));
    let model = ServedModel::new("m")
        .clocks(AttemptClocks { idle, ..AttemptClocks::default() })
        .failover_after(after);
    let routing = routing(&[&a, &b])
        .candidate("a", Candidate::new().serves(model.clone()))
        .candidate("b", Candidate::new().priority(2).serves(model));
    ask(&router(&routing), chat("m")).await.unwrap();
    let standing = AttemptClocks { head: Some(after), first_event: Some(after), idle };
    assert_eq!(a.asked()[0].clocks, Some(standing));
    assert_eq!(b.asked()[0].clocks, Some(AttemptClocks { idle, ..AttemptClocks::default() }));
}

// --- settings

#[test]
fn what_contradicts_itself_is_not_built() {
    let a = Scripted::new("a", []);
    let base = || routing(&[&a]);
    let said = |routing: Routing| {
        Router::new(&routing, OpenAiProtocol::new(), MemoryBudget::new(0)).unwrap_err().to_string()
    };
    assert!(said(base().candidate("b", Candidate::new())).contains("no provider has that name"));
    assert!(said(base().candidate("a", Candidate::new().weight(-1.0))).contains("weight"));
    assert!(said(base().candidate("a", Candidate::new().weight(f64::NAN))).contains("weight"));
    assert!(said(base().candidate("a", Candidate::new().weight(0.0))).contains("weight 0"));
    assert!(said(base().default_provider("b")).contains("default provider"));
    let named = base().candidate("a", Candidate::new().model("m"));
    assert!(said(named.fallback_models("m", ["n"])).contains("\"n\""));
    assert!(said(Routing::new(Registry::new())).contains("needs a provider"));
}
