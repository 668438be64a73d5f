//! The batcher: requests that arrive while a batch is in progress are handled together in the next one.
//!
//! Owns the queue, the workers, and the promise that every caller gets exactly one answer, or [`Unanswered`]. The
//! workers start with the first request and end when the queue is empty. Must never know what a request is about.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

/// Handles the batches of one [`Batcher`].
pub(crate) trait BatchHandler: Send + Sync + 'static {
    /// The type of a request.
    type Request: Send + 'static;
    /// The type of a result.
    type Answer: Send + 'static;

    /// The share of a request in [`Limits::batch_weight`].
    fn weight(&self, request: &Self::Request) -> usize {
        let _ = request;
        1
    }

    /// Handles `batch` and answers each of its jobs. A job that is dropped instead leaves its caller [`Unanswered`].
    fn handle(&self, batch: Vec<Job<Self>>) -> impl Future<Output = ()> + Send;
}

/// The bounds of a [`Batcher`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Batches in progress at a time.
    pub(crate) workers: usize,
    /// The total weight of a batch. A single request may exceed it, and is then a batch of its own.
    pub(crate) batch_weight: usize,
    /// Requests in the queue; further callers wait to enter it.
    pub(crate) queue_length: usize,
    /// The time that a request may stay in the queue; `None`: without a limit.
    pub(crate) queue_time: Option<Duration>,
}

/// The worker ended, or the request was in the queue for too long, before it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unanswered;

/// A request in a batch, and the way to its caller.
pub(crate) struct Job<H: BatchHandler + ?Sized> {
    request: H::Request,
    caller: Caller<H::Answer>,
    queued_at: Instant,
    _room: OwnedSemaphorePermit,
}

/// The caller of a job.
pub(crate) struct Caller<A>(oneshot::Sender<A>);

impl<A> Caller<A> {
    /// Whether the caller no longer waits for the result.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.is_closed()
    }

    /// Answers the caller. One that has gone away needs no answer.
    pub(crate) fn answer(self, answer: A) {
        let _ = self.0.send(answer);
    }
}

impl<H: BatchHandler + ?Sized> Job<H> {
    /// Separates the request from its caller.
    pub(crate) fn into_parts(self) -> (H::Request, Caller<H::Answer>) {
        (self.request, self.caller)
    }
}

/// The queue of one handler.
pub(crate) struct Batcher<H: BatchHandler> {
    shared: Arc<Shared<H>>,
}

struct Shared<H: BatchHandler> {
    handler: H,
    limits: Limits,
    room: Arc<Semaphore>,
    state: Mutex<State<H>>,
}

struct State<H: BatchHandler> {
    queue: VecDeque<Job<H>>,
    /// The running workers; a handle is missing while its task is being started.
    workers: HashMap<u64, Option<JoinHandle<()>>>,
    next_worker: u64,
}

impl<H: BatchHandler> Batcher<H> {
    pub(crate) fn new(handler: H, limits: Limits) -> Self {
        let state = State { queue: VecDeque::new(), workers: HashMap::new(), next_worker: 0 };
        let room = Arc::new(Semaphore::new(limits.queue_length.min(Semaphore::MAX_PERMITS)));
        Self { shared: Arc::new(Shared { handler, limits, room, state: Mutex::new(state) }) }
    }

    /// The handler.
    pub(crate) fn handler(&self) -> &H {
        &self.shared.handler
    }

    /// Has `request` handled in a batch that begins after this call, and returns the answer to it. A caller that goes
    /// away before the batch begins withdraws its request.
    pub(crate) async fn submit(&self, request: H::Request) -> Result<H::Answer, Unanswered> {
        let room = Arc::clone(&self.shared.room).acquire_owned().await.map_err(|_| Unanswered)?;
        let (sender, answer) = oneshot::channel();
        let job = Job { request, caller: Caller(sender), queued_at: Instant::now(), _room: room };
        if let Some(worker) = self.enqueue(job) {
            let id = worker.id;
            let task = tokio::spawn(worker.run());
            // INVARIANT: not under the lock. A runtime that is shutting down drops the task at once, and with it the
            // worker.
            match self.shared.state().workers.get_mut(&id) {
                Some(handle) => *handle = Some(task),
                // It has ended, or the requests were abandoned meanwhile.
                None => task.abort(),
            }
        }
        answer.await.map_err(|_| Unanswered)
    }

    /// Puts `job` into the queue. Returns a further worker if there may be one.
    fn enqueue(&self, job: Job<H>) -> Option<Worker<H>> {
        let mut state = self.shared.state();
        state.queue.push_back(job);
        if state.workers.len() >= self.shared.limits.workers {
            return None;
        }
        let id = state.next_worker;
        state.next_worker += 1;
        state.workers.insert(id, None);
        Some(Worker { id, shared: Arc::clone(&self.shared) })
    }

    /// Cancels the batches in progress and empties the queue. Every caller is left [`Unanswered`]. The next request
    /// starts a new worker.
    pub(crate) async fn abandon(&self) {
        let (queue, workers) = {
            let mut state = self.shared.state();
            (std::mem::take(&mut state.queue), std::mem::take(&mut state.workers))
        };
        drop(queue);
        for task in workers.into_values().flatten() {
            task.abort();
            let _ = task.await;
        }
    }
}

impl<H: BatchHandler> Shared<H> {
    fn state(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker, from the moment it is counted until it no longer is.
struct Worker<H: BatchHandler> {
    id: u64,
    shared: Arc<Shared<H>>,
}

impl<H: BatchHandler> Worker<H> {
    async fn run(self) {
        loop {
            // Yields once so that other ready tasks join this batch.
            tokio::task::yield_now().await;
            let Some(batch) = self.next_batch() else { return };
            self.shared.handler.handle(batch).await;
        }
    }

    /// The next batch; `None` when the queue is empty, after which this worker is no longer counted.
    fn next_batch(&self) -> Option<Vec<Job<H>>> {
        let Shared { handler, limits, .. } = &*self.shared;
        let mut state = self.shared.state();
        let in_time = |job: &Job<H>| limits.queue_time.is_none_or(|limit| job.queued_at.elapsed() < limit);
        state.queue.retain(|job| !job.caller.is_gone() && in_time(job));
        let (mut count, mut weight) = (0, 0_usize);
        for job in &state.queue {
            weight = weight.saturating_add(handler.weight(&job.request));
            if count > 0 && weight > limits.batch_weight {
                break;
            }
            count += 1;
        }
        if count == 0 {
            // In the same critical section: a request that comes later finds no worker and starts one.
            state.workers.remove(&self.id);
            return None;
        }
        Some(state.queue.drain(..count).collect())
    }
}

impl<H: BatchHandler> Drop for Worker<H> {
    /// A worker that panicked, or ended with its runtime, must not leave callers waiting for ever.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if state.workers.remove(&self.id).is_some() && state.workers.is_empty() {
            state.queue.clear();
        }
    }
}

#[cfg(test)]
#[path = "batcher_tests.rs"]
mod tests;
