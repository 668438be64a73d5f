//! The world of the model: two processes on one database, what happens to them, and the answers that are compared.

use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::changes::apply;
use super::conditions::context as context_of;
use super::probe::{Guards, Probe};
use super::server::Server;
use super::steps::{Change, Step};
use crate::clock::{Clock as _, ManualClock};
use crate::decision::{Facts, Question, Span, decide};
use crate::domain::{EntityType, JsonObject, NewEntity, NewRole, Revision, Timestamp};
use crate::engine::cache::metrics::CacheMetrics;
use crate::engine::cache::shared::SharedTier;
use crate::engine::cache::{Answer, Basis, Cache, Ticket};
use crate::engine::fact_reader::FactsAtRevision;
use crate::engine::graph::{Current, Graph};
use crate::handlers::asked::Asked;
use crate::handlers::check::{Begun, begin_check, evaluate_cached, finish_check};
use crate::settings::{AuditDecisions, AuditEvents, CacheSettings, GraphSettings};
use crate::store::{FeedEvent, Invalidation, Options, sqlite};
use crate::{AtLeast, Call, Epr};

pub(super) struct Process {
    pub(super) epr: Epr,
    pub(super) shared: Option<Arc<SharedTier>>,
    pub(super) probe: Arc<Probe>,
    /// The number of invalidations that it has received.
    pub(super) received: usize,
    pub(super) deliveries: u32,
    /// Whether its change feed is cut or silent, and it knows that it may miss changes.
    pub(super) is_blind: bool,
    /// Whether its change feed is cut.
    pub(super) is_cut: bool,
    /// A snapshot of the registry that has been read and is not used yet.
    pub(super) read: Option<Current>,
}

pub(super) struct World {
    pub(super) guards: Guards,
    pub(super) clock: Arc<ManualClock>,
    pub(super) processes: [Process; 2],
    pub(super) server: Server,
    pub(super) entities: Vec<Uuid>,
    pub(super) roles: Vec<Uuid>,
    pub(super) assignments: Arc<Mutex<Vec<Uuid>>>,
    /// All renewals, in the order of their commits, and the process that caused them; [`PAST`] for other programs.
    pub(super) renewals: Vec<(usize, Invalidation)>,
    pub(super) begun: Vec<(usize, Question, u8, Ticket, FactsAtRevision)>,
    pub(super) under_way: Option<(usize, Arc<Notify>, JoinHandle<()>)>,
    pub(super) folder: tempfile::TempDir,
    /// The number of answers from the registry in memory that were compared with the database.
    pub(super) graph_hits: u32,
    /// The number of answers from a cache that were compared with the database.
    pub(super) hits: u32,
    /// Those of them that a residual gave.
    pub(super) residual_hits: u32,
    /// Those of them whose caller named the newest revision.
    pub(super) named_hits: u32,
}

/// The number of other programs among those that cause renewals.
pub(super) const PAST: usize = 2;

impl World {
    pub(super) async fn new(template: &Path, guards: Guards, with_server: bool) -> Self {
        let folder = folder();
        std::fs::copy(template, folder.path().join("epr.db")).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-01-01T00:00:00Z").unwrap()));
        let server = Server::default();
        let mut processes = Vec::new();
        for _ in 0..2 {
            let store = sqlite::open_file(&folder.path().join("epr.db"), &Options::default()).unwrap();
            let probe = Arc::new(Probe::new(guards));
            let mut epr = Epr::builder()
                .store(Arc::new(store))
                .clock(clock.clone())
                .default_permissions(Vec::new())
                .audit_decisions(AuditDecisions::Off)
                .audit_events(AuditEvents::Off)
                .cache(CacheSettings::off())
                .commit_probe(probe.clone())
                .build();
            epr.start(false).await.unwrap();
            let metrics = CacheMetrics::default();
            let shared = with_server
                .then(|| Arc::new(SharedTier::new(server.remote(), "epr", Duration::from_secs(1), metrics.clone())));
            let ttl = Duration::from_secs(7);
            let settings = CacheSettings { enabled: guards.with_cache, ttl, ..CacheSettings::default() };
            let cache = Arc::new(Cache::with_shared_tier(&settings, shared.clone(), metrics));
            let kept = if guards.with_graph { GraphSettings::UpTo(16) } else { GraphSettings::Off };
            epr.engines.graph = Arc::new(Graph::new(Arc::clone(cache.tiers()), kept));
            // The test plays the change feed.
            cache.tiers().apply(FeedEvent::SingleProcess);
            if let Some(shared) = &shared {
                shared.belongs_to("model");
                assert!(shared.reconnect_and_renew().await);
            }
            assert!(probe.cache.set(Arc::clone(&cache)).is_ok());
            epr.engines.cache = cache;
            processes.push(Process {
                epr,
                shared,
                probe,
                received: 0,
                deliveries: 0,
                is_blind: false,
                is_cut: false,
                read: None,
            });
        }
        let epr = &processes[0].epr;
        let call = Call::default();
        let mut entities = Vec::new();
        for (name, kind) in [("top", EntityType::Issuer), ("middle", EntityType::Spv), ("low", EntityType::Offering)] {
            let mut new = NewEntity::new(name.try_into().unwrap(), kind);
            new.parent_id = entities.last().copied();
            entities.push(epr.create_entity(&call, new).await.unwrap().id);
        }
        let mut roles = Vec::new();
        for name in ["one", "two"] {
            let new = NewRole::new(name.parse().unwrap()).permission("a:read".parse().unwrap());
            roles.push(epr.create_role(&call, new).await.unwrap().id);
        }
        let mut world = Self {
            guards,
            clock,
            processes: processes.try_into().ok().unwrap(),
            server,
            entities,
            roles,
            assignments: Arc::default(),
            renewals: Vec::new(),
            begun: Vec::new(),
            under_way: None,
            folder,
            graph_hits: 0,
            hits: 0,
            residual_hits: 0,
            named_hits: 0,
        };
        world.collect(0);
        world.deliver(1).await;
        world.reconnect_and_renew(1).await;
        world
    }

