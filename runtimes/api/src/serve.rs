//! From a socket to the router, until a signal says stop.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

/// How long requests in flight may take once a stop was asked for. Below the 10 s in which the process promises to
/// be gone, and below ECS's 30 s.
const DRAIN: Duration = Duration::from_secs(8);

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
    /// The system does not let us wait for signals.
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
}

/// Listens on `address` and serves `router` until SIGTERM or SIGINT; then stops accepting, lets what is in flight
/// finish (8 s at most) and returns.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(router: Router, address: SocketAddr) -> Result<(), ServeError> {
    let listen = |cause| ServeError::Listen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let (stop, stopped) = tokio::sync::watch::channel(());
    let asked = async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "stopping");
        drop(stop);
    };
    let overdue = {
        let mut stopped = stopped.clone();
        async move {
            // Ends when the sender is dropped: that is the signal.
            while stopped.changed().await.is_ok() {}
            tokio::time::sleep(DRAIN).await;
        }
    };
    info!(address = %bound, "listening");
    let listener = listener.tap_io(|connection| {
        if let Err(fault) = connection.set_nodelay(true) {
            warn!(error = %fault, "nodelay_not_set");
        }
    });
    tokio::select! {
        served = async { axum::serve(listener, router).with_graceful_shutdown(asked).await } => {
            if let Err(fault) = served {
                warn!(error = %fault, "serve_ended");
            }
        }
        () = overdue => warn!("requests in flight did not finish in time and were dropped"),
    }
    info!("stopped");
    Ok(())
}
