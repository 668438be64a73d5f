//! Evaluations: the decisions on the items of one call, with one read of facts and one append to the ledger.
//!
//! INVARIANT: the recorded decision of an item is the answered one, and no decision is recorded after a change that
//! contradicts it, as in a check. Decisions that are recorded together rest on one state: either all of them are
//! recorded or none is, so that no decision is in the ledger that is not answered. Must never turn an error into a
//! decision.

use std::sync::{Mutex, PoisonError};

use super::super::audit_log;
use super::super::check::{MAX_OPTIMISTIC_ATTEMPTS, evaluate_cached, is_recorded, wrong_parameters};
use super::item::{Item, ItemDecision, ItemResult, decide, log, sent};
use super::record::{IdentifiedIds, Recorder};
use super::request::{Evaluation, Evaluations, Semantic, sentence};
use crate::Call;
use crate::decision::Question;
use crate::domain::fields::Problem;
use crate::domain::{Revision, Timestamp};
use crate::engine::Engines;
use crate::engine::cache::{Hit, Lookup};
use crate::engine::contention::ContentionRetry;
use crate::engine::ledger_writer::count_recorded;
use crate::engine::name_hashes::NameKey;
use crate::engine::revisions;
use crate::error::{Error, Result};
use crate::ledger::chain::Draft;
use crate::settings::AuditDecisions;
use crate::store::{Appended, IdentifiedFacts, IdentitiesRead, NamedQuestion, ReadAt, StoreError};

/// The most bytes of details that one call may add to the ledger.
const MAX_RECORDED_BYTES: usize = 16 << 20;

/// The answer about one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemAnswer {
    /// The decision.
    Decided(bool),
    /// There is none: what is wrong with the item, a sentence.
    Failed(String),
}

/// Decides one evaluation at this moment. `trusted`: the caller may state properties.
pub(crate) async fn evaluate(engines: &Engines, call: &Call, evaluation: &Evaluation, trusted: bool) -> Result<bool> {
    let items = vec![Item::new(evaluation)];
    let mut run = Run::new(engines, call, items, Semantic::ExecuteAll, trusted).await?;
    run.decide().await?;
    match run.items.pop().and_then(|item| item.result) {
        Some(ItemResult::Decided(decided)) => Ok(decided.evaluated.decision.allowed),
        Some(ItemResult::Failed(invalid)) => Err(Error::Invalid(invalid)),
        None => Err(undecided()),
    }
}

/// Decides a batch; the answers end with the item that ends it.
pub(crate) async fn evaluate_batch(
    engines: &Engines,
    call: &Call,
    batch: &Evaluations,
    trusted: bool,
) -> Result<Vec<ItemAnswer>> {
    let items = batch.items.iter().map(|item| match item {
        Ok(evaluation) => Item::new(evaluation),
        Err(unreadable) => Item::unreadable(unreadable),
    });
    let mut run = Run::new(engines, call, items.collect(), batch.semantic, trusted).await?;
    run.decide().await?;
    let answers = run.items.into_iter().map(|item| match item.result {
        Some(ItemResult::Decided(decided)) => Ok(ItemAnswer::Decided(decided.evaluated.decision.allowed)),
        Some(ItemResult::Failed(invalid)) => Ok(ItemAnswer::Failed(sentence(&invalid))),
        None => Err(undecided()),
    });
    answers.collect()
}

fn undecided() -> Error {
    StoreError::corrupt("facts", "the store called for no decision").into()
}

/// One call.
struct Run<'a> {
    engines: &'a Engines,
    call: &'a Call,
    names: &'a NameKey,
    items: Vec<Item<'a>>,
    semantic: Semantic,
    trusted: bool,
}

impl<'a> Run<'a> {
    async fn new(
        engines: &'a Engines,
        call: &'a Call,
        items: Vec<Item<'a>>,
        semantic: Semantic,
        trusted: bool,
    ) -> Result<Self> {
        let names = engines.name_hashes.key(engines.store()).await?;
        Ok(Self { engines, call, names, items, semantic, trusted })
    }

