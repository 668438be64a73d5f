//! Evaluations: the decisions on the items of one call, with one read of facts and one append to the ledger.
//!
//! INVARIANT: the recorded decision of an item is the answered one, and no decision is recorded after a change that
//! contradicts it, as in a check. Must never turn an error into a decision.

use std::sync::{Mutex, PoisonError};

use super::super::audit_log;
use super::super::check::{MAX_OPTIMISTIC_ATTEMPTS, evaluate_cached, is_recorded, wrong_parameters};
use super::item::{Decided, Item, Outcome, decide, log, sent};
use super::record::{IdentifiedIds, Recorder};
use super::request::{Evaluation, Evaluations, Semantic, sentence};
use crate::Call;
use crate::decision::Question;
use crate::domain::Revision;
use crate::domain::fields::Problem;
use crate::engine::Engines;
use crate::engine::cache::{CacheTier, Hit, Lookup};
use crate::engine::contention::ContentionRetry;
use crate::engine::ledger_writer::count_recorded;
use crate::engine::revisions;
use crate::error::{Error, Result};
use crate::ledger::chain::Draft;
use crate::settings::AuditDecisions;
use crate::store::{Appended, IdentifiedFacts, IdentitiesRead, NamedQuestion, ReadAt, StoreError};

/// The most bytes of details that one call may add to the ledger.
const MAX_RECORDED_BYTES: usize = 16 << 20;

/// The answer about one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemOutcome {
    /// The decision.
    Decided(bool),
    /// There is none: what is wrong with the item, a sentence.
    Failed(String),
}

/// Decides one evaluation at this moment. `trusted`: the caller may state properties.
pub(crate) async fn evaluate(engines: &Engines, call: &Call, evaluation: &Evaluation, trusted: bool) -> Result<bool> {
    let items = vec![Item::new(evaluation)];
    let mut run = Run::new(engines, call, items, Semantic::ExecuteAll, trusted);
    run.decide().await?;
    match run.items.pop().and_then(|item| item.outcome) {
        Some(Outcome::Decided(decided)) => Ok(decided.evaluated.decision.allowed),
        Some(Outcome::Failed(invalid)) => Err(Error::Invalid(invalid)),
        None => Err(undecided()),
    }
}

/// Decides a batch; the outcomes end with the item that ends it.
pub(crate) async fn evaluate_batch(
    engines: &Engines,
    call: &Call,
    batch: &Evaluations,
    trusted: bool,
) -> Result<Vec<ItemOutcome>> {
    let items = batch.items.iter().map(|item| match item {
        Ok(evaluation) => Item::new(evaluation),
        Err(unreadable) => Item::unreadable(unreadable),
    });
    let mut run = Run::new(engines, call, items.collect(), batch.semantic, trusted);
    run.decide().await?;
    let outcomes = run.items.into_iter().map(|item| match item.outcome {
        Some(Outcome::Decided(decided)) => Ok(ItemOutcome::Decided(decided.evaluated.decision.allowed)),
        Some(Outcome::Failed(invalid)) => Ok(ItemOutcome::Failed(sentence(&invalid))),
        None => Err(undecided()),
    });
    outcomes.collect()
}

fn undecided() -> Error {
    StoreError::corrupt("facts", "the store called for no decision").into()
}

/// One call.
struct Run<'a> {
    engines: &'a Engines,
    call: &'a Call,
    items: Vec<Item<'a>>,
    semantic: Semantic,
    trusted: bool,
}

impl<'a> Run<'a> {
    fn new(engines: &'a Engines, call: &'a Call, items: Vec<Item<'a>>, semantic: Semantic, trusted: bool) -> Self {
        Self { engines, call, items, semantic, trusted }
    }

    /// Decides and records the items up to the one that ends the batch, and drops the others.
    async fn decide(&mut self) -> Result<()> {
        self.engines.list_turns.count_check();
        revisions::reach(self.engines, self.call).await?;
        if self.engines.cache.is_on() {
            self.look_up().await?;
        }
        let mut is_recorded = false;
        for _ in 0..MAX_OPTIMISTIC_ATTEMPTS {
            self.read_and_decide().await?;
            is_recorded = self.record().await?;
            if is_recorded {
                break;
            }
        }
        if !is_recorded {
            self.decide_under_lock().await?;
        }
        self.items.truncate(self.end());
        self.complete()
    }

    /// The number of items that matter: those up to the first one that ends the batch, decided or not.
    fn end(&self) -> usize {
        let ends = |item: &Item<'_>| item.allowed().is_some_and(|allowed| self.semantic.ends_with(allowed));
        self.items.iter().position(ends).map_or(self.items.len(), |last| last + 1)
    }

    /// The undecided items that matter, by their indexes, and their questions.
    fn undecided(&self) -> (Vec<usize>, Vec<NamedQuestion>) {
        let items = self.items.iter().take(self.end()).enumerate().filter(|(_, item)| item.outcome.is_none());
        items.filter_map(|(index, item)| Some((index, item.asked.as_ref()?.1.clone()))).unzip()
    }

