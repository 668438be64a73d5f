//! The decision cache: a tier in this process, and one shared with others behind it.
//!
//! Owns when a decision that was made before may be answered again. INVARIANT: never one that the database would no longer
//! give, but for the time that the news of a change takes from one process to another. `docs/CACHE.md` says what holds in
//! each failure. Must never turn an error into a decision, nor make a caller wait for a cache that is away.

mod entry;
mod feed_follower;
mod memory;
mod metrics;
#[cfg(test)]
mod model;
#[cfg(test)]
mod model_server;
#[cfg(test)]
mod model_steps;
mod pending;
mod probe;
mod redis;
mod remote;
mod shared;
mod upstash;
mod versions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;
use tracing::error;

use self::entry::Epochs;
use self::memory::Memory;
use self::metrics::{CacheMetrics, Now};
use self::redis::Redis;
use self::remote::{Away, Remote};
use self::shared::{Found, Shared};
use self::upstash::Upstash;
use self::versions::{Line, Stamp};
use crate::decision::{Decision, Question, Span};
use crate::domain::Timestamp;
use crate::settings::{CacheSettings, SharedCache};
use crate::store::{FeedEvent, Invalidation, Store};

pub(crate) use self::memory::Basis;
pub(crate) use self::metrics::Source;
pub(crate) use self::probe::look;
pub(crate) use self::redis::is_url as is_redis_url;
pub(crate) use self::upstash::is_url as is_rest_url;

/// Most ids of own changes that are remembered until they are heard of.
const MOST_OWN: usize = 10_000;

/// The cache of one process.
pub(crate) struct Cache {
    core: Arc<Core>,
    keeper: Mutex<Option<AbortHandle>>,
}

/// What the keeper shares with the cache.
struct Core {
    ttl_micros: i64,
    line: Line,
    memory: Option<Memory>,
    shared: Option<Arc<Shared>>,
    /// Changes of this process that it has not heard of yet, and whether it has seen to them itself.
    own: Mutex<HashMap<i64, bool>>,
    metrics: CacheMetrics,
    #[cfg(test)]
    hooks: model::Hooks,
}

/// What a look into the cache gave.
pub(crate) enum Lookup {
    /// The decision; with its basis unless it came from the shared tier.
    Hit(Decision, Source, Option<Basis>),
    /// None. One that is made from facts read after this may be kept with the ticket.
    Miss(Ticket),
}

/// What was known before the facts were read. Empty when nothing may be kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticket {
    stamp: Option<Stamp>,
    epochs: Option<Epochs>,
}

/// How a tier stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierState {
    /// It is in use.
    Ok,
    /// It is passed over: every check is evaluated.
    Bypassed,
    /// There is none.
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

impl Cache {
    /// A cache as `settings` say. It holds and gives nothing before [`Cache::keep_up`].
    pub(crate) fn new(settings: &CacheSettings) -> Self {
        let metrics = CacheMetrics::default();
        let shared = settings.shared.as_ref().filter(|_| settings.enabled).and_then(|at| match remote(at) {
            Ok(remote) => Some(Arc::new(Shared::new(remote, &at.prefix, at.timeout, metrics.clone()))),
            Err(fault) => {
                // Settings that were read have been checked; a program that embeds the service may bring anything.
                error!(error = %fault, "decision_cache_unusable");
                None
            }
        });
        Self::of(settings, shared, metrics)
    }

    fn of(settings: &CacheSettings, shared: Option<Arc<Shared>>, metrics: CacheMetrics) -> Self {
        let core = Core {
            ttl_micros: i64::try_from(settings.ttl.as_micros()).unwrap_or(i64::MAX),
            line: Line::new(),
            memory: settings.enabled.then(|| Memory::new(settings.memory_mib << 20)),
            shared,
            own: Mutex::default(),
            metrics,
            #[cfg(test)]
            hooks: model::Hooks::default(),
        };
        Self { core: Arc::new(core), keeper: Mutex::default() }
    }

    /// Starts to listen to changes in `store`, without which nothing is cached.
    pub(crate) fn keep_up(&self, store: &Arc<dyn Store>) {
        if self.core.memory.is_some() {
            let keeper = tokio::spawn(feed_follower::keep(Arc::clone(&self.core), Arc::clone(store))).abort_handle();
            self.replace_keeper(Some(keeper));
        }
    }

