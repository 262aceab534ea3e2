//! What `/metrics` says of a test.

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Runs a test on one thread, where the recorder sees every task; gives what `/metrics` would. The test can ask for it
/// too.
pub(crate) fn metered<F: Future<Output = ()>>(test: impl FnOnce(PrometheusHandle) -> F) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Duration::from_secs(30);
    metrics::with_local_recorder(&recorder, || {
        runtime
            .block_on(async { tokio::time::timeout(limit, test(metrics.clone())).await.expect("in time") });
    });
    metrics.render()
}

/// How many requests, or attempts, ended so.
pub(crate) fn count(metrics: &str, series: &str, outcome: &str) -> u64 {
    let outcome = format!("outcome=\"{outcome}\"");
    let lines = metrics.lines().filter(|line| line.starts_with(series) && line.contains(&outcome));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}
