//! Pending invalidations: the principals whose decisions in the shared tier may be older than a change that this
//! process knows.
//!
//! INVARIANT: from the moment this process receives a change until it has itself renewed the epoch at the server that
//! it reads from, it takes nothing from there for that principal. Renewals by other processes do not count: they may
//! use another replica.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::store::Invalidation;

/// Beyond this number of principals, all decisions are invalidated instead.
const MAX_SCOPES: usize = 1000;
/// Beyond this number, ids are not written off; the database removes them by their age.
const MAX_IDS: usize = 10_000;

/// The principal whose decisions are invalidated; all decisions when `None`.
pub(crate) type Scope = Option<Uuid>;

/// The invalidations that were pending at a moment.
pub(super) struct Snapshot(Vec<(Scope, u64)>);

impl Snapshot {
    pub(super) fn scopes(&self) -> impl Iterator<Item = Scope> + '_ {
        self.0.iter().map(|(scope, _)| *scope)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Default)]
struct State {
    /// The number of the latest invalidation.
    latest: u64,
    /// The number of the latest invalidation of each scope, and the ids of all of its renewals.
    scopes: HashMap<Scope, (u64, Vec<i64>)>,
    /// The ids of completed renewals, which the database still has to be informed of.
    completed: Vec<i64>,
}

#[derive(Default)]
pub(crate) struct PendingInvalidations {
    state: Mutex<State>,
    /// The number of scopes: mostly zero, which is read without the lock.
    count: AtomicUsize,
}

impl PendingInvalidations {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, renewal: Invalidation) {
        let mut state = self.lock();
        state.latest += 1;
        let latest = state.latest;
        let mut scope = renewal.principal;
        if state.scopes.len() >= MAX_SCOPES && !state.scopes.contains_key(&scope) {
            // The ids of the other scopes are lost here; the database removes them by their age.
            state.scopes.clear();
            scope = None;
        }
        let entry = state.scopes.entry(scope).or_default();
        entry.0 = latest;
        if renewal.id > 0 && entry.1.len() < MAX_IDS {
            entry.1.push(renewal.id);
        }
        self.count.store(state.scopes.len(), SeqCst);
    }

    /// Whether an invalidation of decisions on this principal is pending.
    pub(super) fn includes(&self, principal: Uuid) -> bool {
        if self.count.load(SeqCst) == 0 {
            return false;
        }
        let state = self.lock();
        state.scopes.contains_key(&None) || state.scopes.contains_key(&Some(principal))
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(SeqCst)
    }

    /// The invalidations that are pending now.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot(self.lock().scopes.iter().map(|(scope, (latest, _))| (*scope, *latest)).collect())
    }

    /// Completes the invalidations of `snapshot`, whose epochs were renewed after it was taken. A scope that was
    /// invalidated again since then stays pending.
    pub(super) fn complete(&self, snapshot: &Snapshot) {
        let mut state = self.lock();
        for (scope, latest) in &snapshot.0 {
            if state.scopes.get(scope).is_some_and(|(now, _)| now == latest)
                && let Some((_, ids)) = state.scopes.remove(scope)
                && state.completed.len() < MAX_IDS
            {
                state.completed.extend(ids);
            }
        }
        self.count.store(state.scopes.len(), SeqCst);
    }

    /// The ids of completed renewals, each returned once.
    pub(super) fn take_completed(&self) -> Vec<i64> {
        std::mem::take(&mut self.lock().completed)
    }

    /// Puts ids back that could not be written off, for a later attempt.
    pub(super) fn put_back(&self, ids: Vec<i64>) {
        self.lock().completed.extend(ids);
    }
}