    /// Decides and records the items up to the one that ends the batch, and drops the others.
    async fn decide(&mut self) -> Result<()> {
        self.engines.list_turns.count_check();
        revisions::reach(self.engines, self.call).await?;
        if self.engines.cache.is_on() {
            self.look_up().await?;
        }
        let mut is_recorded = false;
        // Once more than a check: cached decisions may rest on an older state than those that were evaluated.
        for _ in 0..=MAX_OPTIMISTIC_ATTEMPTS {
            self.read_and_decide().await?;
            if !self.has_one_basis() {
                self.discard_unrecorded();
                continue;
            }
            is_recorded = self.record().await?;
            if is_recorded {
                break;
            }
            self.discard_unrecorded();
        }
        if !is_recorded {
            self.discard_unrecorded();
            self.decide_under_lock().await?;
        }
        self.items.truncate(self.end());
        if self.items.iter().any(|item| item.decided().is_some_and(|decided| self.lacks_entry(decided))) {
            return Err(StoreError::corrupt("ledger", "a decision of a batch was not recorded").into());
        }
        self.complete()
    }

    /// The number of items that matter: those up to the first one that ends the batch, decided or not.
    fn end(&self) -> usize {
        let ends = |item: &Item<'_>| item.allowed().is_some_and(|allowed| self.semantic.ends_with(allowed));
        self.items.iter().position(ends).map_or(self.items.len(), |last| last + 1)
    }

    /// The undecided items that matter, by their indexes, and their questions.
    fn undecided(&self) -> (Vec<usize>, Vec<NamedQuestion>) {
        let items = self.items.iter().take(self.end()).enumerate().filter(|(_, item)| item.result.is_none());
        items.filter_map(|(index, item)| Some((index, item.asked.as_ref()?.1.clone()))).unzip()
    }

    /// The decisions that matter and are still to be recorded, with the index of their items and their evaluations.
    fn unrecorded(&self) -> impl Iterator<Item = (usize, &'a Evaluation, &ItemDecision)> {
        let items = self.items.iter().take(self.end()).enumerate();
        let decided = items.filter_map(|(index, item)| Some((index, item.asked.as_ref()?.0, item.decided()?)));
        decided.filter(|(.., decided)| self.lacks_entry(decided))
    }

    /// Whether the settings ask for an entry of this decision, and there is none yet.
    fn lacks_entry(&self, decided: &ItemDecision) -> bool {
        !decided.is_recorded && self.wants_entry(decided)
    }

