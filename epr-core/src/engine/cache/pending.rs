//! Whose answers in the shared tier may be older than a change that this process has heard of.
//!
//! INVARIANT: from the moment a change is heard until this process has itself renewed the epoch at the server that it reads
//! from, nothing is taken from there for that principal. What other processes have renewed does not count: they may talk
//! to another replica.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::store::Invalidation;

/// More principals than this are as good as everybody.
const MOST: usize = 1000;
/// More ids than this are left to be removed by their age.
const MOST_IDS: usize = 10_000;

/// Whose decisions; everybody's when `None`.
pub(super) type Scope = Option<Uuid>;

/// What was in doubt at a moment.
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
    latest: u64,
    scopes: HashMap<Scope, (u64, Vec<i64>)>,
    /// Ids whose renewal has been carried out.
    done: Vec<i64>,
}

#[derive(Default)]
pub(super) struct Doubt {
    state: Mutex<State>,
    /// How many scopes are in doubt: mostly none, which is seen without a lock.
    count: AtomicUsize,
}

impl Doubt {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, renewal: Invalidation) {
        let mut state = self.lock();
        state.latest += 1;
        let latest = state.latest;
        let mut scope = renewal.principal;
        if state.scopes.len() >= MOST && !state.scopes.contains_key(&scope) {
            // The ids of the others stay behind and are removed by their age.
            state.scopes.clear();
            scope = None;
        }
        let entry = state.scopes.entry(scope).or_default();
        entry.0 = latest;
        if renewal.id > 0 && entry.1.len() < MOST_IDS {
            entry.1.push(renewal.id);
        }
        self.count.store(state.scopes.len(), SeqCst);
    }

    /// Whether answers about this principal are in doubt.
    pub(super) fn covers(&self, principal: Uuid) -> bool {
        if self.count.load(SeqCst) == 0 {
            return false;
        }
        let state = self.lock();
        state.scopes.contains_key(&None) || state.scopes.contains_key(&Some(principal))
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(SeqCst)
    }

    /// What is in doubt now.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot(self.lock().scopes.iter().map(|(scope, (latest, _))| (*scope, *latest)).collect())
    }

    /// The epochs of `snapshot` were renewed after it was taken: what has not changed again since is in doubt no more.
    pub(super) fn renewed(&self, snapshot: &Snapshot) {
        let mut state = self.lock();
        for (scope, latest) in &snapshot.0 {
            if state.scopes.get(scope).is_some_and(|(now, _)| now == latest)
                && let Some((_, ids)) = state.scopes.remove(scope)
                && state.done.len() < MOST_IDS
            {
                state.done.extend(ids);
            }
        }
        self.count.store(state.scopes.len(), SeqCst);
    }

    /// Ids that have been seen to, each given once.
    pub(super) fn take_done(&self) -> Vec<i64> {
        std::mem::take(&mut self.lock().done)
    }

    /// They could not be written down: later.
    pub(super) fn put_back(&self, ids: Vec<i64>) {
        self.lock().done.extend(ids);
    }
}
