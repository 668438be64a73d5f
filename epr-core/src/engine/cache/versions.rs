//! The invalidation versions of this process (one global, 4096 hashed by the id of a principal or a resource), and the
//! time up to which the change feed is known to be complete. A version is the number of the last event that concerns
//! it: events are numbered as they are reported.
//!
//! Owns the versions that entries of the in-process tier carry. Must never lose an increment: old entries would be
//! valid again.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::decision::Question;
use crate::domain::Revision;

/// Versions for principals and resources. Two that share one invalidate each other's entries.
const SLOTS: usize = 4096;
/// How long the feed is taken for complete after a heartbeat.
const HEARTBEAT_LEASE: Duration = Duration::from_secs(2);
/// The feed is complete for ever: no other process can change anything.
const FOR_EVER: u64 = u64::MAX;

/// The versions of the principal and the resource of one question at a moment. A residual that carries them is valid
/// while they are the same; a decision, which depends on no attributes of the resource, while all others are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    global: u64,
    principal: u64,
    resource: u64,
}

impl Version {
    /// Whether the global version and the principal's are those of `other`.
    pub(super) fn is_same_principal(self, other: Self) -> bool {
        self.global == other.global && self.principal == other.principal
    }
}

/// The current versions.
pub(crate) struct Versions {
    /// The number of the newest event.
    newest: AtomicU64,
    global: AtomicU64,
    by_id: Box<[AtomicU64]>,
    hasher: hashbrown::DefaultHashBuilder,
    base: Instant,
    /// In microseconds after `base`.
    complete_until: AtomicU64,
    /// The newest revision up to which every change has been received; `None` while that is not known.
    received: Mutex<Option<Revision>>,
}

impl Versions {
    pub(super) fn new() -> Self {
        Self {
            newest: AtomicU64::new(0),
            global: AtomicU64::new(0),
            by_id: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: hashbrown::DefaultHashBuilder::default(),
            base: Instant::now(),
            complete_until: AtomicU64::new(0),
            received: Mutex::default(),
        }
    }

    fn slot(&self, id: Uuid) -> &AtomicU64 {
        let index = usize::try_from(self.hasher.hash_one(id)).unwrap_or(usize::MAX) % SLOTS;
        self.by_id.get(index).unwrap_or(&self.global)
    }

    /// Whether this process is known to have received every change.
    pub(super) fn is_complete(&self) -> bool {
        let complete_until = self.complete_until.load(SeqCst);
        complete_until == FOR_EVER || self.micros(Instant::now()) < complete_until
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_micros()).unwrap_or(0)
    }

    /// The version for answers to `question` from now on; `None` while changes may be missed.
    ///
    /// INVARIANT: read before the facts are read, so that a change that they do not show increments it afterwards.
    pub(crate) fn of(&self, question: &Question) -> Option<Version> {
        self.is_complete().then(|| self.current(question))
    }

    fn current(&self, question: &Question) -> Version {
        Version {
            global: self.global.load(SeqCst),
            principal: self.slot(question.principal_id).load(SeqCst),
            resource: self.slot(question.resource_id).load(SeqCst),
        }
    }

    /// Whether nothing has changed since `version` was read, and no change can have been missed.
    pub(super) fn is_current(&self, question: &Question, version: Version) -> bool {
        self.is_complete() && self.current(question) == version
    }

    /// Invalidates the answers on the principal or the resource with this id; all answers when it is `None`.
    pub(super) fn invalidate(&self, id: Option<Uuid>) {
        // INVARIANT: numbered before it is noted: what is read after the number is read includes the change.
        let event = self.newest.fetch_add(1, SeqCst) + 1;
        id.map_or(&self.global, |id| self.slot(id)).fetch_max(event, SeqCst);
    }

    /// The number of the newest event. What is read from the database after this includes its change.
    pub(super) fn newest_event(&self) -> u64 {
        self.newest.load(SeqCst)
    }

    /// The number of the newest event that concerns `question`; `None` while changes may be missed.
    pub(super) fn newest_event_about(&self, question: &Question) -> Option<u64> {
        let Version { global, principal, resource } = self.of(question)?;
        Some(global.max(principal).max(resource))
    }

    /// Whether every change up to `revision` has been received.
    ///
    /// INVARIANT: read before the versions of a question. Changes increment the versions before the revision is
    /// recorded here, so that versions that are read afterwards are those after the changes.
    pub(super) fn has_received(&self, revision: Revision) -> bool {
        self.lock_received().is_some_and(|received| received >= revision)
    }

    /// Every change up to `revision` has been received.
    pub(super) fn reached(&self, revision: Revision) {
        *self.lock_received() = Some(revision);
    }

    fn lock_received(&self) -> MutexGuard<'_, Option<Revision>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed is complete from `at` on. Invalidates all earlier decisions first.
    pub(super) fn feed_began(&self, at: Instant) {
        self.invalidate(None);
        self.heartbeat(at);
    }

    /// Every change up to `at` has been received.
    pub(super) fn heartbeat(&self, at: Instant) {
        self.complete_until.store(self.micros(at + HEARTBEAT_LEASE), SeqCst);
    }

    /// There is no feed, because only this process can change the database.
    pub(super) fn feed_not_needed(&self) {
        self.complete_until.store(FOR_EVER, SeqCst);
    }

    /// Changes may be missed from now on.
    pub(super) fn feed_ended(&self) {
        self.complete_until.store(0, SeqCst);
        *self.lock_received() = None;
        self.invalidate(None);
    }
}
