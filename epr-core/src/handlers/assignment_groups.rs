//! Assignments in groups: those that are asked for while others are being committed share the next transaction.
//!
//! One change after the other holds the ledger's lock until the disk has its commit. A group holds it once, and each of
//! its callers is answered as if its assignment were a change of its own. Must never let one caller's request change
//! the answer of another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tracing::{Instrument as _, Span};

use super::assignments::{AlreadyRead, Assign, Assigned, Wanted};
use super::once::commit_once;
use super::transaction::{Change, ChangeError, ChangeResult, Mutation, attempt, commit};
use crate::call::{AnsweredAt, Call};
use crate::domain::{Assignment, AssignmentRequest, KeyedRequest, Once, Revision};
use crate::engine::Engines;
use crate::engine::batcher::{BatchHandler, Batcher, Caller, Job, Limits};
use crate::error::{Error, Result};
use crate::store::{Appended, StoreError};

const LIMITS: Limits = Limits {
    // While one group is committed, the next one is written.
    workers: 2,
    // Assignments in one transaction. Each holds the locks of its principal and its key until all are committed.
    batch_weight: 64,
    queue_length: 4096,
    queue_time: None,
};

/// The time after which the next group no longer waits for the end of one.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

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

/// Assigns a role. The same principal, role and entity again returns the existing assignment, unchanged. A principal
/// that is named by an unknown external id is registered in the same transaction. Under an idempotency key, a repeat
/// returns the first answer, also when the assignment was revoked since.
///
/// # Errors
/// `NotFound` when the role is unknown; `Refused` when the entity is unknown or the role is not meant for its
/// type; `Invalid` when the window ends before it starts, the condition does not compile, or the settings require a
/// reason and there is none.
pub(crate) async fn assign(
    (engines, groups): (&Engines, &AssignmentGroups),
    call: &Call,
    keyed: Option<&KeyedRequest>,
    request: AssignmentRequest,
) -> Result<Once<Assignment>> {
    let wanted = Wanted::of(engines, engines.now(), request)?;
    if groups.is_on() && keyed.is_none() && wanted.is_to_id() {
        return Ok(Once::First(groups.assign(engines, call, wanted).await?.assignment));
    }
    let done = commit_once(
        engines,
        call.answered_at.as_ref(),
        keyed,
        &Assign { engines, call, wanted: &wanted },
        Assigned::answer,
    )
    .await?;
    Ok(done.map(|assigned| {
        assigned.log();
        assigned.assignment
    }))
}

impl AssignmentGroups {
    /// Begins to form groups, for a process that runs all the time.
    pub(crate) fn start(&self) {
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Whether groups are formed.
    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Assigns what is wanted, alone or together with the assignments of other callers, and returns when it is
    /// committed.
    async fn assign(&self, engines: &Engines, call: &Call, wanted: Wanted) -> Result<Assigned> {
        let item = Item { engines: engines.clone(), call: call.clone(), wanted, span: Span::current() };
        let unanswered = "the assignment was not answered: its service was stopped, or failed";
        self.batcher.submit(item).await.map_err(|_| StoreError::Unavailable(unanswered.into()))?
    }

    /// Forms no more groups, and cancels the assignments that wait for one. Groups under way go on.
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
    fn mutation(&self) -> Assign<'_> {
        Assign { engines: &self.engines, call: &self.call, wanted: &self.wanted }
    }

    /// Commits this assignment in a transaction of its own, and answers its caller. One who has gone withdraws it.
    async fn commit_alone(self, caller: Caller<Answer>) {
        if caller.is_gone() {
            return;
        }
        let mutation = self.mutation();
        let done = commit(&self.engines, self.call.answered_at.as_ref(), &mutation).instrument(self.span.clone()).await;
        self.answer(caller, done);
    }

    /// Answers the caller. What is new is logged here: the caller may have gone.
    fn answer(&self, caller: Caller<Answer>, answer: Answer) {
        if let Ok(assigned) = &answer {
            self.span.in_scope(|| assigned.log());
        }
        caller.answer(answer);
    }
}

type Answer = Result<Assigned>;

struct Committing;

impl BatchHandler for Committing {
    type Request = Item;
    type Answer = Answer;

    async fn handle(&self, batch: Vec<Job<Self>>) {
        let mut group: Vec<_> = batch.into_iter().map(Job::into_parts).collect();
        // The order of the transaction is that of the keys, whoever came first.
        group.sort_by_cached_key(|(item, _)| item.wanted.order());
        // In a task of its own: those who come next do not wait for an assignment that waits for a lock.
        let settled = tokio::time::timeout(LONGEST_WAIT, tokio::spawn(settle(group))).await;
        if let Ok(Err(error)) = settled {
            tracing::error!(error = %error, "assignments_failed");
        }
    }
}

