//! The signals that end the process.

/// Resolves at SIGTERM or Ctrl-C (SIGINT). Await it again for the second signal.
///
/// Where the signals can't be listened for it never resolves, and says so in the log: the process
/// then ends as the system makes it end.
pub async fn shutdown() {
    if let Err(error) = wait().await {
        tracing::error!(%error, "signals can't be listened for; the process will end without draining");
        std::future::pending::<()>().await;
    }
}

#[cfg(unix)]
async fn wait() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(not(unix))]
async fn wait() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
