//! The promises of the batcher: order, one answer a caller, withdrawal, panics, and runtimes that end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::*;

const LIMITS: Limits = Limits { workers: 1, batch_weight: 8, queue_length: 1000, queue_time: None };

/// Answers each number with itself, and records the batches. A batch takes one permit of `gate`; the number 13 panics.
struct Echo {
    batches: Mutex<Vec<Vec<usize>>>,
    gate: Semaphore,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

impl Echo {
    fn open() -> Self {
        Self::with_permits(Semaphore::MAX_PERMITS)
    }

    fn with_permits(permits: usize) -> Self {
        Self {
            batches: Mutex::default(),
            gate: Semaphore::new(permits),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
        }
    }

    fn batches(&self) -> Vec<Vec<usize>> {
        self.batches.lock().unwrap().clone()
    }
}

impl BatchHandler for Echo {
    type Request = usize;
    type Answer = usize;

    fn weight(&self, request: &usize) -> usize {
        request % 10
    }

    async fn handle(&self, batch: Vec<Job<Self>>) {
        let (requests, callers): (Vec<_>, Vec<_>) = batch.into_iter().map(Job::into_parts).unzip();
        let running = self.running.fetch_add(1, SeqCst) + 1;
        self.most_running.fetch_max(running, SeqCst);
        self.batches.lock().unwrap().push(requests.clone());
        self.gate.acquire().await.unwrap().forget();
        self.running.fetch_sub(1, SeqCst);
        assert!(!requests.contains(&13), "the number 13");
        for (request, caller) in requests.into_iter().zip(callers) {
            caller.answer(request);
        }
    }
}

/// Lets every other task of a current-thread runtime go as far as it can.
async fn others_run() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

fn submit(batcher: &Arc<Batcher<Echo>>, request: usize) -> JoinHandle<Result<usize, Unanswered>> {
    let batcher = Arc::clone(batcher);
    tokio::spawn(async move { batcher.submit(request).await })
}

#[tokio::test]
async fn requests_that_arrive_meanwhile_form_the_next_batch_in_their_order() {
    let batcher = Arc::new(Batcher::new(Echo::with_permits(0), LIMITS));
    let first = submit(&batcher, 1);
    others_run().await;
    let rest: Vec<_> = [2, 3, 1, 5, 2].map(|request| submit(&batcher, request)).into();
    others_run().await;
    batcher.handler().gate.add_permits(3);
    let answers = join_all(std::iter::once(first).chain(rest)).await;
    assert_eq!(answers.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 3, 1, 5, 2].map(Ok));
    // 2 + 3 + 1 fit into the weight of 8, and 5 does not fit with them.
    assert_eq!(batcher.handler().batches(), [vec![1], vec![2, 3, 1], vec![5, 2]]);
    others_run().await;
    assert!(batcher.shared.state().workers.is_empty());
}

#[tokio::test]
async fn a_request_heavier_than_a_batch_is_a_batch_of_its_own() {
    let limits = Limits { batch_weight: 3, ..LIMITS };
    let batcher = Arc::new(Batcher::new(Echo::open(), limits));
    let answers = join_all([1, 9, 2].map(|request| submit(&batcher, request))).await;
    assert_eq!(answers.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 9, 2].map(Ok));
    assert_eq!(batcher.handler().batches(), [vec![1], vec![9], vec![2]]);
}

#[tokio::test]
async fn a_caller_that_goes_away_in_the_queue_withdraws_its_request() {
    let batcher = Arc::new(Batcher::new(Echo::with_permits(0), LIMITS));
    let first = submit(&batcher, 1);
    others_run().await;
    let (gone, stays) = (submit(&batcher, 2), submit(&batcher, 3));
    others_run().await;
    gone.abort();
    others_run().await;
    batcher.handler().gate.add_permits(2);
    assert_eq!((first.await.unwrap(), stays.await.unwrap()), (Ok(1), Ok(3)));
    assert_eq!(batcher.handler().batches(), [vec![1], vec![3]]);
    assert_eq!(batcher.shared.room.available_permits(), LIMITS.queue_length);
}

#[tokio::test]
async fn a_panic_of_the_worker_answers_nobody_and_the_next_request_is_served() {
    let batcher = Arc::new(Batcher::new(Echo::with_permits(1), LIMITS));
    let (panics, with_it) = (submit(&batcher, 13), submit(&batcher, 1));
    assert_eq!((panics.await.unwrap(), with_it.await.unwrap()), (Err(Unanswered), Err(Unanswered)));
    batcher.handler().gate.add_permits(1);
    assert_eq!(batcher.submit(2).await, Ok(2));
}

