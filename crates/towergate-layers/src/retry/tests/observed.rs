//! Metrics and log lines.

use std::io;

use http::HeaderValue;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use towergate_core::{context::RequestId, label::Label};
use tracing_subscriber::fmt::MakeWriter;

use super::*;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

/// Every counter as `name{label=value,...}` with its value.
fn counted(test: impl FnOnce()) -> Vec<(String, u64)> {
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, test);
    let mut all: Vec<_> = recorder
        .snapshotter()
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let key = key.key();
            let mut labels: Vec<_> =
                key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            labels.sort_unstable();
            let DebugValue::Counter(value) = value else { panic!("{value:?}") };
            (format!("{}{{{}}}", key.name(), labels.join(",")), value)
        })
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn retries_are_counted_by_reason() {
    let layer = exact().provider(Label::new("openai"));
    let counted = counted(|| {
        run(async {
            for script in [
                vec![answer(500), answer(500), answer(429)],
                vec![answer(500)],
                vec![failed(ErrorKind::Connect)],
                vec![answer(400)],
            ] {
                Upstream::new(script).call(&layer, request()).await.unwrap();
            }
        });
    });
    let name = |reason, billed| {
        format!("towergate_retries_total{{maybe_billed={billed},provider=openai,reason={reason}}}")
    };
    assert_eq!(
        counted,
        [(name("connect", false), 1), (name("rate_limited", false), 1), (name("server_error", true), 3)]
    );
}

#[test]
fn a_used_up_budget_is_counted() {
    let counted = counted(|| {
        run(async {
            let layer = exact().budget(BudgetConfig { ratio: 0.0, min_per_second: 0, ..Default::default() });
            for _ in 0..3 {
                Upstream::new([answer(503)]).call(&layer, request()).await.unwrap();
            }
        });
    });
    assert_eq!(counted, [("towergate_retry_budget_exhausted_total{provider=default}".to_owned(), 3)]);
}

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

#[test]
fn attempts_and_failures_are_logged() {
    // A callsite that another test's thread registers first, while this one's subscriber is the only
    // one, would stay off: register them before.
    let script = || [answer(500), failed(ErrorKind::Connect)];
    run(Upstream::new(script()).call(&exact(), request())).unwrap();

    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        run(async {
            let mut request = request();
            request.extensions_mut().insert(RequestId::new(HeaderValue::from_static("req_7")).unwrap());
            Upstream::new(script()).call(&exact(), request).await.unwrap();
        });
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let has = |line: &str, parts: &[&str]| parts.iter().all(|part| line.contains(part));
    assert_eq!(lines.len(), 5, "{log}");
    assert!(has(lines[0], &["DEBUG", "attempt=1", "max_attempts=4", "req_7"]), "{log}");
    assert!(has(lines[1], &["WARN", "status=500", "delay_ms=1000", "server_error", "req_7"]), "{log}");
    assert!(has(lines[2], &["DEBUG", "attempt=2"]), "{log}");
    assert!(has(lines[3], &["WARN", "upstream_connect_failed", "delay_ms=2000", "connect"]), "{log}");
    assert!(has(lines[4], &["DEBUG", "attempt=3"]), "{log}");
}
