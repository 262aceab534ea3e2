//! The log lines of the retry layer.
//!
//! In a binary of its own: tracing remembers for the whole process whether a line is wanted, and a
//! test without a subscriber that runs beside this one would decide it.
#![cfg(feature = "retry")]
#![expect(clippy::unwrap_used, reason = "a test's helpers too")]

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use http::{HeaderValue, Request, Response};
use tower::{Layer as _, ServiceExt as _, service_fn};
use towergate_core::{Body, Error, ErrorKind, Facts, Route, context::RequestId, label::Label, route::Reads};
use towergate_layers::retry::RetryLayer;
use tracing_subscriber::fmt::MakeWriter;

static ROUTE: Route = Route {
    name: "chat",
    index: 0,
    template: "",
    reads: Reads::Json,
    requires_model: true,
    generates: true,
    holds_answer: true,
    bare: false,
    stateless: true,
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_and_failures_are_logged() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);

    let calls = AtomicU32::new(0);
    let upstream = service_fn(|_: Request<Body>| {
        std::future::ready(match calls.fetch_add(1, Relaxed) {
            0 => Ok(Response::builder().status(500).body(Body::empty()).unwrap()),
            1 => Err(Error::new(ErrorKind::Connect, "refused")),
            _ => Ok(Response::new(Body::empty())),
        })
    });
    let mut request = Request::new(Body::from("a prompt"));
    request.extensions_mut().insert(RequestId::new(HeaderValue::from_static("req_7")).unwrap());
    // What a client chose makes no line unreadable, nor a line of megabytes.
    let mut facts = Facts::of_route(&ROUTE, Label::new("other"));
    facts.model = Some("m".repeat(100_000).into());
    request.extensions_mut().insert(Arc::new(facts));
    let layer = RetryLayer::new().jitter(false).provider(Label::new("openai"));
    layer.layer(upstream).oneshot(request).await.unwrap();

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let has = |line: &str, parts: &[&str]| parts.iter().all(|part| line.contains(part));
    assert_eq!(lines.len(), 5, "{log}");
    assert!(has(lines[0], &["DEBUG", "attempt=1", "max_attempts=4", "req_7", "openai"]), "{log}");
    assert!(has(lines[1], &["WARN", "status=500", "delay_ms=1000", "server_error", "req_7"]), "{log}");
    assert!(has(lines[2], &["DEBUG", "attempt=2"]), "{log}");
    assert!(
        has(lines[3], &["WARN", "upstream_connect_failed", "delay_ms=2000", "reason=\"connect\""]),
        "{log}"
    );
    assert!(has(lines[4], &["DEBUG", "attempt=3"]), "{log}");
    assert!(!log.contains("a prompt"));
    assert!(!log.contains("mmm") && log.matches("model=\"other\"").count() == 5, "{log:.2000}");
}