/// Commits the assignments and answers their callers.
async fn settle(group: Vec<(Item, Caller<Answer>)>) {
    let (items, callers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
    let answers = match in_one_transaction(&items).await {
        Ok(answers) => answers,
        Err(Refused::Together) => {
            // Side by side, since each may have to wait for a lock of its own.
            let alone = items.into_iter().zip(callers).map(|(item, caller)| tokio::spawn(item.commit_alone(caller)));
            join_all(alone).await;
            return;
        }
        Err(Refused::Each(error)) => {
            let error = Arc::new(error);
            let shared = || Error::from(StoreError::Unavailable(Arc::clone(&error).into()));
            items.iter().map(|_| Err(shared())).collect()
        }
    };
    for ((item, caller), answer) in items.iter().zip(callers).zip(answers) {
        item.answer(caller, answer);
    }
}

/// Why a group was not committed.
enum Refused {
    /// Nothing was written, and the cause may be one of the assignments: each may be committed alone.
    Together,
    /// The database is unavailable, or the outcome is unknown: nothing is repeated.
    Each(StoreError),
}

/// Commits `items` in one transaction. Each is refused or succeeds for itself.
async fn in_one_transaction(items: &[Item]) -> std::result::Result<Vec<Answer>, Refused> {
    // One alone needs none of this.
    let [first, _, ..] = items else { return Err(Refused::Together) };
    let answered_at = AnsweredAt::default();
    let outcomes = attempt(&first.engines, Some(&answered_at), &Group(items)).await;
    let outcomes = outcomes.map_err(|error| match error {
        ChangeError::Store(error) if !may_be_about_one(&error) => Refused::Each(error),
        ChangeError::Store(_) | ChangeError::Caller(_) => Refused::Together,
    })?;
    if let Some(newest) = answered_at.get() {
        for (item, outcome) in items.iter().zip(&outcomes).filter(|(_, outcome)| outcome.answer.is_ok()) {
            // Its own entry; of an assignment that existed, the state in which it does.
            let revision = Revision { sequence: outcome.sequence.unwrap_or(newest.sequence), ..newest };
            if let Some(answered_at) = &item.call.answered_at {
                answered_at.set(revision);
            }
        }
    }
    Ok(outcomes.into_iter().map(|outcome| outcome.answer).collect())
}

/// Whether one of several assignments can be the cause of an error, which then came before the commit.
fn may_be_about_one(error: &StoreError) -> bool {
    match error {
        StoreError::Ledger(cause) => cause.downcast_ref().is_some_and(may_be_about_one),
        StoreError::Unavailable(_) | StoreError::Dependency(_) | StoreError::Busy(_) => false,
        _ => true,
    }
}

/// The assignments of one transaction.
struct Group<'a>(&'a [Item]);

/// The result of one assignment of a group.
struct Outcome {
    answer: Answer,
    /// The sequence of its entry, if it is new.
    sequence: Option<i64>,
}

impl Mutation for Group<'_> {
    type Done = Vec<Outcome>;

    async fn apply(&self, change: &mut Change) -> ChangeResult<Vec<Outcome>> {
        // If a lock is not granted soon, the group gives up, and each assignment is committed alone.
        change.tx.wait_for_locks(true).await?;
        let mut read = AlreadyRead::default();
        let mut all = Vec::with_capacity(self.0.len());
        for item in self.0 {
            let mutation = item.mutation();
            let one = async {
                Ok::<_, StoreError>(match mutation.check(change, &mut read).await {
                    Ok(fitting) => Ok(mutation.write(change, fitting).await?),
                    Err(ChangeError::Caller(refused)) => Err(refused),
                    Err(ChangeError::Store(error)) => return Err(error),
                })
            };
            all.push(Outcome { answer: one.instrument(item.span.clone()).await?, sequence: None });
        }
        change.tx.wait_for_locks(false).await?;
        Ok(all)
    }

    fn recorded(&self, mut all: Vec<Outcome>, recorded: &[Appended]) -> Vec<Outcome> {
        for outcome in &mut all {
            let entry = outcome.answer.as_ref().ok().and_then(|assigned| assigned.entry);
            if let Some(Appended::Recorded { sequence, .. }) = entry.and_then(|index| recorded.get(index)) {
                outcome.sequence = Some(*sequence);
            }
        }
        all
    }
}
