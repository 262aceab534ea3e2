//! Planted keys, and everything that a gateway says: they must be nowhere in it.
//!
//! A binary of its own: tracing remembers for the whole process whether anybody wants a line, and
//! tests beside this one do not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[allow(dead_code, unused_imports, reason = "shared with the other tests")]
#[path = "../it/support/mod.rs"]
mod support;

mod echo;
mod hosts;
mod places;

use std::{
    io,
    sync::{Arc, Mutex},
};

use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::fmt::MakeWriter;

use support::{World, chat, chat_stream};

const PROVIDER: &str = "sk-canary-provider";
const CALLER: &str = "sk-canary-caller";

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Captured {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Everything that a gateway says beside its responses while something is done with it.
///
/// One thread, so that logs and metrics of every task are this test's.
fn observed(work: impl Future<Output = ()>) -> Vec<String> {
    let captured = Captured::default();
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(captured.clone());
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tracing::subscriber::with_default(log.finish(), || {
        metrics::with_local_recorder(&recorder, || runtime.block_on(work));
    });
    let metrics = metrics.render();
    // What the tests' own client and upstream say of themselves is not the gateway's.
    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    let ours = |line: &&str| {
        ["towergate_layers", "towergate_openai", "towergate::"].iter().any(|name| line.contains(name))
    };
    let mut said: Vec<String> = log.lines().filter(ours).map(str::to_owned).collect();
    said.push(metrics);
    said
}

#[test]
fn a_planted_key_is_nowhere() {
    let mut said = String::new();
    let beside = observed(async {
        let world = World::builder()
            .sim(towergate_sim::Sim::new().require_key(PROVIDER))
            .provider(|provider| provider.api_key(PROVIDER).unwrap())
            .start()
            .await;
        said.push_str(&format!("{:?}", world.gateway));
        let http = world.http1();
        for model in [
            "gpt-4o",
            "fault:status=401;message=wrong key sk-canary-provider",
            "fault:status=400;message=wrong key sk-canary-provider",
            "fault:status=503",
            "fault:reset-before-head",
            "fault:html-200",
        ] {
            for body in [chat(model), chat_stream(model)] {
                let request = http
                    .request(http::Method::POST, &format!("/v1/chat/completions?key={CALLER}"))
                    .header("content-type", "application/json")
                    .header("authorization", format!("Bearer {CALLER}"))
                    .header("x-api-key", CALLER)
                    .header("cookie", format!("session={CALLER}"))
                    .body(body.to_string().into())
                    .unwrap();
                let answer = http.read(request).await;
                said.push_str(&format!("{:?} {}", answer.headers, answer.text()));
            }
        }
    });
    assert!(beside.len() > 10, "the log was looked at");
    assert!(beside.last().unwrap().contains("towergate_requests_total"), "the metrics were looked at");
    for text in beside.into_iter().chain([said]) {
        let said: String = text.replace("fault:status=401;message=wrong key sk-canary-provider", "");
        let said = said.replace("fault:status=400;message=wrong key sk-canary-provider", "");
        assert!(!said.contains("canary"), "{said}");
    }
}