    /// Stops listening; nothing is cached any more.
    pub(crate) fn stop(&self) {
        self.replace_keeper(None);
        self.core.line.ended();
    }

    fn replace_keeper(&self, keeper: Option<AbortHandle>) {
        if let Some(before) =
            std::mem::replace(&mut *self.keeper.lock().unwrap_or_else(PoisonError::into_inner), keeper)
        {
            before.abort();
        }
    }

    /// A ticket for a decision that is to be evaluated whatever is cached.
    pub(crate) fn ticket(&self, question: &Question) -> Ticket {
        let stamp = self.core.memory.as_ref().and_then(|_| self.core.line.stamp(question.principal_id));
        Ticket { stamp, epochs: None }
    }

    /// Looks for a decision on `question`.
    pub(crate) async fn lookup(&self, question: &Question, now: impl Fn() -> Timestamp) -> Lookup {
        let core = &self.core;
        let Some(memory) = &core.memory else { return Lookup::Miss(Ticket::default()) };
        // INVARIANT: before anything else is read, here or on the server.
        let Some(stamp) = core.line.stamp(question.principal_id) else { return Lookup::Miss(Ticket::default()) };
        if let Some((decision, basis)) = memory.get(question, stamp, now()) {
            return Lookup::Hit(decision, Source::memory, basis);
        }
        let ticket = Ticket { stamp: Some(stamp), epochs: None };
        let Some(shared) = &core.shared else { return Lookup::Miss(ticket) };
        match shared.find(question, now).await {
            Found::Unusable => Lookup::Miss(ticket),
            Found::Nothing(epochs) => Lookup::Miss(Ticket { epochs: Some(epochs), ..ticket }),
            // A change that was heard while the server was being asked may be later than its answer.
            Found::Decision(decision, span) if core.line.holds(question.principal_id, stamp) => {
                memory.put(question, (decision, None), span, stamp);
                Lookup::Hit(decision, Source::shared, None)
            }
            Found::Decision(..) => Lookup::Miss(Ticket::default()),
        }
    }

    /// Keeps a decision that was made at `now` and holds within `span`. The facts were read after `ticket` was given.
    pub(crate) fn keep(
        &self,
        question: &Question,
        ticket: &Ticket,
        (decision, basis): (&Decision, Basis),
        span: Span,
        now: Timestamp,
    ) {
        let (Some(memory), Some(stamp)) = (&self.core.memory, ticket.stamp) else { return };
        let latest = Timestamp::from_unix_micros(now.unix_micros().saturating_add(self.core.ttl_micros)).ok();
        let until = [span.until, latest].into_iter().flatten().min();
        let span = Span { until, ..span };
        #[cfg(test)]
        let (stamp, span) = self.without_guards(question, stamp, Span { until: latest, from: None }, span);
        memory.put(question, (*decision, Some(basis)), span, stamp);
        if let (Some(shared), Some(epochs)) = (&self.core.shared, &ticket.epochs) {
            shared.keep(question, epochs, decision, span, now);
        }
    }

    /// A decision was answered.
    pub(crate) fn decided(&self, source: Source, allowed: bool) {
        self.core.metrics.decided(source, allowed);
    }

    /// This process is about to commit a transaction with these renewals, and will say when it has.
    pub(crate) fn expect(&self, renewals: &[Invalidation]) {
        let mut own = self.core.own();
        if own.len() + renewals.len() <= MOST_OWN {
            own.extend(renewals.iter().map(|renewal| (renewal.id, false)));
        }
    }

    /// The transaction has ended, `committed` if that is known. When this returns, nothing older than the change is
    /// answered by this process.
    ///
    /// INVARIANT: after the commit. What is decided between a renewal and its commit would be old and look new.
    pub(crate) async fn changed(&self, renewals: &[Invalidation], committed: bool) {
        #[cfg(test)]
        if self.without_renewal_after_commit() {
            return;
        }
        for renewal in renewals {
            self.core.forget(*renewal);
        }
        self.core.seen_to(renewals, committed);
        if let Some(shared) = &self.core.shared
            && !shared.renew().await
        {
            shared.wanted.notify_one();
        }
    }

