//! Batches: the decisions on the items of one call, with one read of facts and one append to the ledger.
//!
//! Owns the order of the steps, for questions by ids and for those in the names of other systems.
//!
//! INVARIANT: the recorded decision of an item is the answered one, and no decision is recorded after a change that
//! contradicts it, as in a check. Decisions that are recorded together rest on one state: either all of them are
//! recorded or none is, so that no decision is in the ledger that is not answered. Must never turn an error into a
//! decision.

mod draft;
mod item;

use std::sync::{Mutex, PoisonError};

use self::draft::Drafts;
pub(super) use self::item::{Asking, Item, ItemDecision, NamedAsking};
use self::item::{IdentifiedIds, ItemResult, log};
use super::audit_log;
use super::authzen::Semantic;
use super::check::{MAX_OPTIMISTIC_ATTEMPTS, evaluate_cached, is_recorded, wrong_context};
use crate::Call;
use crate::decision::{Decision, Question};
use crate::domain::{Revision, Timestamp};
use crate::engine::Engines;
use crate::engine::cache::{Basis, Hit, Lookup};
use crate::engine::contention::ContentionRetry;
use crate::engine::graph::FactsOfAll;
use crate::engine::ledger_writer::count_recorded;
use crate::engine::revisions;
use crate::error::{Error, Result};
use crate::ledger::chain::Draft;
use crate::settings::AuditDecisions;
use crate::store::{Appended, BatchQuestion, IdentifiedFacts, IdentifiedFactsRead, IdentitiesRead, ReadAt, StoreError};

/// The items of a call, and how it treats them.
pub(super) struct Batch<'a> {
    pub(super) items: Vec<Item<'a>>,
    pub(super) semantic: Semantic,
    /// The member of the body that lists the items.
    pub(super) member: &'static str,
}

