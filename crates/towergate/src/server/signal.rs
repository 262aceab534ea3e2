//! The signals that end the process: SIGTERM, and Ctrl-C (SIGINT). And the one that asks for new settings: SIGHUP.

/// Listens from the moment it is made, so that no signal is missed between two waits.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

/// Listens for SIGHUP from the moment it is made. Where there is no such signal it never comes.
#[derive(Debug)]
pub struct Hangups {
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

/// Resolves at the first signal after it was first polled; [`Signals`] misses none that comes earlier.
///
/// Where the signals can't be listened for it never resolves, and says so in the log: the process
/// then ends as the system makes it end.
pub async fn shutdown() {
    match Signals::listen() {
        Ok(mut signals) => signals.next().await,
        Err(error) => {
            tracing::error!(%error, "signals can't be listened for; the process will end without draining");
            std::future::pending::<()>().await;
        }
    }
}

// === impl Hangups ===

impl Hangups {
    /// Begins to listen. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            hangup: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        })
    }

    /// Resolves at the next one.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        if self.hangup.recv().await.is_some() {
            return;
        }
        std::future::pending::<()>().await;
    }
}

// === impl Signals ===

impl Signals {
    /// Begins to listen. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// The system's.
    #[cfg(unix)]
    pub fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// None, here.
    #[cfg(not(unix))]
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Resolves at the next signal.
    #[cfg(unix)]
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Resolves at the next signal.
    #[cfg(not(unix))]
    pub async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
