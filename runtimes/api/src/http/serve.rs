//! From a socket to the router, until a signal says stop.

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

/// How long requests in flight may take once a stop was asked for. Below the 10 s in which the process promises to
/// be gone, and below ECS's 30 s.
const DRAIN: Duration = Duration::from_secs(6);
/// How long to wait when the system has no more sockets to give.
const NO_SOCKETS: Duration = Duration::from_millis(100);

/// Why serving could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
}

/// Listens on `address` and serves `api` until `stop`; then stops accepting, waits for what is in flight (6 s at
/// most) and returns.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(api: Api, address: SocketAddr, stop: Stopper) -> Result<(), ServeError> {
    let listen = |cause| ServeError::Listen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    let connections = Arc::new(Connections::new(api.limits.connections));
    info!(address = %bound, max_connections = connections.max(), "listening");
    // Every connection has a receiver: when the last one is gone, all are closed.
    let (stopping, stopped) = watch::channel(());
    tokio::select! {
        () = stop.requested() => {}
        () = accept(&listener, &api, &connections, &stopped) => {}
    }
    drop((listener, stopped));
    stopping.send_replace(());
    if tokio::time::timeout(DRAIN, stopping.closed()).await.is_err() {
        warn!("requests in flight did not finish in time; they end with the process");
    }
    Ok(())
}

async fn accept(listener: &TcpListener, api: &Api, connections: &Arc<Connections>, stopped: &watch::Receiver<()>) {
    loop {
        connections.make_room().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // It was gone before it was taken.
            Err(fault) if matches!(fault.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
            Err(fault) => {
                warn!(error = %fault, "connections_cannot_be_taken");
                connections.evict_one();
                tokio::time::sleep(NO_SOCKETS).await;
                continue;
            }
        };
        if let Err(fault) = stream.set_nodelay(true) {
            warn!(error = %fault, "nodelay_not_set");
        }
        let (api, stop) = (api.clone(), stopped.clone());
        let activity = Arc::new(Activity::new());
        let open = connections.add(Arc::clone(&activity));
        tokio::spawn(async move {
            let _open = (api.metrics.connected(), open);
            tokio::select! {
                // What has arrived is read before it is decided whether the caller is silent.
                biased;
                () = connection::serve(stream, &activity, api.service, &api.limits, &api.metrics, stop) => {}
                () = activity.evicted() => api.metrics.evicted(),
            }
        });
    }
}