    /// How the in-process tier and the shared one stand, and what the shared one is.
    pub(crate) fn state(&self) -> (TierState, Option<(&'static str, TierState)>) {
        let up = |up| if up { TierState::Ok } else { TierState::Bypassed };
        let line_up = self.core.line.is_up();
        let memory = if self.core.memory.is_some() { up(line_up) } else { TierState::Off };
        (memory, self.core.shared.as_ref().map(|shared| (shared.name(), up(line_up && shared.is_up()))))
    }

    /// The figures as they are now.
    pub(crate) fn metrics(&self) -> &CacheMetrics {
        let (core, shared) = (&self.core, self.core.shared.as_ref());
        core.metrics.set(&Now {
            entries: core.memory.as_ref().map_or(0, Memory::entries),
            line_up: core.line.is_up(),
            shared_up: shared.is_some_and(|shared| shared.is_up()),
            doubtful: shared.map_or(0, |shared| shared.doubt.count()),
        });
        &core.metrics
    }
}

fn remote(at: &SharedCache) -> Result<Box<dyn Remote>, Away> {
    let token = at.token.as_deref().unwrap_or_default();
    Ok(if is_rest_url(&at.url) {
        Box::new(Upstash::new(&at.url, token, &at.prefix)?)
    } else {
        Box::new(Redis::new(&at.url)?)
    })
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.replace_keeper(None);
    }
}

impl Core {
    fn own(&self) -> std::sync::MutexGuard<'_, HashMap<i64, bool>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing that was decided before counts any more. The doubt comes first: whoever sees the new stamp sees it too.
    fn forget(&self, renewal: Invalidation) {
        if let Some(shared) = &self.shared {
            shared.doubt.add(renewal);
        }
        self.line.changed(renewal.principal);
    }

    /// This process has forgotten what its own transaction made old.
    fn seen_to(&self, renewals: &[Invalidation], committed: bool) {
        let mut own = self.own();
        for renewal in renewals {
            // If it is not known to be committed, it may be after all, later: then the line tells.
            if committed && let Some(seen_to) = own.get_mut(&renewal.id) {
                *seen_to = true;
            } else {
                own.remove(&renewal.id);
            }
        }
    }

    /// The line of changes says something.
    fn hear(&self, told: FeedEvent) {
        match told {
            FeedEvent::SingleProcess => self.line.alone(),
            FeedEvent::Connected { at, database, pending } => {
                self.own().clear();
                if let Some(shared) = &self.shared {
                    shared.belongs_to(&database);
                }
                for renewal in pending {
                    self.forget(renewal);
                }
                // INVARIANT: what this process did not hear being renewed it does not trust. A renewal that others have done,
                // and written off, was done at the servers that *they* use, and seen through the replicas that they read.
                if self.shared.is_some() {
                    self.forget(Invalidation { id: 0, principal: None });
                }
                self.line.began(at);
            }
            FeedEvent::Changed(renewal) => {
                // One's own whose commit was not answered yet is committed all the same: the answer may never come.
                if self.own().remove(&renewal.id) != Some(true) {
                    self.forget(renewal);
                }
            }
            FeedEvent::Heartbeat(at) => self.line.alive(at),
            FeedEvent::Disconnected => self.line.ended(),
        }
        if let Some(shared) = self.shared.as_ref().filter(|shared| shared.doubt.count() > 0) {
            shared.wanted.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_change_of_ones_own_counts_when_it_is_heard_of_before_its_commit_is_answered() {
        let cache = Cache::new(&CacheSettings::default());
        cache.core.hear(FeedEvent::SingleProcess);
        let line = &cache.core.line;
        let principal = Uuid::from_u128(7);
        let change = |id| Invalidation { id, principal: Some(principal) };

        // Its answer never comes.
        let before = line.stamp(principal).unwrap();
        cache.expect(&[change(1)]);
        assert!(line.holds(principal, before));
        cache.core.hear(FeedEvent::Changed(change(1)));
        assert!(!line.holds(principal, before));

        // What was seen to need not be heard of.
        let before = line.stamp(principal).unwrap();
        cache.expect(&[change(2)]);
        cache.changed(&[change(2)], true).await;
        assert!(!line.holds(principal, before));
        let after = line.stamp(principal).unwrap();
        cache.core.hear(FeedEvent::Changed(change(2)));
        assert!(line.holds(principal, after));

        // Not known to be committed: it may be, later.
        cache.expect(&[change(3)]);
        cache.changed(&[change(3)], false).await;
        let after = line.stamp(principal).unwrap();
        cache.core.hear(FeedEvent::Changed(change(3)));
        assert!(!line.holds(principal, after));
    }
}
