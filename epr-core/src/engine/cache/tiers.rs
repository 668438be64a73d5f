//! The state that the cache shares with its background task: both tiers, and how a change invalidates them.
//!
//! INVARIANT: an invalidation becomes pending for the shared tier before the version of the in-process tier is
//! incremented: a check that sees the new version sees the pending invalidation too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::memory::MemoryTier;
use super::metrics::CacheMetrics;
use super::shared::SharedTier;
use super::versions::Versions;
use crate::decision::Question;
use crate::domain::Revision;
use crate::store::{FeedEvent, Invalidation};

/// The largest number of renewals of this process whose arrival in the feed is awaited.
const MAX_OWN: usize = 10_000;

/// The state of a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierState {
    /// It is in use.
    Ok,
    /// It is bypassed: every check is evaluated.
    Bypassed,
    /// It is not configured.
    Off,
}

impl TierState {
    /// The stable word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Bypassed => "bypassed",
            Self::Off => "off",
        }
    }
}

/// The tiers of one cache.
pub(crate) struct Tiers {
    pub(super) versions: Versions,
    pub(super) memory: Option<MemoryTier>,
    pub(super) shared: Option<Arc<SharedTier>>,
    pub(super) metrics: CacheMetrics,
    /// Renewals of this process that the feed has not delivered yet, and whether this process has applied them itself.
    own: Mutex<HashMap<i64, bool>>,
}

impl Tiers {
    pub(super) fn new(memory: Option<MemoryTier>, shared: Option<Arc<SharedTier>>, metrics: CacheMetrics) -> Self {
        Self { versions: Versions::new(), memory, shared, metrics, own: Mutex::default() }
    }

    fn own(&self) -> MutexGuard<'_, HashMap<i64, bool>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Invalidates the decisions that were made before `renewal`.
    pub(crate) fn invalidate(&self, renewal: Invalidation) {
        if let Some(shared) = &self.shared {
            shared.pending.add(renewal);
        }
        self.versions.invalidate(renewal.principal);
    }

    /// Announces renewals that this process is about to commit.
    pub(super) fn expect(&self, renewals: &[Invalidation]) {
        let mut own = self.own();
        if own.len() + renewals.len() <= MAX_OWN {
            own.extend(renewals.iter().map(|renewal| (renewal.id, false)));
        }
    }

    /// Marks renewals of this process as applied: the feed need not apply them again. Those that may have been
    /// committed or not are left to the feed.
    pub(super) fn mark_applied(&self, renewals: &[Invalidation], committed: bool) {
        let mut own = self.own();
        for renewal in renewals {
            if committed && let Some(applied) = own.get_mut(&renewal.id) {
                *applied = true;
            } else {
                own.remove(&renewal.id);
            }
        }
    }

    /// Applies an event of the change feed.
    pub(crate) fn apply(&self, event: FeedEvent) {
        match event {
            FeedEvent::SingleProcess => self.versions.feed_not_needed(),
            FeedEvent::Connected { at, database, pending } => {
                self.own().clear();
                if let Some(shared) = &self.shared {
                    shared.belongs_to(&database);
                }
                for renewal in pending {
                    self.invalidate(renewal);
                }
                // INVARIANT: this process does not trust an epoch whose renewal it did not receive. Renewals that
                // others have completed and written off were completed at the servers that they use, and seen through
                // their replicas.
                if self.shared.is_some() {
                    self.invalidate(Invalidation { id: 0, principal: None });
                }
                self.versions.feed_began(at);
            }
            FeedEvent::Changed(renewal) => {
                // A change of this process whose commit has not been answered yet is committed all the same: the answer
                // may never arrive.
                if self.own().remove(&renewal.id) != Some(true) {
                    self.invalidate(renewal);
                }
            }
            FeedEvent::Reached(revision) => self.versions.reached(revision),
            FeedEvent::Heartbeat(at) => self.versions.heartbeat(at),
            FeedEvent::Disconnected => self.versions.feed_ended(),
        }
        if let Some(shared) = self.shared.as_ref().filter(|shared| shared.pending.count() > 0) {
            shared.wanted.notify_one();
        }
    }

    /// Forgets everything, in every tier: what was decided may be wrong.
    pub(crate) fn forget_all(&self) {
        self.invalidate(Invalidation { id: 0, principal: None });
        if let Some(shared) = &self.shared {
            shared.wanted.notify_one();
        }
    }

    /// Whether this process is known to have received every change.
    pub(crate) fn is_complete(&self) -> bool {
        self.versions.is_complete()
    }

    /// Whether every change up to `revision` has been received. To be read before the events of a question.
    pub(crate) fn has_received(&self, revision: Revision) -> bool {
        self.versions.has_received(revision)
    }

    /// The number of the newest event. What is read from the database after this includes its change.
    pub(crate) fn newest_event(&self) -> u64 {
        self.versions.newest_event()
    }

    /// The number of the newest event that concerns `question`; `None` while changes may be missed.
    pub(crate) fn newest_event_about(&self, question: &Question) -> Option<u64> {
        self.versions.newest_event_about(question)
    }

    /// The state of the in-process tier, and the kind and state of the shared one.
    pub(super) fn state(&self) -> (TierState, Option<(&'static str, TierState)>) {
        let up = |up| if up { TierState::Ok } else { TierState::Bypassed };
        let complete = self.versions.is_complete();
        let memory = if self.memory.is_some() { up(complete) } else { TierState::Off };
        (memory, self.shared.as_ref().map(|shared| (shared.name(), up(complete && shared.is_up()))))
    }
}
