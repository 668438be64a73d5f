//! Keeps messages hidden from others while work on them lasts.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::sqs::Sqs;

/// How long to wait for a renewal that is under way.
const RENEWAL: Duration = Duration::from_secs(3);

/// Messages that are being worked on.
pub(crate) struct Hold(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Hold {
    /// Renews the visibility timeout of `seconds` each time a third of it has passed, so that one renewal may fail. Timeouts too short to be renewed are
    /// left alone: whoever set them wants the messages back at once.
    pub(crate) fn begin(queue: &Arc<Sqs>, receipts: Vec<String>, seconds: i32) -> Self {
        if seconds < 2 {
            return Self(None);
        }
        let queue = Arc::clone(queue);
        let pause = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)) / 3;
        let (end, mut ended) = oneshot::channel();
        let renewal = tokio::spawn(async move {
            let receipts: Vec<&str> = receipts.iter().map(String::as_str).collect();
            // Ends also when the holder is dropped.
            while tokio::time::timeout(pause, &mut ended).await.is_err() {
                queue.hide(&receipts, seconds).await;
            }
        });
        Self(Some((end, renewal)))
    }

    /// Stops renewing and waits for a renewal that is under way: one that arrives after the messages were shown again would
    /// hide them.
    pub(crate) async fn end(self) {
        if let Some((end, mut renewal)) = self.0 {
            drop(end);
            if tokio::time::timeout(RENEWAL, &mut renewal).await.is_err() {
                renewal.abort();
            }
        }
    }
}