    fn wants_entry(&self, decided: &ItemDecision) -> bool {
        if decided.is_evaluated() {
            is_recorded(self.engines, &decided.evaluated.decision)
        } else {
            self.engines.core.settings.audit_decisions == AuditDecisions::Every
        }
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
                    let ids = (Some(principal_id), Some(resource_id));
                    let ids = IdentifiedIds { principal_id: ids.0, resource_id: ids.1, question };
                    item.result = Some(match evaluated {
                        Err(wrong) => ItemResult::Failed(wrong_parameters(wrong)),
                        Ok(evaluated) => ItemResult::Decided(Box::new(ItemDecision {
                            ids,
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

    /// Reads the facts of the undecided items and decides them. Afterwards every item that matters is decided.
    async fn read_and_decide(&mut self) -> Result<()> {
        let (indexes, questions) = self.undecided();
        if questions.is_empty() {
            return Ok(());
        }
        let read = self.engines.store().identified_facts(&questions).await?;
        // Read after the facts: an assignment that ends between the two grants nothing.
        let moment = (read.read_at, self.engines.now());
        for (index, identified) in indexes.into_iter().zip(&read.facts) {
            let Some(item) = self.items.get_mut(index) else { continue };
            let Some((evaluation, _)) = &item.asked else { continue };
            let keeps = item.ticket.is_some();
            item.result = Some(decide(evaluation, self.trusted, identified, moment, keeps));
        }
        Ok(())
    }

    /// Whether all decisions that are still to be recorded rest on one state of the registry.
    fn has_one_basis(&self) -> bool {
        let mut bases = self.unrecorded().map(|(.., decided)| decided.basis.read_at.decisive);
        let first = bases.next();
        bases.all(|basis| Some(basis) == first)
    }

    /// Discards every result that rests on a state of the registry that may be outdated, also of items that do not
    /// matter now: an item before them may be decided otherwise on the new state.
    fn discard_unrecorded(&mut self) {
        for index in 0..self.items.len() {
            let Some(item) = self.items.get(index) else { continue };
            let is_outdated = match &item.result {
                Some(ItemResult::Decided(one)) => !one.is_recorded && (one.is_evaluated() || self.wants_entry(one)),
                Some(ItemResult::Failed(_)) => item.asked.is_some(),
                None => false,
            };
            let question = item.decided().map(|one| &one.ids).filter(|ids| ids.are_complete());
            // What came from the cache has no ticket yet.
            let new = question.filter(|_| is_outdated && item.ticket.is_none() && self.engines.cache.is_on());
            let new = new.map(|ids| (ids.question.clone(), self.engines.cache.ticket(&ids.question)));
            if let Some(item) = self.items.get_mut(index).filter(|_| is_outdated) {
                item.ticket = item.ticket.take().or(new);
                item.result = None;
            }
        }
    }

    /// Records the decisions that matter in one append. Returns `false` when the registry has changed since their facts
    /// were read: then none of them is recorded.
    async fn record(&mut self) -> Result<bool> {
        let mut recorder = Recorder::new(self.call, self.engines.core.settings.audit_context, self.names);
        let (mut indexes, mut drafts, mut size) = (Vec::new(), Vec::new(), RecordedSize::default());
        for (index, evaluation, decided) in self.unrecorded() {
            let draft = recorder.draft(&decided.item(evaluation, self.trusted))?;
            size.add(&draft)?;
            drafts.push(draft);
            indexes.push(index);
        }
        if drafts.is_empty() {
            return Ok(true);
        }
        let copies: Vec<_> = drafts.iter().filter_map(audit_log::copy_of_decision).collect();
        let appended = self.engines.ledger.record(drafts).await.map_err(StoreError::from)?;
        audit_log::decisions(&copies, &appended);
        let mut all = true;
        for (index, appended) in indexes.into_iter().zip(&appended) {
            if let Some(ItemResult::Decided(decided)) = self.items.get_mut(index).and_then(|item| item.result.as_mut())
            {
                decided.is_recorded = *appended != Appended::Outdated;
                all &= decided.is_recorded;
            }
        }
        Ok(all)
    }

    /// Reads the facts of the undecided items, decides and records them under the ledger's lock, so that nothing can
    /// change in between.
    async fn decide_under_lock(&mut self) -> Result<()> {
        let (indexes, questions) = self.undecided();
        let mut retry = ContentionRetry::begin();
        let (locked, appended) = loop {
            let recorder = Recorder::new(self.call, self.engines.core.settings.audit_context, self.names);
            let locked = Mutex::new(LockedDecisions::new(recorder));
            let decide = |at: usize, identified: &IdentifiedFacts, read_at: ReadAt| {
                let item = indexes.get(at).and_then(|index| self.items.get(*index));
                let Some(item) = item else { return Ok(None) };
                locked.lock().unwrap_or_else(PoisonError::into_inner).add(self, item, identified, read_at)
            };
            match self.engines.store().append_named_decisions(&questions, &decide).await {
                Err(StoreError::Contention(_)) if retry.next_attempt().is_some() => {}
                Err(error @ StoreError::TooLarge(_)) => {
                    let refused = locked.into_inner().unwrap_or_else(PoisonError::into_inner).error;
                    return Err(refused.unwrap_or_else(|| error.into()));
                }
                Err(error) => return Err(StoreError::Ledger(error.into()).into()),
                Ok(appended) => break (locked.into_inner().unwrap_or_else(PoisonError::into_inner), appended),
            }
        };
        let recorded: Vec<_> = appended.iter().flatten().copied().collect();
        self.engines.core.metrics.ledger.entries.inc_by(count_recorded(&recorded));
        audit_log::decisions(&locked.copies, &recorded);
        for ((index, mut result), appended) in indexes.into_iter().zip(locked.results).zip(appended) {
            if let ItemResult::Decided(decided) = &mut result {
                decided.is_recorded = appended.is_some_and(|appended| appended != Appended::Outdated);
            }
            if let Some(item) = self.items.get_mut(index) {
                item.result = Some(result);
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
            let (Some((evaluation, _)), Some(ItemResult::Decided(decided))) = (&item.asked, &mut item.result) else {
                continue;
            };
            let revision = decided.basis.read_at.revision;
            self.call.confirm_incarnation(revision)?;
            oldest = oldest.filter(|oldest| *oldest <= revision).or(Some(revision));
            let decision = decided.evaluated.decision;
            engines.cache.count_decision(decided.tier, decision.allowed);
            engines.condition_errors.report(&decided.evaluated.errors);
            log(evaluation, decided);
            // Another id may be behind the names than when the ticket was issued, or none.
            if let (Some((resolution, span)), Some((question, ticket))) = (decided.fresh.take(), &item.ticket)
                && decided.ids.are_complete()
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

/// What is decided under the ledger's lock, in the order of the questions.
struct LockedDecisions<'a> {
    recorder: Recorder<'a>,
    results: Vec<ItemResult>,
    copies: Vec<Draft>,
    size: RecordedSize,
    /// The time of all decisions, after the facts were read.
    now: Option<Timestamp>,
    /// Whether an item has ended the batch.
    ended: bool,
    /// Why the batch is refused.
    error: Option<Error>,
}

impl<'a> LockedDecisions<'a> {
    fn new(recorder: Recorder<'a>) -> Self {
        let (results, copies, size) = Default::default();
        Self { recorder, results, copies, size, now: None, ended: false, error: None }
    }

    fn add(
        &mut self,
        run: &Run<'_>,
        item: &Item<'_>,
        identified: &IdentifiedFacts,
        read_at: ReadAt,
    ) -> std::result::Result<Option<Draft>, StoreError> {
        let Some((evaluation, _)) = item.asked.as_ref().filter(|_| !self.ended) else { return Ok(None) };
        let now = *self.now.get_or_insert_with(|| run.engines.now());
        let result = decide(evaluation, run.trusted, identified, (read_at, now), item.ticket.is_some());
        self.ended = run.semantic.ends_with(result.allowed());
        let draft = match &result {
            ItemResult::Decided(decided) if run.wants_entry(decided) => {
                Some(self.recorder.draft(&decided.item(evaluation, run.trusted)))
            }
            _ => None,
        };
        self.results.push(result);
        let draft = draft.map(|draft| draft.and_then(|draft| self.size.add(&draft).map(|()| draft))).transpose();
        if let Ok(Some(draft)) = &draft {
            self.copies.extend(audit_log::copy_of_decision(draft));
        }
        draft.map_err(|error| {
            self.error = Some(error);
            // Ends the transaction: nothing of a refused batch is recorded.
            StoreError::TooLarge("the ledger entries of a batch")
        })
    }
}

/// The bytes that a call adds to the ledger so far.
#[derive(Default)]
struct RecordedSize(usize);

impl RecordedSize {
    /// Adds an entry; an error if the call adds too much.
    fn add(&mut self, draft: &Draft) -> Result<()> {
        self.0 += draft.details().len();
        if self.0 <= MAX_RECORDED_BYTES {
            return Ok(());
        }
        let msg = format!(
            "The ledger entries of this batch would take more than {MAX_RECORDED_BYTES} bytes; send fewer items, or \
             smaller contexts and properties"
        );
        Err(Error::field("evaluations", Problem::new("too_large", msg)))
    }
}