#[tokio::test]
async fn abandoned_requests_are_unanswered_and_the_next_request_is_served() {
    let batcher = Arc::new(Batcher::new(Echo::with_permits(0), LIMITS));
    let (in_progress, queued) = (submit(&batcher, 1), {
        others_run().await;
        submit(&batcher, 2)
    });
    others_run().await;
    batcher.abandon().await;
    assert_eq!((in_progress.await.unwrap(), queued.await.unwrap()), (Err(Unanswered), Err(Unanswered)));
    batcher.handler().gate.add_permits(1);
    assert_eq!(batcher.submit(3).await, Ok(3));
}

/// A process may have several runtimes, one after the other: tests do.
#[test]
fn workers_that_end_with_their_runtime_leave_no_caller_waiting() {
    let batcher = Arc::new(Batcher::new(Echo::with_permits(0), LIMITS));
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let first = runtime();
    first.block_on(async {
        submit(&batcher, 1);
        others_run().await;
    });
    drop(first);
    assert!(batcher.shared.state().workers.is_empty());
    batcher.handler().gate.add_permits(1);
    assert_eq!(runtime().block_on(batcher.submit(2)), Ok(2));
}

#[tokio::test]
async fn a_request_that_was_queued_for_too_long_is_unanswered() {
    let batcher = Arc::new(Batcher::new(Echo::open(), Limits { queue_time: Some(Duration::ZERO), ..LIMITS }));
    assert_eq!(batcher.submit(1).await, Err(Unanswered));
    assert!(batcher.handler().batches().is_empty());
}

#[tokio::test]
async fn a_full_queue_makes_callers_wait_to_enter_it() {
    let batcher = Arc::new(Batcher::new(Echo::with_permits(0), Limits { queue_length: 1, ..LIMITS }));
    // The first leaves the queue for its batch only when it is handled: a job keeps its room until it is split.
    let callers: Vec<_> = (1..=5).map(|request| submit(&batcher, request)).collect();
    others_run().await;
    assert!(batcher.shared.state().queue.len() <= 1);
    batcher.handler().gate.add_permits(5);
    let answers = join_all(callers).await;
    assert_eq!(answers.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 3, 4, 5].map(Ok));
}

#[derive(Debug, Clone)]
enum Step {
    Submit(usize),
    /// The caller with this number, counted from the newest, goes away.
    Leave(usize),
    /// One batch may end.
    Permit,
    Run,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..10_usize).prop_map(Step::Submit),
        1 => (0..4_usize).prop_map(Step::Leave),
        2 => Just(Step::Permit),
        3 => Just(Step::Run),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: callers that stay get their own answer, a request is handled at most once, a batch has at most
    /// its weight, there are at most as many batches as workers, and one worker handles requests in their order.
    #[test]
    fn every_caller_that_stays_gets_its_answer(
        steps in proptest::collection::vec(step(), 1..80), workers in 1..4_usize, batch_weight in 1..20_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let limits = Limits { workers, batch_weight, ..LIMITS };
            let batcher = Arc::new(Batcher::new(Echo::with_permits(0), limits));
            let mut callers: Vec<(usize, JoinHandle<_>)> = Vec::new();
            for step in steps {
                match step {
                    // Each request is another number with the weight in its last digit; 13 is not among them.
                    Step::Submit(weight) => {
                        let request = (callers.len() + 2) * 10 + weight;
                        callers.push((request, submit(&batcher, request)));
                    }
                    Step::Leave(newest) => {
                        if let Some((_, caller)) = callers.iter().rev().nth(newest) {
                            caller.abort();
                        }
                    }
                    Step::Permit => batcher.handler().gate.add_permits(1),
                    Step::Run => others_run().await,
                }
            }
            batcher.handler().gate.add_permits(1000);
            for (request, caller) in callers {
                match caller.await {
                    Ok(answer) => prop_assert_eq!(answer, Ok(request)),
                    Err(left) => prop_assert!(left.is_cancelled()),
                }
            }
            others_run().await;
            let batches = batcher.handler().batches();
            for batch in &batches {
                let weight: usize = batch.iter().map(|request| request % 10).sum();
                prop_assert!(batch.len() == 1 || weight <= batch_weight, "{:?}", batch);
            }
            let handled: Vec<_> = batches.concat();
            let mut once = handled.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), handled.len());
            if workers == 1 {
                prop_assert_eq!(once, handled);
            }
            prop_assert!(batcher.handler().most_running.load(SeqCst) <= workers);
            prop_assert!(batcher.shared.state().queue.is_empty() && batcher.shared.state().workers.is_empty());
            prop_assert_eq!(batcher.shared.room.available_permits(), LIMITS.queue_length);
            Ok(())
        })?;
    }
}
