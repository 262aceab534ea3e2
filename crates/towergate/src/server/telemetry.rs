//! Metrics for `/metrics`.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::tunnel::TUNNEL_BYTES;

/// Buckets of the duration histograms, in seconds. The usual ones stop at 10 s; an answer of a
/// model may take the whole of the total timeout, 600 s.
pub const DURATION_BUCKETS: [f64; 17] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0];

/// Installs the process's metrics recorder. Call it before the gateway is built.
///
/// # Errors
///
/// There is a recorder already.
pub fn install_metrics() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &towergate_layers::metrics::SECONDS)?
        .install_recorder()?;
    towergate_layers::metrics::describe();
    metrics::describe_counter!(
        TUNNEL_BYTES,
        metrics::Unit::Bytes,
        "Bytes that went through WebSockets, by direction."
    );
    Ok(handle)
}
