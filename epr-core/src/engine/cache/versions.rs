//! The invalidation versions of this process (one global, 4096 hashed by principal), and the time up to which the
//! change feed is known to be complete.
//!
//! Owns the versions that entries of the in-process tier carry. Must never lose an increment: old entries would be
//! valid again.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

/// Versions for principals. Two principals that share one invalidate each other's entries.
const SLOTS: usize = 4096;
/// How long the feed is taken for complete after a heartbeat.
const HEARTBEAT_LEASE: Duration = Duration::from_secs(2);
/// The feed is complete for ever: no other process can change anything.
const FOR_EVER: u64 = u64::MAX;

/// The versions of one principal at a moment. A decision that carries them is valid while they are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    global: u64,
    principal: u64,
}

/// The current versions.
pub(crate) struct Versions {
    global: AtomicU64,
    principals: Box<[AtomicU64]>,
    hasher: std::hash::RandomState,
    base: Instant,
    /// In microseconds after `base`.
    complete_until: AtomicU64,
}

impl Versions {
    pub(super) fn new() -> Self {
        Self {
            global: AtomicU64::new(0),
            principals: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: std::hash::RandomState::new(),
            base: Instant::now(),
            complete_until: AtomicU64::new(0),
        }
    }

    fn slot(&self, principal: Uuid) -> &AtomicU64 {
        let index = usize::try_from(self.hasher.hash_one(principal)).unwrap_or(usize::MAX) % SLOTS;
        self.principals.get(index).unwrap_or(&self.global)
    }

    /// Whether this process is known to have received every change.
    pub(super) fn is_complete(&self) -> bool {
        let complete_until = self.complete_until.load(SeqCst);
        complete_until == FOR_EVER || self.micros(Instant::now()) < complete_until
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_micros()).unwrap_or(0)
    }

    /// The version for decisions on `principal` from now on; `None` while changes may be missed.
    ///
    /// INVARIANT: read before the facts are read, so that a change that they do not show increments it afterwards.
    pub(crate) fn of(&self, principal: Uuid) -> Option<Version> {
        self.is_complete().then(|| self.current(principal))
    }

    fn current(&self, principal: Uuid) -> Version {
        Version { global: self.global.load(SeqCst), principal: self.slot(principal).load(SeqCst) }
    }

    /// Whether nothing has changed since `version` was read, and no change can have been missed.
    pub(super) fn is_current(&self, principal: Uuid, version: Version) -> bool {
        self.is_complete() && self.current(principal) == version
    }

    /// Invalidates the decisions on `principal`; all decisions when it is `None`.
    pub(super) fn invalidate(&self, principal: Option<Uuid>) {
        principal.map_or(&self.global, |principal| self.slot(principal)).fetch_add(1, SeqCst);
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
        self.invalidate(None);
    }
}
