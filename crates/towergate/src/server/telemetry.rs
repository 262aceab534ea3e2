//! Metrics for `/metrics`.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::tunnel::TUNNEL_BYTES;

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
