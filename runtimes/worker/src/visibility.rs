//! Keeps received messages hidden from other consumers while they are processed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::sqs::Sqs;

/// Time to wait for a renewal that is under way.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(3);

/// The renewal of the visibility timeout of one batch; ends when it is dropped.
pub(crate) struct VisibilityRenewal(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl VisibilityRenewal {
    /// Renews the visibility timeout of `seconds` each time a third of it has passed, so that one renewal may fail. A
    /// timeout that is too short to be renewed is left alone: it returns messages at once, as configured.
    pub(crate) fn start(queue: &Arc<Sqs>, receipts: Vec<String>, seconds: i32) -> Self {
        if seconds < 2 {
            return Self(None);
        }
        let queue = Arc::clone(queue);
        let interval = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)) / 3;
        let (end, mut ended) = oneshot::channel();
        let renewal = tokio::spawn(async move {
            let receipts: Vec<&str> = receipts.iter().map(String::as_str).collect();
            // Ends also when the sender is dropped.
            while tokio::time::timeout(interval, &mut ended).await.is_err() {
                queue.hide(&receipts, seconds).await;
            }
        });
        Self(Some((end, renewal)))
    }

    /// Stops renewing, and waits for a renewal that is under way: one that arrives after the messages were made visible
    /// again would hide them.
    pub(crate) async fn stop(self) {
        if let Some((end, mut renewal)) = self.0 {
            drop(end);
            if tokio::time::timeout(RENEWAL_TIMEOUT, &mut renewal).await.is_err() {
                renewal.abort();
            }
        }
    }
}
