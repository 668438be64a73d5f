//! The cache of one process: lookup, store, and the invalidation by changes of this process.
//!
//! Owns when an earlier decision may be answered again. INVARIANT: never one that the database would no longer give,
//! except for the time in which a change travels from one process to another. Must never turn an error into a decision,
//! nor make a caller wait for a cache that is unavailable.

use std::sync::Arc;

use tracing::error;

use super::connect::connection;
use super::entry::{Entry, Epochs};
use super::feed_follower::{self, Heard, purge_only};
use super::memory::{Answer, Basis, MemoryTier};
use super::metrics::{CacheMetrics, CacheTier, Gauges};
use super::shared::{SharedLookup, SharedTier};
use super::tiers::{TierState, Tiers};
use super::versions::Version;
use crate::decision::{Question, Span};
use crate::domain::{Revision, Timestamp};
use crate::engine::background_task::BackgroundTask;
use crate::engine::change_signal::ChangeSignal;
use crate::engine::graph::Graph;
use crate::settings::CacheSettings;
use crate::store::{Invalidation, Store};

/// The cache of one process.
pub(crate) struct Cache {
    ttl_micros: i64,
    tiers: Arc<Tiers>,
    follower: BackgroundTask,
}

/// The result of a lookup.
pub(crate) enum Lookup {
    /// An answer that is valid now.
    Hit(Hit),
    /// There is none. An answer on facts that are read after this may be stored with the ticket.
    Miss(Ticket),
}

/// A cached answer.
pub(crate) struct Hit {
    pub(crate) answer: Answer,
    pub(crate) tier: CacheTier,
    pub(crate) basis: Basis,
    /// The time at which the answer was valid, and at which its conditions are evaluated.
    pub(crate) now: Timestamp,
}

/// The versions and epochs from before the facts were read. Empty when the decision may not be stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticket {
    version: Option<Version>,
    epochs: Option<Epochs>,
}

impl Cache {
    /// The cache that `settings` describe. It stores and returns nothing before [`Cache::follow_changes`].
    pub(crate) fn new(settings: &CacheSettings) -> Self {
        let metrics = CacheMetrics::default();
        let shared = settings.shared.as_ref().filter(|_| settings.enabled).and_then(|at| match connection(at) {
            Ok(remote) => Some(Arc::new(SharedTier::new(remote, &at.prefix, at.timeout, metrics.clone()))),
            Err(error) => {
                // Settings from the environment have been validated; those of an embedding program have not.
                error!(error = %error, "decision_cache_unusable");
                None
            }
        });
        Self::with_shared_tier(settings, shared, metrics)
    }

    /// A cache over `shared`.
    pub(crate) fn with_shared_tier(
        settings: &CacheSettings,
        shared: Option<Arc<SharedTier>>,
        metrics: CacheMetrics,
    ) -> Self {
        let memory = settings.enabled.then(|| MemoryTier::new(settings.memory_mib << 20));
        Self {
            ttl_micros: i64::try_from(settings.ttl.as_micros()).unwrap_or(i64::MAX),
            tiers: Arc::new(Tiers::new(memory, shared, metrics)),
            follower: BackgroundTask::default(),
        }
    }

    /// Starts to follow the change feed of `store`, without which nothing is cached. A process that keeps nothing only
    /// removes what the feed no longer needs, now and then.
    pub(crate) fn follow_changes(&self, store: &Arc<dyn Store>, changes: &Arc<ChangeSignal>, graph: &Arc<Graph>) {
        let store = Arc::clone(store);
        let follower = if self.tiers.memory.is_some() || graph.is_on() {
            let heard =
                Heard { tiers: Arc::clone(&self.tiers), changes: Arc::clone(changes), graph: Arc::clone(graph) };
            tokio::spawn(feed_follower::follow(heard, store))
        } else {
            tokio::spawn(purge_only(store))
        };
        self.follower.replace(&follower);
    }