    /// Answers items from the cache of this process.
    ///
    /// INVARIANT: a cached answer is used only if its facts are not newer than the names, so that both were true at one
    /// moment.
    async fn look_up(&mut self) -> Result<()> {
        let (indexes, questions) = self.undecided();
        let principals: Vec<_> = questions.iter().map(|question| question.principal.clone()).collect();
        let entities: Vec<_> = questions.iter().map(|question| question.resource.clone()).collect();
        let read = self.engines.store().identities(&principals, &entities).await?;
        let IdentitiesRead { principals, entities, read_at } = read;
        let now = self.engines.now();
        let at_least = self.call.at_least.map(|at_least| at_least.revision);
        for ((index, named), ids) in indexes.into_iter().zip(questions).zip(principals.into_iter().zip(entities)) {
            let (Some(item), (Some(principal_id), Some(resource_id))) = (self.items.get_mut(index), ids) else {
                continue;
            };
            let (Some((evaluation, _)), Some(principal_type)) = (&item.asked, named.principal_type()) else { continue };
            let question = Question { principal_id, principal_type, action: named.action, resource_id };
            match self.engines.cache.lookup_in_memory(&question, at_least, now) {
                Lookup::Miss(ticket) => item.ticket = Some((question, ticket)),
                Lookup::Hit(Hit { answer, tier, basis, now }) if basis.read_at.decisive <= read_at.decisive => {
                    let evaluated = evaluate_cached(&answer, &question, sent(evaluation, self.trusted), now);
                    item.outcome = Some(match evaluated {
                        Err(wrong) => Outcome::Failed(wrong_parameters(wrong)),
                        Ok(evaluated) => Outcome::Decided(Box::new(Decided {
                            ids: IdentifiedIds {
                                principal_id: Some(principal_id),
                                resource_id: Some(resource_id),
                                question,
                            },
                            evaluated,
                            basis,
                            now,
                            tier,
                            fresh: None,
                            is_recorded: false,
                        })),
                    });
                }
                Lookup::Hit(_) => item.ticket = Some((question.clone(), self.engines.cache.ticket(&question))),
            }
        }
        Ok(())
    }

    /// Reads the facts of the undecided items and decides them.
    async fn read_and_decide(&mut self) -> Result<()> {
        let (indexes, questions) = self.undecided();
        if questions.is_empty() {
            return Ok(());
        }
        let read = self.engines.store().identified_facts(&questions).await?;
        // Read after the facts: an assignment that ends between the two grants nothing.
        let now = self.engines.now();
        for (index, identified) in indexes.into_iter().zip(&read.facts) {
            let Some(item) = self.items.get_mut(index) else { continue };
            let Some((evaluation, _)) = &item.asked else { continue };
            item.outcome = Some(decide(evaluation, self.trusted, identified, read.read_at, now));
        }
        Ok(())
    }

    /// Whether the settings ask for an entry of this decision.
    fn wants_entry(&self, decided: &Decided) -> bool {
        match decided.tier {
            CacheTier::evaluated => is_recorded(self.engines, &decided.evaluated.decision),
            _ => self.engines.core.settings.audit_decisions == AuditDecisions::Every,
        }
    }

    /// Records the decisions that matter in one append. Returns `false` when some of them are undecided again, because
    /// the registry has changed since their facts were read.
    async fn record(&mut self) -> Result<bool> {
        let mut recorder = Recorder::new(self.call, self.engines.core.settings.audit_context);
        let (mut indexes, mut drafts) = (Vec::new(), Vec::new());
        for (index, item) in self.items.iter().take(self.end()).enumerate() {
            let (Some((evaluation, _)), Some(decided)) = (&item.asked, item.decided()) else { continue };
            if !decided.is_recorded && self.wants_entry(decided) {
                drafts.push(recorder.draft(&decided.item(evaluation, self.trusted))?);
                indexes.push(index);
            }
        }
        if drafts.is_empty() {
            return Ok(true);
        }
        check_size(&drafts)?;
        let copies: Vec<_> = drafts.iter().filter_map(audit_log::copy_of_decision).collect();
        let appended = self.engines.ledger.record(drafts).await.map_err(StoreError::from)?;
        audit_log::decisions(&copies, &appended);
        let mut all = true;
        for (index, outcome) in indexes.into_iter().zip(&appended) {
            let Some(item) = self.items.get_mut(index) else { continue };
            match &mut item.outcome {
                Some(Outcome::Decided(decided)) if *outcome != Appended::Outdated => decided.is_recorded = true,
                Some(Outcome::Decided(decided)) => {
                    let question = decided.ids.question.clone();
                    if item.ticket.is_none() && self.engines.cache.is_on() {
                        item.ticket = Some((question.clone(), self.engines.cache.ticket(&question)));
                    }
                    item.outcome = None;
                    all = false;
                }
                _ => {}
            }
        }
        Ok(all)
    }

