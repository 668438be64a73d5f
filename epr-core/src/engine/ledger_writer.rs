//! The group-commit writer: many callers' entries, one transaction, each caller answered after its commit.
//!
//! A commit under the ledger's lock lasts as long as the disk takes to flush, and one entry a commit is all that such
//! a ledger could do. While one commit is under way the next callers queue up, and go together in the next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::contention::ContentionRetry;
use crate::ledger::chain::Draft;
use crate::metrics::LedgerMetrics;
use crate::store::{Appended, Store, StoreError};

/// Most entries in one commit, unless one caller brings more: bounds how long the lock is held.
const BATCH: usize = 1000;
/// Most callers that wait for the next commit; further ones wait to be let in.
const QUEUE: usize = 4096;
/// How long one attempt may take. Above the limits that the server itself keeps: only a server that has gone silent meets it,
/// and everybody would wait behind it for ever.
const SILENCE: Duration = Duration::from_secs(30);

/// Why a caller's entries were not recorded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the ledger could not be written")]
pub(crate) struct NotRecorded(#[source] Arc<StoreError>);

impl NotRecorded {
    /// Whether one of several entries can be at fault, rather than the way to the database.
    pub(crate) fn may_be_about_one(&self) -> bool {
        self.0.may_be_about_one()
    }
}

impl From<NotRecorded> for StoreError {
    fn from(error: NotRecorded) -> Self {
        Self::Ledger(error.into())
    }
}

struct Request {
    drafts: Vec<Draft>,
    answer: oneshot::Sender<Result<Vec<Appended>, NotRecorded>>,
}

/// The way to the writer's task, which starts with the first entry.
pub(crate) struct LedgerWriter {
    store: Arc<dyn Store>,
    metrics: LedgerMetrics,
    writer: Mutex<Option<Writer>>,
}

struct Writer {
    queue: mpsc::Sender<Request>,
    task: JoinHandle<()>,
}

impl LedgerWriter {
    pub(crate) fn new(store: Arc<dyn Store>, metrics: LedgerMetrics) -> Self {
        Self { store, metrics, writer: Mutex::default() }
    }

    /// Records `drafts` together with whatever other callers bring, and answers when they are committed. A caller that
    /// goes away before its turn takes its entries back, one that goes away later does not.
    ///
    /// # Errors
    /// They were not recorded, or (when the connection broke, or the server was silent, in the middle of it) it is not known whether
    /// they were.
    pub(crate) async fn record(&self, drafts: Vec<Draft>) -> Result<Vec<Appended>, NotRecorded> {
        let begun = Instant::now();
        let queue = self.queue();
        let (answer, answered) = oneshot::channel();
        let gone = || NotRecorded(Arc::new(StoreError::Unavailable("the ledger's writer has ended".into())));
        queue.send(Request { drafts, answer }).await.map_err(|_| gone())?;
        let recorded = answered.await.map_err(|_| gone())?;
        self.metrics.wait.observe(begun.elapsed().as_secs_f64());
        recorded
    }

    /// The way to the running task; starts one when there is none, or when the last one ended with its runtime.
    fn queue(&self) -> mpsc::Sender<Request> {
        let mut held = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(writer) if !writer.queue.is_closed() => writer.queue.clone(),
            _ => {
                let (queue, requests) = mpsc::channel(QUEUE);
                let task = tokio::spawn(run(Arc::clone(&self.store), requests, self.metrics.clone()));
                held.insert(Writer { queue, task }).queue.clone()
            }
        }
    }

    /// Gives up what is under way and what waits: callers are told that it was not recorded, or that nobody knows. The next
    /// entry starts a new task.
    pub(crate) async fn abandon(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Writer { task, .. }) = writer {
            task.abort();
            let _ = task.await;
        }
    }
}

async fn run(store: Arc<dyn Store>, mut requests: mpsc::Receiver<Request>, metrics: LedgerMetrics) {
    let mut carried: Option<Request> = None;
    loop {
        let Some(first) = (match carried.take() {
            Some(request) => Some(request),
            None => requests.recv().await,
        }) else {
            return;
        };
        // Whoever can go on at this moment comes along.
        tokio::task::yield_now().await;
        let mut size = first.drafts.len();
        let mut batch = vec![first];
        while let Ok(next) = requests.try_recv() {
            if size + next.drafts.len() > BATCH {
                carried = Some(next);
                break;
            }
            size += next.drafts.len();
            batch.push(next);
        }
        #[allow(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
        metrics.batch.observe(size as f64);
        commit(&*store, batch, &metrics).await;
    }
}

async fn commit(store: &dyn Store, batch: Vec<Request>, metrics: &LedgerMetrics) {
    let mut together = Vec::new();
    let mut callers = Vec::with_capacity(batch.len());
    // Nobody waits any more for the others.
    for Request { drafts, answer } in batch.into_iter().filter(|request| !request.answer.is_closed()) {
        callers.push((drafts.len(), answer));
        together.extend(drafts);
    }
    if together.is_empty() {
        for (_, answer) in callers {
            let _ = answer.send(Ok(Vec::new()));
        }
        return;
    }
    match append(store, &together).await {
        Ok(outcomes) => {
            metrics.entries.inc_by(recorded(&outcomes));
            let mut outcomes = outcomes.into_iter();
            for (count, answer) in callers {
                // A caller that went away needs no answer.
                let _ = answer.send(Ok(outcomes.by_ref().take(count).collect()));
            }
        }
        // The database refused something that one caller brought: the others must not suffer for it.
        Err(fault) if fault.may_be_about_one() && callers.len() > 1 => {
            let mut rest = together.as_slice();
            for (count, answer) in callers {
                let (own, others) = rest.split_at(count);
                rest = others;
                let outcomes = append(store, own).await.map_err(|fault| NotRecorded(Arc::new(fault)));
                metrics.entries.inc_by(outcomes.as_deref().map_or(0, recorded));
                let _ = answer.send(outcomes);
            }
        }
        Err(fault) => {
            let fault = Arc::new(fault);
            for (_, answer) in callers {
                let _ = answer.send(Err(NotRecorded(Arc::clone(&fault))));
            }
        }
    }
}

/// How many of them are entries now.
pub(crate) fn recorded(outcomes: &[Appended]) -> u64 {
    outcomes.iter().filter(|outcome| matches!(outcome, Appended::Recorded { .. })).count() as u64
}

async fn append(store: &dyn Store, drafts: &[Draft]) -> Result<Vec<Appended>, StoreError> {
    // Further callers wait behind it.
    let mut retry = ContentionRetry::begin();
    loop {
        let attempt = tokio::time::timeout(SILENCE, store.append(drafts)).await;
        match attempt.unwrap_or_else(|_| Err(StoreError::Unavailable("the database does not answer".into()))) {
            Err(StoreError::Contention(fault)) => {
                if retry.next_attempt().is_none() {
                    return Err(StoreError::Contention(fault));
                }
            }
            outcome => return outcome,
        }
    }
}