/// Decides a batch at this moment. The answers end with the item that ends it; an item that fails has the error of a
/// single question.
///
/// # Errors
/// `Unavailable` when facts cannot be read or decisions cannot be recorded: then there is no decision.
pub(super) async fn decide(engines: &Engines, call: &Call, batch: Batch<'_>) -> Result<Vec<Result<Decision>>> {
    let Batch { items, semantic, member } = batch;
    let mut run = Run { engines, call, items, semantic, member, last_read: None };
    run.decide().await?;
    let answers = run.items.into_iter().map(|item| match item.result {
        Some(ItemResult::Decided(decided)) => Ok(Ok(decided.evaluated.decision)),
        Some(ItemResult::Failed(error)) => Ok(Err(error)),
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
    items: Vec<Item<'a>>,
    semantic: Semantic,
    member: &'static str,
    /// The state that the last facts were read at.
    last_read: Option<Revision>,
}

impl<'a> Run<'a> {
    /// Decides and records the items up to the one that ends the batch, and drops the others.
    async fn decide(&mut self) -> Result<()> {
        self.engines.list_turns.count_check();
        revisions::reach(self.engines, self.call).await?;
        if self.engines.cache.is_on() {
            self.look_up().await?;
        }
        let mut is_recorded = false;
        // Once more than a check: cached decisions may rest on an older state than those that were evaluated.
        for attempt in 0..=MAX_OPTIMISTIC_ATTEMPTS {
            self.read_and_decide(attempt == 0).await?;
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
    fn undecided(&self) -> (Vec<usize>, Vec<BatchQuestion>) {
        let items = self.items.iter().take(self.end()).enumerate().filter(|(_, item)| item.result.is_none());
        items.filter_map(|(index, item)| Some((index, item.asked.as_ref()?.1.clone()))).unzip()
    }

    /// The decisions that matter and are still to be recorded, with the index of their items.
    fn unrecorded(&self) -> impl Iterator<Item = (usize, Asking<'a>, &ItemDecision)> {
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
        let (questions, named_at) = self.by_ids(questions).await?;
        let now = self.engines.now();
        let at_least = self.call.at_least.map(|at_least| at_least.revision);
        let is_usable = |basis: &Basis| named_at.is_none_or(|named_at| basis.read_at.decisive <= named_at.decisive);
        for (index, question) in indexes.into_iter().zip(questions) {
            let (Some(item), Some(question)) = (self.items.get_mut(index), question) else { continue };
            let Some((asking, _)) = &item.asked else { continue };
            match self.engines.cache.lookup_in_memory(&question, at_least, now) {
                Lookup::Miss(ticket) => item.ticket = Some((question, ticket)),
                Lookup::Hit(Hit { answer, tier, basis, now }) if is_usable(&basis) => {
                    self.call.confirm_incarnation(basis.read_at.revision)?;
                    let evaluated = evaluate_cached(&answer, &question, asking.sent(), now);
                    self.last_read = Some(basis.read_at.revision);
                    item.result = Some(match evaluated {
                        Err(wrong) => ItemResult::Failed(wrong_context(wrong)),
                        Ok(evaluated) => ItemResult::Decided(Box::new(ItemDecision {
                            ids: IdentifiedIds::complete(question),
                            evaluated,
                            basis,
                            now,
                            tier,
                            fresh: None,
                            is_recorded: false,
                        })),
                    });
                }
                Lookup::Hit(_) => {
                    let ticket = self.engines.cache.ticket(&question);
                    item.ticket = Some((question, ticket));
                }
            }
        }
        Ok(())
    }

    /// The questions by ids, `None` where a name has no id, and the state that names were read at, if there are names.
    async fn by_ids(&self, questions: Vec<BatchQuestion>) -> Result<(Vec<Option<Question>>, Option<ReadAt>)> {
        let named = || questions.iter().filter_map(BatchQuestion::names);
        let principals: Vec<_> = named().map(|question| question.principal.clone()).collect();
        let entities: Vec<_> = named().map(|question| question.resource.clone()).collect();
        let (mut ids, named_at) = if principals.is_empty() {
            (Vec::new().into_iter(), None)
        } else {
            let IdentitiesRead { principals, entities, read_at } =
                self.engines.store().identities(&principals, &entities).await?;
            (principals.into_iter().zip(entities).collect::<Vec<_>>().into_iter(), Some(read_at))
        };
        let questions = questions.into_iter().map(|question| match question {
            BatchQuestion::Ids(question) => Some(question),
            BatchQuestion::Names(named) => {
                let (principal_id, resource_id) = ids.next()?;
                let (principal_id, resource_id) = principal_id.zip(resource_id)?;
                let principal_type = named.principal_type()?;
                Some(Question { principal_id, principal_type, action: named.action, resource_id })
            }
        });
        Ok((questions.collect(), named_at))
    }

    /// The facts of `questions` by ids from the registry in memory; `None` when the database has to be asked.
    fn facts_in_memory(&self, questions: &[BatchQuestion]) -> Option<IdentifiedFactsRead> {
        let by_ids = questions.iter().map(|question| match question {
            BatchQuestion::Ids(question) => Some(question),
            BatchQuestion::Names(_) => None,
        });
        let by_ids = by_ids.collect::<Option<Vec<_>>>()?;
        let at_least = self.call.at_least.map(|at_least| at_least.revision);
        let FactsOfAll { facts, read_at } = self.engines.graph.facts_of_all(&by_ids, at_least)?;
        let identified = by_ids.into_iter().zip(facts).map(|(question, facts)| IdentifiedFacts {
            principal_id: Some(question.principal_id),
            resource_id: Some(question.resource_id),
            question: question.clone(),
            facts: facts.into(),
            unregistered: None,
        });
        Some(IdentifiedFactsRead { facts: identified.collect(), read_at })
    }

    /// Reads the facts of the undecided items and decides them. Afterwards every item that matters is decided. Memory
    /// serves once: it may lack the change after which the decisions could not be recorded.
    async fn read_and_decide(&mut self, may_use_memory: bool) -> Result<()> {
        let (indexes, questions) = self.undecided();
        if questions.is_empty() {
            return Ok(());
        }
        let in_memory = if may_use_memory { self.facts_in_memory(&questions) } else { None };
        let read = match in_memory {
            Some(read) => read,
            None => self.engines.store().identified_facts(&questions).await?,
        };
        // Before anything is recorded that the caller would not be answered.
        self.call.confirm_incarnation(read.read_at.revision)?;
        self.last_read = Some(read.read_at.revision);
        // Read after the facts: an assignment that ends between the two grants nothing.
        let moment = (read.read_at, self.engines.now());
        for (index, identified) in indexes.into_iter().zip(&read.facts) {
            let Some(item) = self.items.get_mut(index) else { continue };
            let Some((asking, _)) = &item.asked else { continue };
            let keeps = item.ticket.is_some();
            item.result = Some(item::decide(*asking, identified, moment, keeps));
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

    fn drafts(&self) -> Drafts<'a> {
        Drafts::new(self.call, self.engines.core.settings.audit_context, self.member)
    }

    /// Records the decisions that matter in one append. Returns `false` when the registry has changed since their facts
    /// were read: then none of them is recorded.
    async fn record(&mut self) -> Result<bool> {
        let mut make = self.drafts();
        let (mut indexes, mut drafts) = (Vec::new(), Vec::new());
        for (index, asking, decided) in self.unrecorded() {
            drafts.push(make.draft(asking, decided)?);
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
            let locked = Mutex::new(LockedDecisions::new(self.drafts()));
            let decide = |at: usize, identified: &IdentifiedFacts, read_at: ReadAt| {
                let item = indexes.get(at).and_then(|index| self.items.get(*index));
                let Some(item) = item else { return Ok(None) };
                locked.lock().unwrap_or_else(PoisonError::into_inner).add(self, item, identified, read_at)
            };
            match self.engines.store().append_identified_decisions(&questions, &decide).await {
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
            let (Some((asking, _)), Some(ItemResult::Decided(decided))) = (&item.asked, &mut item.result) else {
                continue;
            };
            let revision = decided.basis.read_at.revision;
            self.call.confirm_incarnation(revision)?;
            oldest = oldest.filter(|oldest| *oldest <= revision).or(Some(revision));
            let decision = decided.evaluated.decision;
            engines.cache.count_decision(decided.tier, decision.allowed);
            engines.condition_errors.report(&decided.evaluated.errors);
            log(*asking, decided);
            // Another id may be behind the names than when the ticket was issued, or none.
            if let (Some((resolution, span)), Some((question, ticket))) = (decided.fresh.take(), &item.ticket)
                && decided.ids.are_complete()
                && *question == decided.ids.question
            {
                engines.cache.store(question, ticket, (resolution.into(), decided.basis.clone()), span, decided.now);
            }
        }
        // Without a decision, the state on which every item failed.
        if let Some(revision) = oldest.or(self.last_read) {
            self.call.confirm_incarnation(revision)?;
            self.call.set_answered_at(revision);
        }
        Ok(())
    }
}

/// What is decided under the ledger's lock, in the order of the questions.
struct LockedDecisions<'a> {
    drafts: Drafts<'a>,
    results: Vec<ItemResult>,
    copies: Vec<Draft>,
    /// The time of all decisions, after the facts were read.
    now: Option<Timestamp>,
    /// Whether an item has ended the batch.
    ended: bool,
    /// Why the batch is refused.
    error: Option<Error>,
}

impl<'a> LockedDecisions<'a> {
    fn new(drafts: Drafts<'a>) -> Self {
        Self { drafts, results: Vec::new(), copies: Vec::new(), now: None, ended: false, error: None }
    }

    fn add(
        &mut self,
        run: &Run<'a>,
        item: &Item<'a>,
        identified: &IdentifiedFacts,
        read_at: ReadAt,
    ) -> std::result::Result<Option<Draft>, StoreError> {
        let Some((asking, _)) = item.asked.as_ref().filter(|_| !self.ended) else { return Ok(None) };
        if let Err(error) = run.call.confirm_incarnation(read_at.revision) {
            return self.refuse(error);
        }
        let now = *self.now.get_or_insert_with(|| run.engines.now());
        let result = item::decide(*asking, identified, (read_at, now), item.ticket.is_some());
        self.ended = run.semantic.ends_with(result.allowed());
        let draft = match &result {
            ItemResult::Decided(decided) if run.wants_entry(decided) => Some(self.drafts.draft(*asking, decided)),
            _ => None,
        };
        self.results.push(result);
        let draft = draft.transpose();
        if let Ok(Some(draft)) = &draft {
            self.copies.extend(audit_log::copy_of_decision(draft));
        }
        draft.or_else(|error| self.refuse(error))
    }

    /// Ends the transaction: nothing of a refused batch is recorded.
    fn refuse<T>(&mut self, error: Error) -> std::result::Result<T, StoreError> {
        self.error = Some(error);
        Err(StoreError::TooLarge("the decisions of a batch cannot be recorded"))
    }
}
