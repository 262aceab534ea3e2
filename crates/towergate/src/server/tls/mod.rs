//! [`Tls`]: the listener's certificate and key, followed while connections are served.
//!
//! The files are read, checked and put in force together: a key that does not belong to its certificate, or a
//! file that cannot be read, leaves the old pair in force, and log and metric say so. Connections that stand keep
//! the certificate that they began with.
//!
//! A handshake belongs to the task of its connection and has a
//! [clock](super::ConnectionClocks::handshake): a client that is silent holds one of the
//! [connections](super::ServerBuilder::max_connections) and nobody up. HTTP/2 and HTTP/1.1 are offered (ALPN).
//! Whoever speaks plain HTTP to the port is told so.
//!
//! ```no_run
//! # async fn run(gateway: towergate::Gateway) -> Result<(), Box<dyn std::error::Error>> {
//! use towergate::server::{Server, TlsFiles};
//!
//! let tls = TlsFiles::new("tls.crt", "tls.key").open().await?;
//! let server = Server::builder().tls(tls).bind(gateway).await?;
//! # Ok(()) }
//! ```
//!
//! | metric | labels | |
//! |---|---|---|
//! | `towergate_tls_handshakes_total` | `result` | `completed`, `failed`, `timeout`, `plain_http` |
//! | `towergate_tls_reloads_total` | `result` | `applied`, `refused` |

mod files;
mod handshake;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::{sync::Mutex, time::sleep};
use towergate_openai::file_watch::FileWatch;

pub use self::files::{TlsError, TlsFiles};

/// Connections to the listener, by how their handshake ended; label `result`.
const HANDSHAKES: &str = "towergate_tls_handshakes_total";
/// Certificates that were read while running; label `result`.
const RELOADS: &str = "towergate_tls_reloads_total";

/// A listener's certificate and key. Cheap to clone; clones share what is in force.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    /// One reload at a time: an older pair must not come after a newer one.
    watch: Mutex<FileWatch>,
}

// === impl Tls ===

impl Tls {
    fn new(files: TlsFiles, config: ServerConfig, watch: FileWatch) -> Self {
        metrics::describe_counter!(HANDSHAKES, "TLS handshakes of clients, by how they ended");
        metrics::describe_counter!(RELOADS, "Certificates of the listener read while running");
        let current = ArcSwap::from_pointee(config);
        Self(Arc::new(Inner { files, current, watch: Mutex::new(watch) }))
    }

    /// Whether only clients with a certificate come in.
    pub(super) fn asks_for_certificates(&self) -> bool {
        self.0.files.client_ca.is_some()
    }

    /// Reads the files again, once they do not change any more, and puts them in force for the connections to come.
    /// A [served](super::BoundServer::serve) listener does so by itself when they [change](towergate_openai::file_watch).
    ///
    /// # Errors
    ///
    /// Files that cannot be read, or do not fit: the old pair stays in force.
    pub async fn reload(&self) -> Result<(), TlsError> {
        self.take_over(&mut *self.0.watch.lock().await).await
    }

    /// Reloads whenever the files change. Never ends.
    pub(super) async fn follow(self) {
        loop {
            sleep(FileWatch::INTERVAL).await;
            let mut watch = self.0.watch.lock().await;
            if watch.look().await {
                // It is in the log; the old pair stays.
                let _ = self.take_over(&mut watch).await;
            }
        }
    }

    async fn take_over(&self, watch: &mut FileWatch) -> Result<(), TlsError> {
        let result = self.0.files.read_settled(watch).await;
        let label = if result.is_ok() { "applied" } else { "refused" };
        metrics::counter!(RELOADS, "result" => label).increment(1);
        match result {
            Ok(config) => {
                self.0.current.store(Arc::new(config));
                tracing::info!(files = ?self.0.files, "the certificate was replaced");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the new certificate was not taken over; the old one stays in force");
                Err(error)
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.0.files).finish_non_exhaustive()
    }
}
