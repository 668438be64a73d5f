//! The check: the cached decision, or facts, decision, ledger entry and log line.
//!
//! Must never turn an error into a decision.

use std::sync::{Mutex, PoisonError};

use tracing::{debug, info};

use super::{audit_log, entities, record};
use crate::call::Call;
use crate::decision::{Decision, Facts, Question, Reason, decide};
use crate::domain::Timestamp;
use crate::engine::Engines;
use crate::engine::cache::{Basis, CacheTier, Lookup, Ticket};
use crate::engine::contention::ContentionRetry;
use crate::engine::fact_reader::FactsAtRevision;
use crate::engine::ledger_writer::count_recorded;
use crate::error::Result;
use crate::ledger::chain::Draft;
use crate::settings::AuditDecisions;
use crate::store::{Appended, StoreError};

/// The number of times a decision is recorded through the group writer, and made again if its facts have changed
/// meanwhile. After that it is made under the ledger's lock.
const MAX_OPTIMISTIC_ATTEMPTS: u32 = 2;

/// A decision, its facts, and its time.
struct Decided {
    decision: Decision,
    facts: Facts,
    /// The sequence of the last ledger entry that had changed what decisions depend on when the facts were read.
    revision: i64,
    now: Timestamp,
}

/// The first half of a check.
pub(crate) enum Begun {
    /// The cache has a decision that is still valid.
    Cached(Decision, CacheTier, Option<Basis>),
    /// The facts, for a decision that may be stored with the ticket.
    Undecided(Ticket, Box<FactsAtRevision>),
}

/// Decides `question` at this moment.
pub(crate) async fn check(engines: &Engines, call: &Call, question: &Question) -> Result<Decision> {
    match begin_check(engines, question).await? {
        Begun::Cached(decision, source, basis) => {
            let is_recorded = match engines.core.settings.audit_decisions {
                AuditDecisions::Every => record_cached(engines, call, question, &decision, basis).await?,
                AuditDecisions::All | AuditDecisions::Denied | AuditDecisions::Off => true,
            };
            if is_recorded {
                engines.cache.count_decision(source, decision.allowed);
                log_hit(question, &decision);
                return Ok(decision);
            }
            let ticket = engines.cache.ticket(question);
            let seen = read_facts(engines, question).await?;
            finish_check(engines, call, question, &ticket, seen).await
        }
        Begun::Undecided(ticket, seen) => finish_check(engines, call, question, &ticket, *seen).await,
    }
}

/// Records a decision from the cache. Returns `false` when it must be evaluated again, because the registry has changed
/// since its facts were read or because its basis is unknown.
async fn record_cached(
    engines: &Engines,
    call: &Call,
    question: &Question,
    decision: &Decision,
    basis: Option<Basis>,
) -> Result<bool> {
    let Some(Basis { revision, resource_type }) = basis else { return Ok(false) };
    let draft = record::decided(call, engines.now(), question, decision, (revision, resource_type), true)?;
    let copy = audit_log::copy_of_decision(&draft);
    let appended = engines.ledger.record(vec![draft]).await.map_err(StoreError::from)?;
    audit_log::decision(copy.as_ref(), &appended);
    Ok(appended.first() != Some(&Appended::Outdated))
}

async fn read_facts(engines: &Engines, question: &Question) -> Result<FactsAtRevision> {
    engines.facts.read(question).await?.ok_or_else(|| entities::not_found(question.resource_id))
}

/// The first half: the cached decision, or the facts.
pub(crate) async fn begin_check(engines: &Engines, question: &Question) -> Result<Begun> {
    // INVARIANT: the ticket is issued before the facts are read.
    let ticket = match engines.cache.lookup(question, || engines.now()).await {
        Lookup::Hit(decision, source, basis) => {
            return Ok(Begun::Cached(decision, source, basis));
        }
        Lookup::Miss(ticket) => ticket,
    };
    Ok(Begun::Undecided(ticket, Box::new(read_facts(engines, question).await?)))
}

/// The second half: decides, records, and caches the decision.
pub(crate) async fn finish_check(
    engines: &Engines,
    call: &Call,
    question: &Question,
    ticket: &Ticket,
    seen: FactsAtRevision,
) -> Result<Decision> {
    let Decided { decision, facts, revision, now } = decide_and_record(engines, call, question, seen).await?;
    // After the record: a decision that could not be recorded is never answered.
    let basis = Basis { revision, resource_type: facts.resource.entity_type };
    engines.cache.store(question, ticket, (&decision, basis), facts.span(now), now);
    engines.cache.count_decision(CacheTier::evaluated, decision.allowed);
    log(question, &decision);
    Ok(decision)
}