    fn question(&self, asked: u8) -> Question {
        let principal = Uuid::from_u128(u128::from(asked % 2) + 1);
        Question::new(principal, "a:read".try_into().unwrap(), self.entities[1 + usize::from(asked / 2)])
    }

    /// The facts as the database has them.
    async fn facts(&self, question: &Question) -> Facts {
        self.processes[0].epr.engines.facts.read(question).await.unwrap().unwrap().facts
    }

    async fn truth(&self, question: &Question, context: &JsonObject) -> bool {
        decide(question, &self.facts(question).await, context, self.clock.now()).unwrap().decision.allowed
    }

    /// Whether a process may not know of a change yet: one that is in progress, or was made elsewhere and not
    /// delivered.
    fn may_lag(&self, at: usize) -> bool {
        let received = self.processes[at].received;
        self.under_way.is_some() || self.renewals[received..].iter().any(|(by, _)| *by != at)
    }

    /// The newest revision, unless a change is under way: then a caller cannot know it yet.
    pub(super) async fn newest_revision(&self) -> Option<Revision> {
        if self.under_way.is_some() {
            return None;
        }
        Some(self.processes[0].epr.engines.store().registry_state().await.unwrap().revision)
    }

    async fn check(&mut self, at: usize, asked: u8, context: u8, at_least: bool) -> Result<(), TestCaseError> {
        let (question, context) = (self.question(asked), context_of(context));
        let epr = self.processes[at].epr.clone();
        let wanted = if at_least { self.newest_revision().await } else { None };
        let named = wanted.filter(|_| self.guards.basis_compared);
        let at_least = named.map(|revision| AtLeast { revision, within: Duration::from_secs(5) });
        let call = Call { at_least, ..Call::default() };
        // Changes past every process have no revision that a caller could name.
        let lags = self.may_lag(at);
        let lags_past = self.renewals[self.processes[at].received..].iter().any(|(by, _)| *by == PAST);
        let is_comparable = !lags || wanted.is_some() && !lags_past;
        let (graph, is_blind) = (Arc::clone(&epr.engines.graph), self.processes[at].is_blind);
        let answered = graph.metrics().answered.get();
        match begin_check(&epr.engines, &call, &question).await.unwrap() {
            Begun::Cached(hit) => {
                prop_assert!(!is_blind, "process {} answers from a cache while it may miss changes", at);
                if is_comparable {
                    self.hits += 1;
                    self.named_hits += u32::from(wanted.is_some());
                    self.residual_hits += u32::from(matches!(hit.answer, Answer::Residual(_)));
                    let decision = evaluate_cached(&hit.answer, &question, &context, hit.now).unwrap().decision;
                    let truth = self.truth(&question, &context).await;
                    prop_assert_eq!(decision.allowed, truth, "process {} lies about {:?}", at, question);
                }
            }
            Begun::Undecided(ticket, seen) => {
                if graph.metrics().answered.get() == answered {
                    prop_assert!(wanted.is_none_or(|wanted| seen.read_at.revision >= wanted), "older facts");
                } else {
                    prop_assert!(!is_blind, "process {} answers from memory while it may miss changes", at);
                    if is_comparable {
                        self.graph_hits += 1;
                        let now = self.clock.now();
                        let facts = self.facts(&question).await;
                        prop_assert_eq!(
                            decide(&question, &seen.facts, &context, now).unwrap(),
                            decide(&question, &facts, &context, now).unwrap(),
                            "process {} lies about {:?}",
                            at,
                            question
                        );
                        prop_assert_eq!(seen.facts.span(now), facts.span(now));
                        prop_assert_eq!(seen.facts.resolve(&question, now), facts.resolve(&question, now));
                    }
                }
                self.finish(at, &question, &context, &ticket, *seen).await;
            }
        }
        Ok(())
    }