    /// Reads the facts of the undecided items, decides and records them under the ledger's lock, so that nothing can
    /// change in between.
    async fn decide_under_lock(&mut self) -> Result<()> {
        let (indexes, questions) = self.undecided();
        let mut retry = ContentionRetry::begin();
        let made = loop {
            let made = Mutex::new(Made::new(Recorder::new(self.call, self.engines.core.settings.audit_context)));
            let decide = |at: usize, identified: &IdentifiedFacts, read_at: ReadAt| {
                let index = indexes.get(at)?;
                let (evaluation, _) = self.items.get(*index)?.asked.as_ref()?;
                made.lock().unwrap_or_else(PoisonError::into_inner).add(self, *index, evaluation, identified, read_at)
            };
            match self.engines.store().append_named_decisions(&questions, &decide).await {
                Err(StoreError::Contention(_)) if retry.next_attempt().is_some() => {}
                Err(error) => return Err(StoreError::Ledger(error.into()).into()),
                Ok(appended) => {
                    let appended: Vec<_> = appended.into_iter().flatten().collect();
                    self.engines.core.metrics.ledger.entries.inc_by(count_recorded(&appended));
                    let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
                    audit_log::decisions(&made.copies, &appended);
                    break made;
                }
            }
        };
        if let Some(error) = made.error {
            return Err(error);
        }
        let outcomes = made.outcomes;
        for (index, outcome) in outcomes {
            if let Some(item) = self.items.get_mut(index) {
                item.outcome = Some(outcome);
            }
        }
        Ok(())
    }

    /// Caches, counts and logs what is answered, and reports the oldest revision that it rests on. After the record: a
    /// decision that could not be recorded is never answered.
    fn complete(&mut self) -> Result<()> {
        let engines = self.engines;
        let mut oldest: Option<Revision> = None;
        for item in &mut self.items {
            let Some(Outcome::Decided(decided)) = &mut item.outcome else { continue };
            let revision = decided.basis.read_at.revision;
            self.call.confirm_incarnation(revision)?;
            oldest = oldest.filter(|oldest| *oldest <= revision).or(Some(revision));
            let decision = decided.evaluated.decision;
            engines.cache.count_decision(decided.tier, decision.allowed);
            engines.condition_errors.report(&decided.evaluated.errors);
            log(decided);
            // Another id may be behind the names than when the ticket was issued.
            if let (Some((resolution, span)), Some((question, ticket))) = (decided.fresh.take(), &item.ticket)
                && *question == decided.ids.question
            {
                engines.cache.store(question, ticket, (resolution.into(), decided.basis.clone()), span, decided.now);
            }
        }
        if let Some(oldest) = oldest {
            self.call.set_answered_at(oldest);
        }
        Ok(())
    }
}

/// What is decided under the ledger's lock.
struct Made<'a> {
    recorder: Recorder<'a>,
    outcomes: Vec<(usize, Outcome)>,
    copies: Vec<Draft>,
    bytes: usize,
    /// An item has ended the batch.
    ended: bool,
    error: Option<Error>,
}

impl<'a> Made<'a> {
    fn new(recorder: Recorder<'a>) -> Self {
        Self { recorder, outcomes: Vec::new(), copies: Vec::new(), bytes: 0, ended: false, error: None }
    }

    fn add(
        &mut self,
        run: &Run<'_>,
        index: usize,
        evaluation: &Evaluation,
        identified: &IdentifiedFacts,
        read_at: ReadAt,
    ) -> Option<Draft> {
        if self.ended || self.error.is_some() {
            return None;
        }
        let outcome = decide(evaluation, run.trusted, identified, read_at, run.engines.now());
        self.ended = run.semantic.ends_with(outcome.allowed());
        let draft = match &outcome {
            Outcome::Decided(decided) if run.wants_entry(decided) => {
                Some(self.recorder.draft(&decided.item(evaluation, run.trusted)))
            }
            _ => None,
        };
        self.outcomes.push((index, outcome));
        let draft = match draft? {
            Ok(draft) => draft,
            Err(error) => {
                self.error = Some(error);
                return None;
            }
        };
        self.bytes += draft.details().len();
        if self.bytes > MAX_RECORDED_BYTES {
            self.error = Some(too_large());
            return None;
        }
        self.copies.extend(audit_log::copy_of_decision(&draft));
        Some(draft)
    }
}

fn check_size(drafts: &[Draft]) -> Result<()> {
    let bytes: usize = drafts.iter().map(|draft| draft.details().len()).sum();
    if bytes > MAX_RECORDED_BYTES { Err(too_large()) } else { Ok(()) }
}

fn too_large() -> Error {
    let msg = format!(
        "The ledger entries of this batch would take more than {MAX_RECORDED_BYTES} bytes; send fewer items, or \
         smaller contexts and properties"
    );
    Error::field("evaluations", Problem::new("too_large", msg))
}
