//! What this process knows about changes: a count of them, for everybody and for each principal, and until when it can be
//! sure to have heard them all.
//!
//! Owns the stamps that entries of the in-process tier carry. Must forget nothing: a lost count would bring old entries
//! back.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

/// How many counts there are for principals. Two that share one forget a little more than they must.
const COUNTS: usize = 4096;
/// For how long after a sign of life changes are taken to be heard.
const LEASE: Duration = Duration::from_secs(2);
/// Nobody else can change anything.
const FOR_EVER: u64 = u64::MAX;

/// The changes that were known at a moment. What was decided under one counts while it is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    everybody: u64,
    principal: u64,
}

/// The counts.
pub(crate) struct Line {
    everybody: AtomicU64,
    principals: Box<[AtomicU64]>,
    hasher: std::hash::RandomState,
    base: Instant,
    /// In microseconds after `base`.
    heard_until: AtomicU64,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            everybody: AtomicU64::new(0),
            principals: (0..COUNTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: std::hash::RandomState::new(),
            base: Instant::now(),
            heard_until: AtomicU64::new(0),
        }
    }

    fn count(&self, principal: Uuid) -> &AtomicU64 {
        let place = usize::try_from(self.hasher.hash_one(principal)).unwrap_or(usize::MAX) % COUNTS;
        self.principals.get(place).unwrap_or(&self.everybody)
    }

    /// Whether every change is known to be heard.
    pub(super) fn is_up(&self) -> bool {
        let heard_until = self.heard_until.load(SeqCst);
        heard_until == FOR_EVER || self.micros(Instant::now()) < heard_until
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_micros()).unwrap_or(0)
    }

    /// The stamp for decisions on `principal` from now on; `None` while changes may go unheard.
    ///
    /// INVARIANT: taken before the facts are read, so that a change they do not show comes after it.
    pub(crate) fn stamp(&self, principal: Uuid) -> Option<Stamp> {
        self.is_up().then(|| self.current(principal))
    }

    fn current(&self, principal: Uuid) -> Stamp {
        Stamp { everybody: self.everybody.load(SeqCst), principal: self.count(principal).load(SeqCst) }
    }

    /// Whether nothing has changed since `stamp` was taken, and that is known.
    pub(super) fn holds(&self, principal: Uuid, stamp: Stamp) -> bool {
        self.is_up() && self.current(principal) == stamp
    }

    /// Decisions on this principal no longer count; on nobody when `None`.
    pub(super) fn changed(&self, principal: Option<Uuid>) {
        principal.map_or(&self.everybody, |principal| self.count(principal)).fetch_add(1, SeqCst);
    }

    /// Changes are heard again. What was decided before is forgotten first.
    pub(super) fn began(&self, at: Instant) {
        self.changed(None);
        self.alive(at);
    }

    /// Everything up to `at` has been heard.
    pub(super) fn alive(&self, at: Instant) {
        self.heard_until.store(self.micros(at + LEASE), SeqCst);
    }

    /// There is nothing to be heard.
    pub(super) fn alone(&self) {
        self.heard_until.store(FOR_EVER, SeqCst);
    }

    /// Changes may go unheard from now on.
    pub(super) fn ended(&self) {
        self.heard_until.store(0, SeqCst);
        self.changed(None);
    }
}
