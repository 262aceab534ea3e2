//! towergate given to hyper's own `serve_connection`, its connections guarded by clocks.

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;
use towergate::{
    Gateway,
    server::{ConnectionClocks, GuardedIo},
};

/// Serves HTTP/1.1 and HTTP/2 without TLS on one port, until the listener fails.
///
/// # Errors
///
/// The listener's.
pub async fn serve(listener: TcpListener, gateway: Gateway) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let gateway = gateway.clone();
        tokio::spawn(async move {
            // Without the guard a client that never reads its answer holds it for ever: hyper does
            // not poll a body that nobody takes, and so no clock in it can fire.
            let (io, guard) = GuardedIo::new(stream, ConnectionClocks::default());
            let http = auto::Builder::new(TokioExecutor::new());
            if let Err(error) =
                http.serve_connection_with_upgrades(TokioIo::new(io), guard.wrap(gateway)).await
            {
                eprintln!("a connection ended early: {error}");
            }
        });
    }
}
