//! Metrics. The log lines are tested in a process of their own: `tests/retry_log.rs`.

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use towergate_core::label::Label;

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
