//! Which snapshot of the registry is in use, and for which questions.
//!
//! INVARIANT: a snapshot answers about nothing that has been reported to change since it was read. Must never read the
//! database.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::metrics::GraphMetrics;
use super::snapshot::Snapshot;
use crate::decision::{Facts, Question};
use crate::domain::Revision;
use crate::engine::cache::Tiers;
use crate::engine::fact_reader::FactsAtRevision;
use crate::settings::GraphSettings;
use crate::store::{FeedEvent, Invalidation, ReadAt};

/// The state of the registry in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphState {
    /// Checks are answered from it.
    Ok,
    /// It is being read, or the change feed is not known to be complete: checks read the database.
    Bypassed,
    /// It needs more memory than `EPR_GRAPH_MB`: checks read the database.
    TooLarge,
    /// It is not configured.
    Off,
}

impl GraphState {
    /// The stable word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Bypassed => "bypassed",
            Self::TooLarge => "too_large",
            Self::Off => "off",
        }
    }
}

/// The registry in memory.
pub(crate) struct Graph {
    pub(super) current: ArcSwapOption<Current>,
    /// What this process has heard of changes.
    pub(super) tiers: Arc<Tiers>,
    /// Counts the moments after which the database may be another one, or may have changes that nobody has noted.
    pub(super) doubts: AtomicU64,
    /// There may be changes to read.
    pub(super) wake: Notify,
    state: Mutex<GraphState>,
    /// The most memory, in bytes; `None` when the registry is not kept in memory.
    pub(super) max_bytes: Option<usize>,
    pub(super) metrics: GraphMetrics,
}

/// A snapshot, and what it includes.
pub(crate) struct Current {
    pub(super) snapshot: Snapshot,
    /// The value of [`Graph::doubts`] before it was read.
    pub(super) doubts: u64,
    /// Every change that was reported up to this event is in the snapshot.
    pub(super) clean_to: u64,
}

/// The facts of several questions at one state of the registry.
pub(crate) struct FactsOfAll {
    pub(crate) facts: Vec<Facts>,
    pub(crate) read_at: ReadAt,
}

/// The beginning of a read: what a snapshot that is read afterwards includes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(super) doubts: u64,
    pub(super) clean_to: u64,
}

#[cfg(test)]
impl Current {
    /// The same snapshot that claims to include every change: what a missing guard would do.
    pub(crate) fn claim_all(self) -> Self {
        Self { clean_to: u64::MAX, ..self }
    }

    /// The same snapshot that claims to have been read after `reading` began.
    pub(crate) fn claim(self, reading: Reading) -> Self {
        Self { clean_to: reading.clean_to, ..self }
    }
}

#[cfg(test)]
impl Graph {
    /// Forgets the snapshot.
    pub(crate) fn forget(&self) {
        self.clear(GraphState::Bypassed);
    }
}

