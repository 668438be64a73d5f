//! The request to stop: SIGTERM and SIGINT, for as many tasks as listen.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

/// Reports a request to stop to its holder. Clones report the same request.
#[derive(Clone)]
pub struct Stopper(watch::Receiver<bool>);

impl Stopper {
    /// Catches SIGTERM and SIGINT from now on. The first of them is the request.
    ///
    /// # Errors
    /// The system refuses to install a handler.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn install() -> std::io::Result<Self> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (request, requested) = watch::channel(false);
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            info!(signal = name, "stopping");
            request.send_replace(true);
        });
        Ok(Self(requested))
    }

    /// Whether a stop was requested.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the request to stop.
    pub async fn requested(&self) {
        // The task that requests a stop ends with the runtime, which is a reason to stop as well.
        let _ = self.0.clone().wait_for(|requested| *requested).await;
    }

    /// Runs `work`, which ends by itself after a request to stop; `None` when it has not ended `grace` after the
    /// request.
    pub async fn bound<T>(&self, grace: Duration, work: impl Future<Output = T>) -> Option<T> {
        let overdue = async {
            self.requested().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            biased;
            outcome = work => Some(outcome),
            () = overdue => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_of_the_request() {
        let (request, requested) = watch::channel(false);
        let (one, other) = (Stopper(requested.clone()), Stopper(requested));
        assert_eq!(one.bound(Duration::ZERO, std::future::ready(1)).await, Some(1));
        assert!(!one.is_requested());
        request.send_replace(true);
        one.requested().await;
        other.requested().await;
        assert!(other.is_requested());
        assert_eq!(one.bound(Duration::ZERO, std::future::pending::<()>()).await, None);
    }
}
