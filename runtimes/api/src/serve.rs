//! From a socket to the router, until a signal says stop.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use epr_core::StopSignal;
use tokio::net::TcpListener;
use tracing::{info, warn};

/// How long requests in flight may take once a stop was asked for. Below the 10 s in which the process promises to
/// be gone, and below ECS's 30 s.
const DRAIN: Duration = Duration::from_secs(6);

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

/// Listens on `address` and serves `router` until `stop`; then stops accepting, waits for what is in flight (6 s at
/// most) and returns.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(router: Router, address: SocketAddr, mut stop: StopSignal) -> Result<(), ServeError> {
    let listen = |cause| ServeError::Listen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let asked = async move {
        stop.asked().await;
        let _ = stopping.send(());
    };
    let overdue = async move {
        if stopped.await.is_ok() {
            tokio::time::sleep(DRAIN).await;
        } else {
            std::future::pending::<()>().await;
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
        () = overdue => warn!("requests in flight did not finish in time; they end with the process"),
    }
    Ok(())
}