impl Graph {
    /// The registry in memory as `settings` describe it. It answers nothing before
    /// [`GraphKeeper::start`](super::GraphKeeper::start).
    pub(crate) fn new(tiers: Arc<Tiers>, settings: GraphSettings) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            tiers,
            doubts: AtomicU64::new(0),
            wake: Notify::new(),
            state: Mutex::new(GraphState::Off),
            max_bytes: settings.max_bytes(),
            metrics: GraphMetrics::default(),
        }
    }

    /// Whether the registry is to be kept in memory.
    pub(crate) fn is_on(&self) -> bool {
        self.max_bytes.is_some()
    }

    /// Whether there is a snapshot, for some questions at least.
    pub(crate) fn is_loaded(&self) -> bool {
        self.current.load().is_some()
    }

    /// Prepares for an event of the change feed. INVARIANT: called before [`Tiers`] takes notice of it, so that no
    /// snapshot that was read under the former doubts can include the event.
    pub(crate) fn before(&self, event: &FeedEvent) {
        let is_doubtful = match event {
            FeedEvent::Connected { .. } | FeedEvent::Disconnected => true,
            // The feed does not know what has changed: a file was replaced, or a newer schema says it in another form.
            FeedEvent::Changed(Invalidation { id, .. }) => *id == 0,
            FeedEvent::SingleProcess | FeedEvent::Reached(_) | FeedEvent::Heartbeat(_) => false,
        };
        if is_doubtful {
            self.doubts.fetch_add(1, SeqCst);
        }
    }

    /// The registry may have changed.
    pub(crate) fn changed(&self) {
        self.wake.notify_one();
    }

    /// The facts of each of `questions` at one state, unless the database has to be asked about one of them.
    pub(crate) fn facts_of_all(&self, questions: &[&Question], at_least: Option<Revision>) -> Option<FactsOfAll> {
        let current = self.current.load();
        let current = current.as_ref()?;
        let read_at = self.usable(current, at_least)?;
        let facts = questions.iter().map(|question| self.facts_in(current, question));
        let facts = facts.collect::<Option<Vec<_>>>()?;
        self.metrics.answered.inc_by(u64::try_from(facts.len()).unwrap_or(u64::MAX));
        Some(FactsOfAll { facts, read_at })
    }

    /// The facts of `question`, unless the database has to be asked: the registry is not in memory, a change that
    /// concerns the question has been reported and not yet been read, the resource is unknown here, or `at_least` is a
    /// state that this process may not have heard of.
    pub(crate) fn facts(&self, question: &Question, at_least: Option<Revision>) -> Option<FactsAtRevision> {
        let current = self.current.load();
        let current = current.as_ref()?;
        let read_at = self.usable(current, at_least)?;
        let facts = self.facts_in(current, question)?;
        self.metrics.answered.inc();
        Some(FactsAtRevision { facts, read_at })
    }

    /// The state of `current`, unless `at_least` is one that this process may not have heard of.
    ///
    /// INVARIANT: called before [`Self::facts_in`], which reads the events of a question, as in the cache.
    fn usable(&self, current: &Current, at_least: Option<Revision>) -> Option<ReadAt> {
        let read_at = current.snapshot.position.as_ref()?.read_at;
        let is_new_enough =
            at_least.is_none_or(|revision| read_at.revision >= revision || self.tiers.has_received(revision));
        is_new_enough.then_some(read_at)
    }

    /// The facts of `question` in `current`, unless a change that concerns it has been reported and not yet been read.
    fn facts_in(&self, current: &Current, question: &Question) -> Option<Facts> {
        if self.tiers.newest_event_about(question)? > current.clean_to {
            return None;
        }
        current.snapshot.facts(question).ok()
    }

    /// Begins a read.
    ///
    /// INVARIANT: before the first row is read. Every change that has been reported by now was committed before.
    pub(crate) fn begin_reading(&self) -> Reading {
        // Doubts come before the event that they belong to, so that they are read after it.
        let clean_to = self.tiers.newest_event();
        Reading { doubts: self.doubts.load(SeqCst), clean_to }
    }

    /// Whether checks are answered from memory.
    pub(crate) fn state(&self) -> GraphState {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state == GraphState::Ok && !self.tiers.is_complete() { GraphState::Bypassed } else { state }
    }

    /// Whether every change that this process has heard of is in memory, for every question.
    pub(crate) fn is_settled(&self) -> bool {
        let current = self.current.load();
        current.as_ref().is_some_and(|current| self.tiers.newest_event() <= current.clean_to)
            && self.state() == GraphState::Ok
    }

    /// The metrics, with the gauges as they are now.
    pub(crate) fn metrics(&self) -> &GraphMetrics {
        let bytes = self.current.load().as_ref().map_or(0, |current| current.snapshot.bytes());
        self.metrics.set(bytes, self.state() == GraphState::Ok);
        &self.metrics
    }

    /// Replaces the snapshot.
    pub(crate) fn set(&self, current: Current) {
        self.current.store(Some(Arc::new(current)));
        self.set_state(GraphState::Ok);
    }

    pub(super) fn clear(&self, state: GraphState) {
        self.current.store(None);
        self.set_state(state);
    }

    fn set_state(&self, state: GraphState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}