    /// Stops following the change feed; nothing is cached any more.
    pub(crate) fn stop(&self) {
        self.follower.abort();
        self.tiers.versions.feed_ended();
    }

    /// The tiers, and what this process has heard of changes.
    pub(crate) fn tiers(&self) -> &Arc<Tiers> {
        &self.tiers
    }

    /// A ticket for a decision that is evaluated without a lookup.
    pub(crate) fn ticket(&self, question: &Question) -> Ticket {
        let version = self.tiers.memory.as_ref().and_then(|_| self.tiers.versions.of(question));
        Ticket { version, epochs: None }
    }

    /// Whether answers are kept in this process.
    pub(crate) fn is_on(&self) -> bool {
        self.tiers.memory.is_some()
    }

    /// Looks up the answer to `question` in this process only, for a batch, which must not wait for a server once for
    /// each of its questions.
    pub(crate) fn lookup_in_memory(&self, question: &Question, at_least: Option<Revision>, now: Timestamp) -> Lookup {
        let tiers = &self.tiers;
        let Some(memory) = &tiers.memory else { return Lookup::Miss(Ticket::default()) };
        // INVARIANT: these two are read in the order of `lookup`, and before anything else.
        let wanted = at_least.filter(|revision| !tiers.versions.has_received(*revision));
        let Some(version) = tiers.versions.of(question) else { return Lookup::Miss(Ticket::default()) };
        match memory.get(question, version, now) {
            Some((answer, basis)) if wanted.is_none_or(|wanted| basis.read_at.revision >= wanted) => {
                Lookup::Hit(Hit { answer, tier: CacheTier::memory, basis, now })
            }
            _ => Lookup::Miss(Ticket { version: Some(version), epochs: None }),
        }
    }

    /// Looks up the answer to `question`. With `at_least`, an answer that rests on that state or a later one: its facts
    /// were read there, or every change up to there has been received and has not invalidated it.
    pub(crate) async fn lookup(
        &self,
        question: &Question,
        at_least: Option<Revision>,
        now: impl Fn() -> Timestamp,
    ) -> Lookup {
        let tiers = &self.tiers;
        let Some(memory) = &tiers.memory else { return Lookup::Miss(Ticket::default()) };
        // INVARIANT: before the version is read.
        let wanted = at_least.filter(|revision| !tiers.versions.has_received(*revision));
        let is_new_enough = |basis: &Basis| wanted.is_none_or(|wanted| basis.read_at.revision >= wanted);
        // INVARIANT: before anything else is read, here or on the server.
        let Some(version) = tiers.versions.of(question) else { return Lookup::Miss(Ticket::default()) };
        let at = now();
        if let Some((answer, basis)) = memory.get(question, version, at)
            && is_new_enough(&basis)
        {
            return Lookup::Hit(Hit { answer, tier: CacheTier::memory, basis, now: at });
        }
        let ticket = Ticket { version: Some(version), epochs: None };
        let Some(shared) = &tiers.shared else { return Lookup::Miss(ticket) };
        match shared.find(question, is_new_enough, &now).await {
            SharedLookup::Unusable => Lookup::Miss(ticket),
            SharedLookup::Miss(epochs) => Lookup::Miss(Ticket { epochs: Some(epochs), ..ticket }),
            // A change that arrived while the server was asked may be later than its answer.
            SharedLookup::Hit(Entry { decision, basis, span }) if tiers.versions.is_current(question, version) => {
                let answer = Answer::Decision(decision);
                memory.put(question, (answer.clone(), basis.clone()), span, version);
                Lookup::Hit(Hit { answer, tier: CacheTier::shared, basis, now: now() })
            }
            SharedLookup::Hit(..) => Lookup::Miss(Ticket::default()),
        }
    }

