//! What the metrics say of a test.

use std::collections::BTreeMap;

/// Runs on one thread, and gives back every counter as `name{outcome}`, `name{direction}` or `name{result}`.
pub(crate) fn counted(run: impl Future<Output = ()>) -> BTreeMap<String, u64> {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(run));
    let mut counted = BTreeMap::<String, u64>::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        if let metrics_util::debugging::DebugValue::Counter(count) = value {
            let outcome =
                key.key().labels().find(|label| matches!(label.key(), "outcome" | "direction" | "result"));
            let outcome = outcome.map(|label| label.value().to_owned()).unwrap_or_default();
            *counted.entry(format!("{}{{{outcome}}}", key.key().name())).or_default() += count;
        }
    }
    counted
}