/// INVARIANT: the recorded decision is the answered one, and no decision is recorded after a change that contradicts
/// it: if the facts have changed by then, it is not recorded, and made again.
async fn decide_and_record(
    engines: &Engines,
    call: &Call,
    question: &Question,
    mut seen: FactsAtRevision,
) -> Result<Decided> {
    for _ in 0..MAX_OPTIMISTIC_ATTEMPTS {
        let (decided, draft) = decide_now(engines, call, question, seen.facts, seen.revision)?;
        let Some(draft) = draft else { return Ok(decided) };
        let copy = audit_log::copy_of_decision(&draft);
        let appended = engines.ledger.record(vec![draft]).await.map_err(StoreError::from)?;
        if appended.first() != Some(&Appended::Outdated) {
            audit_log::decision(copy.as_ref(), &appended);
            return Ok(decided);
        }
        seen = read_facts(engines, question).await?;
    }
    decide_under_lock(engines, call, question).await
}

/// Reads the facts, decides and records under the ledger's lock, so that nothing can change in between.
async fn decide_under_lock(engines: &Engines, call: &Call, question: &Question) -> Result<Decided> {
    let mut retry = ContentionRetry::begin();
    loop {
        let (made, copy) = (Mutex::new(None), Mutex::new(None));
        let decide = |_: usize, facts: Option<&Facts>, revision: i64| {
            let made_now = match facts {
                Some(facts) => decide_now(engines, call, question, facts.clone(), revision),
                None => Err(entities::not_found(question.resource_id)),
            };
            let (made_now, draft) = match made_now {
                Ok((decided, draft)) => (Ok(decided), draft),
                Err(error) => (Err(error), None),
            };
            *made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made_now);
            *copy.lock().unwrap_or_else(PoisonError::into_inner) = draft.as_ref().and_then(audit_log::copy_of_decision);
            draft
        };
        match engines.store().append_decisions(std::slice::from_ref(question), &decide).await {
            Err(StoreError::Contention(_)) if retry.next_attempt().is_some() => {}
            Err(error) => return Err(StoreError::Ledger(error.into()).into()),
            Ok(appended) => {
                let appended: Vec<_> = appended.into_iter().flatten().collect();
                engines.core.metrics.ledger.entries.inc_by(count_recorded(&appended));
                audit_log::decision(copy.into_inner().unwrap_or_else(PoisonError::into_inner).as_ref(), &appended);
                let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
                return made
                    .unwrap_or_else(|| Err(StoreError::corrupt("facts", "the store called for no decision").into()));
            }
        }
    }
}

/// The decision at this moment, and its ledger entry if the settings ask for one.
fn decide_now(
    engines: &Engines,
    call: &Call,
    question: &Question,
    facts: Facts,
    revision: i64,
) -> Result<(Decided, Option<Draft>)> {
    // Read after the facts: an assignment that ends between the two grants nothing.
    let now = engines.now();
    let decision = decide(question, &facts, now);
    let is_recorded = match engines.core.settings.audit_decisions {
        AuditDecisions::Every | AuditDecisions::All => true,
        AuditDecisions::Denied => !decision.allowed,
        AuditDecisions::Off => false,
    };
    let draft = if is_recorded {
        Some(record::decided(call, now, question, &decision, (revision, facts.resource.entity_type), false)?)
    } else {
        None
    };
    Ok((Decided { decision, facts, revision, now }, draft))
}

// `user_id` is the older name of `principal_id`; alarms depend on it.
fn log_hit(question: &Question, decision: &Decision) {
    let Question { principal_id, principal_type, action, resource_id } = question;
    debug!(
        user_id = %principal_id, %principal_id, principal_type = principal_type.as_str(),
        action = action.as_str(), %resource_id, allowed = decision.allowed, "authorization_cache_hit"
    );
}

fn log(question: &Question, decision: &Decision) {
    let Question { principal_id, principal_type, action, resource_id } = question;
    match decision.reason {
        Reason::Granted { assignment_id, .. } => info!(
            user_id = %principal_id, %principal_id, principal_type = principal_type.as_str(),
            action = action.as_str(), %resource_id, %assignment_id, "authorization_granted"
        ),
        reason @ Reason::Denied(_) => info!(
            user_id = %principal_id, %principal_id, principal_type = principal_type.as_str(),
            action = action.as_str(), %resource_id, reason = reason.code(), "authorization_denied"
        ),
    }
}
