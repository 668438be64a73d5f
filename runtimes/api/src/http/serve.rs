//! Accepts connections and serves them until the stop signal.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use epr_boot::Stopper;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::Api;
use crate::http::activity::Activity;
use crate::http::connection;
use crate::http::connections::Connections;

/// The longest that requests in flight may take after the stop signal. The process promises to end within 10 s; ECS
/// kills it after 30 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(6);
/// The pause after the system refused a socket.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Why the service cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use, or does not belong to this machine.
    #[error("cannot listen on {address}")]
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        cause: std::io::Error,
    },
}

/// Listens on `address` and serves `api` until `stop`. Then it accepts no more connections, waits at most 6 s for
/// requests in flight, and returns.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(api: Api, address: SocketAddr, stop: Stopper) -> Result<(), ServeError> {
    let listen = |cause| ServeError::Listen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    let connections = Arc::new(Connections::new(api.limits.connections));
    info!(address = %bound, max_connections = connections.max(), "listening");
    // Every connection has a receiver: the channel closes when the last connection has ended.
    let (stopping, stopped) = watch::channel(());
    tokio::select! {
        () = stop.requested() => {}
        () = accept(&listener, &api, &connections, &stopped) => {}
    }
    drop((listener, stopped));
    // Calls that wait are answered before their connections may close.
    api.stopping.send_replace(true);
    stopping.send_replace(());
    if tokio::time::timeout(DRAIN_TIMEOUT, stopping.closed()).await.is_err() {
        warn!("requests in flight did not finish in time; they end with the process");
    }
    Ok(())
}

async fn accept(listener: &TcpListener, api: &Api, connections: &Arc<Connections>, stopped: &watch::Receiver<()>) {
    loop {
        connections.make_room().await;
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The caller disconnected before the connection was accepted.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
            Err(error) => {
                warn!(error = %error, "connections_cannot_be_taken");
                connections.evict_one();
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            warn!(error = %error, "nodelay_not_set");
        }
        let (api, stop) = (api.clone(), stopped.clone());
        let service = api.service.of_peer(peer.ip());
        let activity = Arc::new(Activity::new());
        let open = connections.add(Arc::clone(&activity));
        tokio::spawn(async move {
            let _open = (api.metrics.connected(), open);
            tokio::select! {
                // Bytes that have arrived are read before the caller is treated as silent.
                biased;
                () = connection::serve(stream, &activity, service, &api.limits, &api.metrics, stop) => {}
                () = activity.evicted() => api.metrics.evicted(),
            }
        });
    }
}