    /// Stores an answer that was found at `now` and is valid within `span`. Its facts were read after `ticket` was
    /// issued.
    ///
    /// INVARIANT: a residual stays in this process. It holds attributes of persons, and its validity depends on the
    /// resource's version, for which the shared tier has no epoch.
    pub(crate) fn store(
        &self,
        question: &Question,
        ticket: &Ticket,
        (answer, basis): (Answer, Basis),
        span: Span,
        now: Timestamp,
    ) {
        let (Some(memory), Some(version)) = (&self.tiers.memory, ticket.version) else { return };
        let latest = Timestamp::from_unix_micros(now.unix_micros().saturating_add(self.ttl_micros)).ok();
        let span = Span { until: [span.until, latest].into_iter().flatten().min(), ..span };
        if let (Answer::Decision(decision), Some(shared), Some(epochs)) = (&answer, &self.tiers.shared, &ticket.epochs)
        {
            shared.store(question, epochs, &Entry { decision: *decision, basis: basis.clone(), span }, now);
        }
        memory.put(question, (answer, basis), span, version);
    }

    /// Counts a decision that was answered.
    pub(crate) fn count_decision(&self, tier: CacheTier, allowed: bool) {
        self.tiers.metrics.decided(tier, allowed);
    }

    /// Announces that this process is about to commit a transaction with these renewals.
    pub(crate) fn expect(&self, renewals: &[Invalidation]) {
        self.tiers.expect(renewals);
    }

    /// Applies the renewals of a transaction that has ended; `committed` if that is known. When this returns, this
    /// process answers nothing older than the change.
    ///
    /// INVARIANT: after the commit. A decision between a renewal and its commit would be old and carry the new version.
    pub(crate) async fn changed(&self, renewals: &[Invalidation], committed: bool) {
        for renewal in renewals {
            self.tiers.invalidate(*renewal);
        }
        self.tiers.mark_applied(renewals, committed);
        if let Some(shared) = &self.tiers.shared
            && !shared.renew().await
        {
            shared.wanted.notify_one();
        }
    }

    /// The state of the in-process tier, and the kind and state of the shared one.
    pub(crate) fn state(&self) -> (TierState, Option<(&'static str, TierState)>) {
        self.tiers.state()
    }

    /// The metrics, with the gauges as they are now.
    pub(crate) fn metrics(&self) -> &CacheMetrics {
        let (tiers, shared) = (&self.tiers, self.tiers.shared.as_ref());
        tiers.metrics.set(&Gauges {
            entries: tiers.memory.as_ref().map_or(0, MemoryTier::entries),
            feed_complete: tiers.versions.is_complete(),
            shared_up: shared.is_some_and(|shared| shared.is_up()),
            pending: shared.map_or(0, |shared| shared.pending.count()),
        });
        &tiers.metrics
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::store::FeedEvent;

    #[tokio::test]
    async fn a_change_of_ones_own_counts_when_it_is_heard_of_before_its_commit_is_answered() {
        let cache = Cache::new(&CacheSettings::default());
        cache.tiers.apply(FeedEvent::SingleProcess);
        let versions = &cache.tiers.versions;
        let principal = Uuid::from_u128(7);
        let question = Question::new(principal, "a:read".try_into().unwrap(), Uuid::from_u128(8));
        let change = |id| Invalidation { id, principal: Some(principal) };

        // Its answer never comes.
        let before = versions.of(&question).unwrap();
        cache.expect(&[change(1)]);
        assert!(versions.is_current(&question, before));
        cache.tiers.apply(FeedEvent::Changed(change(1)));
        assert!(!versions.is_current(&question, before));

        // A change that was applied need not be applied again.
        let before = versions.of(&question).unwrap();
        cache.expect(&[change(2)]);
        cache.changed(&[change(2)], true).await;
        assert!(!versions.is_current(&question, before));
        let after = versions.of(&question).unwrap();
        cache.tiers.apply(FeedEvent::Changed(change(2)));
        assert!(versions.is_current(&question, after));

        // Not known to be committed: it may be, later.
        cache.expect(&[change(3)]);
        cache.changed(&[change(3)], false).await;
        let after = versions.of(&question).unwrap();
        cache.tiers.apply(FeedEvent::Changed(change(3)));
        assert!(!versions.is_current(&question, after));
    }
}
