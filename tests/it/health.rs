//! Health checks: who does not answer them is passed over, and operators are told.

use std::time::Duration;

use serde_json::Value;
use tokio::{sync::oneshot, task::JoinHandle};
use towergate::{
    Candidate, Gateway, OpenAiProvider, Registry, Routing, health::HealthChecks, server::Server,
};
use towergate_sim::{Sim, SimServer};

use crate::support::{Http, chat};

/// Two providers, `a` before `b`, which are checked, and what runs it.
struct Checked {
    sims: [Sim; 2],
    http: Http,
    gateway: Gateway,
    watching: JoinHandle<()>,
    _upstreams: [SimServer; 2],
    _stop: oneshot::Sender<()>,
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn checked() -> Checked {
    let sims = [Sim::new(), Sim::new().require_key("sk-canary")];
    let upstreams =
        [SimServer::start(sims[0].clone()).await.unwrap(), SimServer::start(sims[1].clone()).await.unwrap()];
    let mut registry = Registry::new();
    for (name, upstream) in ["a", "b"].into_iter().zip(&upstreams) {
        let provider = OpenAiProvider::builder().name(name).base_url(&upstream.base_url());
        registry.register(name, provider.api_key("sk-canary").unwrap().build().unwrap());
    }
    let mut checks = HealthChecks::default();
    checks.interval = Duration::from_millis(30);
    let candidate = |priority| Candidate::new().priority(priority).health_checks(checks.clone());
    let routing = Routing::new(registry).candidate("a", candidate(1)).candidate("b", candidate(2));
    let gateway = Gateway::builder().routing(routing).build().unwrap();
    let watched = gateway.clone();
    let watching = tokio::spawn(async move { watched.watch_health().await });
    let server = Server::builder().listen(([127, 0, 0, 1], 0).into()).health(gateway.clone());
    let server = server.bind(gateway.clone()).await.unwrap();
    let http = Http::new(format!("http://{}", server.local_addr()), false);
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(server.serve(async {
        let _ = stopped.await;
    }));
    Checked { sims, http, gateway, watching, _upstreams: upstreams, _stop: stop }
}

impl Checked {
    async fn report(&self) -> Value {
        let answer = self.http.get("/health").await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/json")));
        answer.json()
    }

    /// Waits until `a` is in this state.
    async fn until(&self, state: &str) -> Value {
        loop {
            let report = self.report().await;
            if report["providers"][0]["state"] == state && !report["providers"][1]["checked_at"].is_null() {
                return report;
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn who_fails_its_checks_is_passed_over_before_a_request_finds_out() {
    let checked = checked().await;
    checked.sims[0].script(["503; times=1000000"]).unwrap();
    let report = checked.until("down").await;
    assert_eq!(report["status"], "degraded", "{report}");
    let [a, b] = [0, 1].map(|place| report["providers"][place].clone());
    assert!(a["last_error"].as_str().unwrap().contains("503") && a["since"].is_string(), "{a}");
    assert_eq!((&b["state"], &b["last_error"]), (&"healthy".into(), &Value::Null), "{b}");
    assert!(b["latency_ms"].is_number() && b["models_seen"].as_u64() > Some(0), "{b}");
    assert!(!report.to_string().contains("canary"), "{report}");

    let asked = |sim: &Sim| {
        sim.requests().iter().filter(|request| request.uri.path() == "/v1/chat/completions").count()
    };
    let answer = checked.http.chat(&chat("gpt-4o")).await;
    assert_eq!((answer.header("x-towergate-provider"), asked(&checked.sims[0])), (Some("b"), 0));
    assert_eq!(
        checked.http.get("/readyz").await.status,
        200,
        "an upstream that is down is no reason to leave"
    );

    checked.sims[0].clear_script();
    checked.until("healthy").await;
    let answer = checked.http.chat(&chat("gpt-4o")).await;
    assert_eq!(answer.header("x-towergate-provider"), Some("a"));
}

#[tokio::test]
async fn an_answer_of_the_4xx_shows_that_it_is_up() {
    let checked = checked().await;
    checked.sims[0].script(["404; times=1000000"]).unwrap();
    checked.sims[0].wait_for(6).await;
    let report = checked.report().await;
    assert_eq!(report["providers"][0]["state"], "healthy", "{report}");
    assert!(report["providers"][0]["last_error"].as_str().unwrap().contains("404"), "{report}");
}

#[tokio::test]
async fn where_all_are_down_the_last_resort_is_asked() {
    let checked = checked().await;
    for sim in &checked.sims {
        sim.script_where(|parts| parts.uri.path() == "/v1/models", ["500; times=1000000"]).unwrap();
    }
    let mut report = checked.until("down").await;
    while report["status"] != "unhealthy" {
        report = checked.report().await;
    }
    assert_eq!(checked.http.chat(&chat("gpt-4o")).await.status, 200);
    assert_eq!(checked.gateway.health().providers.len(), 2);
}

#[tokio::test]
async fn who_is_not_checked_any_more_is_not_down_for_ever() {
    let checked = checked().await;
    checked.sims[0].script_where(|parts| parts.uri.path() == "/v1/models", ["503; times=1000000"]).unwrap();
    checked.until("down").await;
    let routing = Routing::new(checked.gateway.registry())
        .candidate("a", Candidate::new().priority(1))
        .candidate("b", Candidate::new().priority(2));
    checked.gateway.replace(Gateway::builder().routing(routing)).unwrap();
    let report = checked.report().await;
    assert_eq!(report["providers"][0]["state"], "healthy", "{report}");
    let answer = checked.http.chat(&chat("gpt-4o")).await;
    assert_eq!(answer.header("x-towergate-provider"), Some("a"));
}
