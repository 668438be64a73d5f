//! The guards of the cache, and what takes them out and stops a change at its commit.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::steps::Change;
use crate::engine::cache::Cache;
use crate::engine::commit_probe::CommitProbe;
use crate::store::Invalidation;

/// The guards of the cache, to be taken out one by one.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each guard is taken out by itself")]
pub(super) struct Guards {
    /// The version is the one from before the facts were read.
    pub(super) version_before_facts: bool,
    /// Invalidation follows the commit.
    pub(super) renewal_after_commit: bool,
    /// An entry ends where an assignment starts or ends.
    pub(super) clipped: bool,
    /// A change of an entity's attributes is a renewal of its id.
    pub(super) attributes_renewed: bool,
    /// A change of a principal is a renewal of its id.
    pub(super) principal_renewed: bool,
    /// A decision that conditions decide is kept as its residual.
    pub(super) residual_kept: bool,
    /// A lookup compares the basis of an answer with the revision that the caller names.
    pub(super) basis_compared: bool,
    /// The feed reports a revision after the changes up to it.
    pub(super) revision_after_changes: bool,
    /// The registry in memory is read after the events that it claims to include.
    pub(super) events_before_rows: bool,
    /// The registry in memory does not answer about what has changed since it was read.
    pub(super) events_compared: bool,
    /// The registry in memory is read anew when the feed was interrupted.
    pub(super) read_anew: bool,
    /// No guard: whether decisions are kept in memory.
    pub(super) with_cache: bool,
    /// No guard: whether the registry is kept in memory.
    pub(super) with_graph: bool,
}

pub(super) const ALL: Guards = Guards {
    version_before_facts: true,
    renewal_after_commit: true,
    clipped: true,
    attributes_renewed: true,
    principal_renewed: true,
    residual_kept: true,
    basis_compared: true,
    revision_after_changes: true,
    events_before_rows: true,
    events_compared: true,
    read_anew: true,
    with_cache: true,
    with_graph: false,
};

/// The registry in memory alone.
pub(super) const GRAPH: Guards = Guards { with_cache: false, with_graph: true, ..ALL };
/// The registry in memory behind the cache.
pub(super) const BOTH: Guards = Guards { with_graph: true, ..ALL };

impl Guards {
    /// Whether the change is a renewal.
    pub(super) fn renew(self, change: &Change) -> bool {
        match change {
            Change::Attributes { .. } => self.attributes_renewed,
            Change::Principal { .. } => self.principal_renewed,
            _ => true,
        }
    }
}

/// Stops a change at its commit when a gate is set, collects its renewals, and takes a guard out.
pub(super) struct Probe {
    pub(super) guards: Guards,
    /// Notifies the first when a change has reached its commit, and continues when the second is notified.
    pub(super) gate: Mutex<Option<(Arc<Notify>, Arc<Notify>)>>,
    pub(super) renewals: Mutex<Vec<Invalidation>>,
    /// Whether the change under way has lost its renewals with a guard.
    pub(super) unrenewed: AtomicBool,
    pub(super) cache: OnceLock<Arc<Cache>>,
}

impl Probe {
    pub(super) fn new(guards: Guards) -> Self {
        Self {
            guards,
            gate: Mutex::default(),
            renewals: Mutex::default(),
            unrenewed: AtomicBool::new(false),
            cache: OnceLock::new(),
        }
    }

    async fn pass_gate(&self) {
        let gate = self.gate.lock().unwrap().take();
        if let Some((reached, go_on)) = gate {
            reached.notify_one();
            go_on.notified().await;
        }
    }
}

#[async_trait]
impl CommitProbe for Probe {
    async fn before_commit(&self, renewals: Vec<Invalidation>) -> Vec<Invalidation> {
        if self.unrenewed.load(SeqCst) {
            return Vec::new();
        }
        self.renewals.lock().unwrap().extend(&renewals);
        if self.guards.renewal_after_commit {
            return renewals;
        }
        for renewal in renewals {
            self.cache.get().unwrap().tiers().invalidate(renewal);
        }
        self.pass_gate().await;
        Vec::new()
    }

    async fn after_commit(&self) {
        self.pass_gate().await;
    }
}