    async fn finish(
        &self,
        at: usize,
        question: &Question,
        context: &JsonObject,
        ticket: &Ticket,
        seen: FactsAtRevision,
    ) {
        let engines = &self.processes[at].epr.engines;
        // Without its guard the version is the one from after the facts were read.
        let ticket = if self.guards.version_before_facts { ticket } else { &engines.cache.ticket(question) };
        let basis = Basis { read_at: seen.read_at, resource_type: seen.facts.resource.entity_type.clone() };
        let call = Call::default();
        let asked = Asked { call: &call, question, context };
        let span = seen.facts.span(self.clock.now());
        let resolution = seen.facts.resolve(question, self.clock.now());
        let decision = finish_check(engines, asked, ticket, seen).await.unwrap();
        if !self.guards.clipped {
            let endless = Span { from: None, until: None };
            engines.cache.store(question, ticket, (resolution.into(), basis), endless, self.clock.now());
        } else if !self.guards.residual_kept {
            engines.cache.store(question, ticket, (Answer::Decision(decision), basis), span, self.clock.now());
        }
        // Writes on their way to the server arrive.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }

    async fn start(&mut self, at: usize, change: Change) {
        self.answer().await;
        let epr = self.processes[at].epr.clone();
        self.processes[at].probe.unrenewed.store(!self.guards.renew(&change), SeqCst);
        let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        *self.processes[at].probe.gate.lock().unwrap() = Some((reached.clone(), go_on.clone()));
        let (entities, roles, assignments) = (self.entities.clone(), self.roles.clone(), self.assignments.clone());
        let now = self.clock.now();
        let task = tokio::spawn(async move { apply(&epr, change, now, &entities, &roles, &assignments).await });
        // A change that changes nothing never gets there.
        let ended = async {
            while !task.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = reached.notified() => self.under_way = Some((at, go_on, task)),
            () = ended => *self.processes[at].probe.gate.lock().unwrap() = None,
        }
        self.collect(at);
    }

    pub(super) async fn answer(&mut self) {
        if let Some((at, go_on, task)) = self.under_way.take() {
            go_on.notify_one();
            task.await.unwrap();
            self.collect(at);
        }
    }

    fn collect(&mut self, at: usize) {
        let new = std::mem::take(&mut *self.processes[at].probe.renewals.lock().unwrap());
        self.renewals.extend(new.into_iter().map(|renewal| (at, renewal)));
    }

    /// Delivers the committed changes in order, the process's own included, as the change feed does, and then the
    /// revision.
    pub(super) async fn deliver(&mut self, at: usize) {
        let Some(revision) = self.newest_revision().await else { return };
        let process = &mut self.processes[at];
        if process.is_blind {
            return;
        }
        process.deliveries += 1;
        if !self.guards.revision_after_changes {
            process.report(FeedEvent::Reached(revision));
            // The changes follow later.
            if process.deliveries % 2 == 1 {
                return;
            }
        }
        for (_, renewal) in &self.renewals[process.received..] {
            process.report(FeedEvent::Changed(*renewal));
        }
        process.received = self.renewals.len();
        process.report(FeedEvent::Reached(revision));
    }

    async fn reconnect_and_renew(&self, at: usize) {
        if let Some(shared) = &self.processes[at].shared {
            shared.reconnect_and_renew().await;
        }
    }

    pub(super) async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Check { at, asked, context, at_least } => self.check(at.into(), asked, context, at_least).await?,
            Step::Begin { at, asked, context } => {
                let question = self.question(asked);
                let epr = &self.processes[usize::from(at)].epr;
                let begun = begin_check(&epr.engines, &Call::default(), &question).await.unwrap();
                if let Begun::Undecided(ticket, seen) = begun {
                    self.begun.push((at.into(), question, context, ticket, *seen));
                }
            }
            Step::Finish => {
                if !self.begun.is_empty() {
                    let (at, question, context, ticket, seen) = self.begun.remove(0);
                    self.finish(at, &question, &context_of(context), &ticket, seen).await;
                }
            }
            Step::Change { at, change } => self.start(at.into(), change).await,
            Step::Answer => self.answer().await,
            Step::Deliver(at) => self.deliver(at.into()).await,
            Step::Renew(at) => self.reconnect_and_renew(at.into()).await,
            Step::Read(at) => self.read(at.into()).await,
            Step::Keep(at) => self.keep(at.into()),
            Step::Past { revoke, which } => self.change_past(revoke, which).await,
            Step::Feed { at, does } => self.feed(at.into(), does).await,
            Step::Pass(seconds) => self.clock.advance_micros(i64::from(seconds) * 1_000_000),
            Step::Save => self.server.save(),
            Step::Restart => self.server.restart(),
            Step::Flush => self.server.flush(),
            Step::Evict(place) => self.server.evict(place.into()),
            Step::Server { away, full } => self.server.set(away, full),
        }
        Ok(())
    }
}

/// In memory where there is such a place: thousands of databases are made, none of which need survive a power cut.
pub(super) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
