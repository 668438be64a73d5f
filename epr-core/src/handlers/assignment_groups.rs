//! Assignments in groups: those that are asked for while others are being committed share the next transaction.
//!
//! One change after the other holds the ledger's lock until the disk has its commit. A group holds it once, and each of
//! its callers is answered as if its assignment were a change of its own. Must never let one caller's request change
//! what another one is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tracing::{Instrument as _, Span};

use super::assignments::{AlreadyRead, Assign, Assigned, Wanted};
use super::transaction::{Change, ChangeError, ChangeResult, Mutation, attempt, commit};
use crate::call::{AnsweredAt, Call};
use crate::domain::Revision;
use crate::engine::Engines;
use crate::engine::batcher::{BatchHandler, Batcher, Caller, Job, Limits};
use crate::error::{Error, Result};
use crate::store::{Appended, StoreError};

const LIMITS: Limits = Limits {
    // While one group is committed, the next one is written.
    workers: 2,
    // Assignments in one transaction: bounds the time for which it holds locks.
    batch_weight: 64,
    queue_length: 4096,
    queue_time: None,
};

/// The time after which the next group no longer waits for the end of one.
const PATIENCE: Duration = Duration::from_millis(200);

/// The assignments that wait for a transaction.
pub(crate) struct AssignmentGroups {
    batcher: Batcher<Committing>,
    /// Off in a process that may be frozen as soon as its caller is answered or has gone: a group goes on without its
    /// callers, and a frozen one would keep its locks.
    is_on: AtomicBool,
}

impl Default for AssignmentGroups {
    fn default() -> Self {
        Self { batcher: Batcher::new(Committing, LIMITS), is_on: AtomicBool::new(false) }
    }
}

impl AssignmentGroups {
    /// Begins to form groups, for a process that runs all the time.
    pub(crate) fn start(&self) {
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Whether groups are formed.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Assigns what is wanted, alone or together with the assignments of other callers, and returns when it is
    /// committed.
    pub(super) async fn assign(&self, engines: &Engines, call: &Call, wanted: Wanted) -> Result<Assigned> {
        let item = Item { engines: engines.clone(), call: call.clone(), wanted, span: Span::current() };
        let ended = |_| Error::Unavailable(StoreError::Unavailable("the service is being stopped".into()));
        self.batcher.submit(item).await.map_err(ended)?
    }

    /// Forms no more groups, and cancels the assignments that wait for one.
    pub(crate) async fn stop(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        self.batcher.abandon().await;
    }
}

/// One caller's assignment.
struct Item {
    engines: Engines,
    call: Call,
    wanted: Wanted,
    span: Span,
}

impl Item {
    fn change(&self) -> Assign<'_> {
        Assign { engines: &self.engines, call: &self.call, wanted: &self.wanted }
    }

    /// Commits this assignment in a transaction of its own.
    async fn commit(&self) -> Result<Assigned> {
        let change = self.change();
        commit(&self.engines, self.call.answered_at.as_ref(), &change).instrument(self.span.clone()).await
    }
}

struct Committing;

impl BatchHandler for Committing {
    type Request = Item;
    type Answer = Result<Assigned>;

    async fn handle(&self, batch: Vec<Job<Self>>) {
        let mut group: Vec<_> = batch.into_iter().map(Job::into_parts).collect();
        // The order of the transaction is that of the keys, whoever came first.
        group.sort_by_cached_key(|(item, _)| item.wanted.order());
        // In a task of its own: those who come next do not wait for an assignment that waits for a lock.
        let _ = tokio::time::timeout(PATIENCE, tokio::spawn(commit_all(group))).await;
    }
}

