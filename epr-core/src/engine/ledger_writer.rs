//! The group-commit writer: one transaction commits the entries of many callers, and each caller is answered after its
//! commit.
//!
//! A commit under the ledger's lock takes as long as the disk needs to flush. While one commit is in progress the
//! entries of the next callers queue up, and the next commit takes them together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batcher::{BatchHandler, Batcher, Caller, Job, Limits};
use super::contention::ContentionRetry;
use crate::ledger::chain::Draft;
use crate::metrics::LedgerMetrics;
use crate::store::{Appended, Store, StoreError};

const LIMITS: Limits = Limits {
    workers: 1,
    // Entries in one commit, unless one caller brings more: bounds how long the lock is held.
    batch_weight: 1000,
    queue_length: 4096,
    queue_time: None,
};
/// The deadline of one attempt. It is longer than the server's own limits, so that only a server that has stopped
/// answering reaches it: without it every caller would wait behind that attempt for ever.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);

/// A caller's entries were not recorded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the ledger could not be written")]
pub(crate) struct NotRecorded(#[source] Arc<StoreError>);

impl NotRecorded {
    /// Whether the cause may be one of several entries rather than the connection to the database.
    pub(crate) fn may_be_about_one(&self) -> bool {
        self.0.may_be_about_one()
    }
}

impl From<NotRecorded> for StoreError {
    fn from(error: NotRecorded) -> Self {
        Self::Ledger(error.into())
    }
}

type Answer = Result<Vec<Appended>, NotRecorded>;

/// Records entries in groups.
pub(crate) struct LedgerWriter(Batcher<AppendGroup>);

impl LedgerWriter {
    pub(crate) fn new(store: Arc<dyn Store>, metrics: LedgerMetrics) -> Self {
        Self(Batcher::new(AppendGroup { store, metrics }, LIMITS))
    }

    /// Records `drafts` together with those of other callers, and returns when they are committed. A caller that goes
    /// away before its commit begins withdraws its entries; one that goes away later does not.
    ///
    /// # Errors
    /// They were not recorded, or the connection broke or the server stopped answering during the commit: then the
    /// outcome is unknown.
    pub(crate) async fn record(&self, drafts: Vec<Draft>) -> Answer {
        let begun = Instant::now();
        let ended = |_| NotRecorded(Arc::new(StoreError::Unavailable("the ledger's writer has ended".into())));
        let recorded = self.0.submit(drafts).await.map_err(ended)?;
        self.0.handler().metrics.wait.observe(begun.elapsed().as_secs_f64());
        recorded
    }

    /// Cancels appends that are waiting or in progress. Their callers get an error; the outcome of an append in
    /// progress is unknown. The next entry starts a new worker.
    pub(crate) async fn abandon(&self) {
        self.0.abandon().await;
    }
}

struct AppendGroup {
    store: Arc<dyn Store>,
    metrics: LedgerMetrics,
}

impl BatchHandler for AppendGroup {
    type Request = Vec<Draft>;
    type Answer = Answer;

    fn weight(&self, drafts: &Vec<Draft>) -> usize {
        drafts.len()
    }

    async fn handle(&self, batch: Vec<Job<Self>>) {
        let mut drafts = Vec::new();
        let mut callers = Vec::with_capacity(batch.len());
        for (own, caller) in batch.into_iter().map(Job::into_parts) {
            callers.push((own.len(), caller));
            drafts.extend(own);
        }
        #[allow(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
        self.metrics.batch.observe(drafts.len() as f64);
        match self.append(&drafts).await {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for (count, caller) in callers {
                    caller.answer(Ok(outcomes.by_ref().take(count).collect()));
                }
            }
            // The database refuses an entry of one caller, which must not affect the others.
            Err(error) if error.may_be_about_one() && callers.len() > 1 => self.append_each(&drafts, callers).await,
            Err(error) => {
                let error = Arc::new(error);
                for (_, caller) in callers {
                    caller.answer(Err(NotRecorded(Arc::clone(&error))));
                }
            }
        }
    }
}

impl AppendGroup {
    /// Appends the entries of each caller in a transaction of their own.
    async fn append_each(&self, drafts: &[Draft], callers: Vec<(usize, Caller<Answer>)>) {
        let mut rest = drafts;
        for (count, caller) in callers {
            let (own, others) = rest.split_at(count);
            rest = others;
            caller.answer(self.append(own).await.map_err(|error| NotRecorded(Arc::new(error))));
        }
    }

    async fn append(&self, drafts: &[Draft]) -> Result<Vec<Appended>, StoreError> {
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        // Without a delay: further callers wait behind this append.
        let mut retry = ContentionRetry::begin();
        loop {
            let attempt = tokio::time::timeout(APPEND_TIMEOUT, self.store.append(drafts)).await;
            match attempt.unwrap_or_else(|_| Err(StoreError::Unavailable("the database does not answer".into()))) {
                Err(StoreError::Contention(_)) if retry.next_attempt().is_some() => {}
                Ok(outcomes) => {
                    self.metrics.entries.inc_by(count_recorded(&outcomes));
                    return Ok(outcomes);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The number of new entries among `outcomes`.
pub(crate) fn count_recorded(outcomes: &[Appended]) -> u64 {
    outcomes.iter().filter(|outcome| matches!(outcome, Appended::Recorded { .. })).count() as u64
}