/// Commits the assignments and answers their callers.
async fn commit_all(group: Vec<(Item, Caller<Result<Assigned>>)>) {
    let (items, callers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
    match commit_together(&items).await {
        Ok(answers) => answer_all(callers, answers),
        // One of them may be the reason. Side by side, since each may have to wait for a lock of its own.
        Err(NotTogether::OneByOne) => {
            let alone = items.iter().zip(callers).map(async |(item, caller)| caller.answer(item.commit().await));
            join_all(alone).await;
        }
        Err(NotTogether::Failed(error)) => {
            let error = Arc::new(error);
            answer_all(callers, items.iter().map(|_| Err(failed(&error))));
        }
    }
}

fn answer_all(callers: Vec<Caller<Result<Assigned>>>, answers: impl IntoIterator<Item = Result<Assigned>>) {
    for (caller, answer) in callers.into_iter().zip(answers) {
        caller.answer(answer);
    }
}

/// Why a group was not committed.
enum NotTogether {
    /// Nothing was written, and the cause may be one of its items.
    OneByOne,
    /// The outcome may be unknown: nothing is repeated.
    Failed(StoreError),
}

/// Commits `items` in one transaction. Each is refused or succeeds for itself.
async fn commit_together(items: &[Item]) -> std::result::Result<Vec<Result<Assigned>>, NotTogether> {
    let [first, _, ..] = items else { return Err(NotTogether::OneByOne) };
    let answered_at = AnsweredAt::default();
    let written = attempt(&first.engines, Some(&answered_at), &Group(items)).await;
    let written = written.map_err(|error| match error {
        ChangeError::Store(error) if may_be_about_one(&error) => NotTogether::OneByOne,
        ChangeError::Store(error) => NotTogether::Failed(error),
        ChangeError::Caller(_) => NotTogether::OneByOne,
    })?;
    let revision = answered_at.get();
    let answer = |(item, written): (&Item, Written)| {
        let own = revision.map(|newest| Revision { sequence: written.sequence.unwrap_or(newest.sequence), ..newest });
        if written.outcome.is_ok()
            && let (Some(own), Some(answered_at)) = (own, &item.call.answered_at)
        {
            answered_at.set(own);
        }
        written.outcome
    };
    Ok(items.iter().zip(written).map(answer).collect())
}

/// Whether one of several assignments can be the cause of an error before the commit.
fn may_be_about_one(error: &StoreError) -> bool {
    matches!(error, StoreError::Contention(_) | StoreError::MissingReference) || error.may_be_about_one()
}

/// The error for one caller of a group that was not committed.
fn failed(error: &Arc<StoreError>) -> Error {
    if let StoreError::Busy(why) = **error {
        return Error::Busy(why);
    }
    Error::Unavailable(StoreError::Unavailable(Arc::clone(error).into()))
}

/// The assignments of one transaction.
struct Group<'a>(&'a [Item]);

/// What became of one assignment of a group.
struct Written {
    outcome: Result<Assigned>,
    /// The sequence of its entry, if it is new.
    sequence: Option<i64>,
}

impl Mutation for Group<'_> {
    type Done = Vec<Written>;

    async fn apply(&self, change: &mut Change) -> ChangeResult<Vec<Written>> {
        // A group does not wait for one of its own: each is committed alone then.
        change.tx.wait_for_locks(true).await?;
        let mut read = AlreadyRead::default();
        let mut all = Vec::with_capacity(self.0.len());
        for item in self.0 {
            let assign = item.change();
            let one = async {
                Ok::<_, StoreError>(match assign.check(change, &mut read).await {
                    Ok(fitting) => Ok(assign.write(change, fitting).await?),
                    Err(ChangeError::Caller(refused)) => Err(refused),
                    Err(ChangeError::Store(error)) => return Err(error),
                })
            };
            all.push(Written { outcome: one.instrument(item.span.clone()).await?, sequence: None });
        }
        change.tx.wait_for_locks(false).await?;
        Ok(all)
    }

    fn recorded(&self, mut all: Vec<Written>, outcomes: &[Appended]) -> Vec<Written> {
        for written in &mut all {
            let entry = written.outcome.as_ref().ok().and_then(|assigned| assigned.entry);
            if let Some(Appended::Recorded { sequence, .. }) = entry.and_then(|index| outcomes.get(index)) {
                written.sequence = Some(*sequence);
            }
        }
        all
    }
}
