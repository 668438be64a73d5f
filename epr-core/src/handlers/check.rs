//! The check: what is cached, or facts, decision, log.

use std::sync::{Mutex, PoisonError};

use tracing::{debug, info};

use super::{audit_log, entities, record};
use crate::call::Call;
use crate::decision::{Decision, Facts, Question, Reason, decide};
use crate::domain::Timestamp;
use crate::engine::Engines;
use crate::engine::cache::{Basis, Lookup, Source, Ticket};
use crate::engine::contention::ContentionRetry;
use crate::engine::fact_reader::FactsAtRevision;
use crate::engine::ledger_writer::recorded;
use crate::error::Result;
use crate::ledger::chain::Draft;
use crate::settings::AuditDecisions;
use crate::store::{Appended, StoreError};

/// How often a decision is recorded together with those of other callers, and made again when its facts have changed meanwhile. Then it
/// is made while nothing can change.
const ATTEMPTS: u32 = 2;

/// A decision, what it was made from, and when.
struct Decided {
    decision: Decision,
    facts: Facts,
    /// The revision of the ledger at which they were read.
    revision: i64,
    now: Timestamp,
}

/// A check under way.
pub(crate) enum Begun {
    /// It was answered before, and would be answered the same now.
    Known(Decision, Source, Option<Basis>),
    /// It is to be decided.
    Open(Ticket, FactsAtRevision),
}

/// Decides `question` at this moment.
///
/// # Errors
/// `NotFound` when the resource is unknown; `Unavailable` when the facts cannot be read: then there is no decision. The same when the decision is
/// to be recorded and cannot be.
pub(crate) async fn check(engines: &Engines, call: &Call, question: &Question) -> Result<Decision> {
    match begin_check(engines, question).await? {
        Begun::Known(decision, source, basis) => {
            let is_recorded = match engines.core.settings.audit_decisions {
                AuditDecisions::Every => record_known(engines, call, question, &decision, basis).await?,
                AuditDecisions::All | AuditDecisions::Denied | AuditDecisions::Off => true,
            };
            if is_recorded {
                engines.cache.decided(source, decision.allowed);
                log_hit(question, &decision);
                return Ok(decision);
            }
            let ticket = engines.cache.ticket(question);
            let seen = read_facts(engines, question).await?;
            finish_check(engines, call, question, &ticket, seen).await
        }
        Begun::Open(ticket, seen) => finish_check(engines, call, question, &ticket, seen).await,
    }
}

/// Records an answer from the cache; `false` when the registry has changed since it was evaluated, so that it is to be evaluated
/// once more, or when its basis is not known.
async fn record_known(
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

/// The first half: what is cached, or the facts.
pub(crate) async fn begin_check(engines: &Engines, question: &Question) -> Result<Begun> {
    // INVARIANT: the ticket is older than the facts.
    let ticket = match engines.cache.lookup(question, || engines.now()).await {
        Lookup::Hit(decision, source, basis) => {
            return Ok(Begun::Known(decision, source, basis));
        }
        Lookup::Miss(ticket) => ticket,
    };
    Ok(Begun::Open(ticket, read_facts(engines, question).await?))
}

/// The second half: decides, records, and keeps the decision.
pub(crate) async fn finish_check(
    engines: &Engines,
    call: &Call,
    question: &Question,
    ticket: &Ticket,
    seen: FactsAtRevision,
) -> Result<Decision> {
    let Decided { decision, facts, revision, now } = decide_and_record(engines, call, question, seen).await?;
    // After the record: what could not be recorded is not answered, now or later.
    let basis = Basis { revision, resource_type: facts.resource_type };
    engines.cache.keep(question, ticket, (&decision, basis), facts.span(now), now);
    engines.cache.decided(Source::evaluated, decision.allowed);
    log(question, &decision);
    Ok(decision)
}

/// INVARIANT: what is recorded is what is answered, and no entry stands behind the change that contradicts it: a decision whose
/// facts have changed by then is not recorded, and made again.
async fn decide_and_record(
    engines: &Engines,
    call: &Call,
    question: &Question,
    mut seen: FactsAtRevision,
) -> Result<Decided> {
    for _ in 0..ATTEMPTS {
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

/// Reads, decides and records while nothing can change.
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
                Err(fault) => (Err(fault), None),
            };
            *made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made_now);
            *copy.lock().unwrap_or_else(PoisonError::into_inner) = draft.as_ref().and_then(audit_log::copy_of_decision);
            draft
        };
        match engines.store().append_decisions(std::slice::from_ref(question), &decide).await {
            Err(StoreError::Contention(_)) if retry.next_attempt().is_some() => {}
            Err(fault) => return Err(StoreError::Ledger(fault.into()).into()),
            Ok(appended) => {
                let appended: Vec<_> = appended.into_iter().flatten().collect();
                engines.core.metrics.ledger.entries.inc_by(recorded(&appended));
                audit_log::decision(copy.into_inner().unwrap_or_else(PoisonError::into_inner).as_ref(), &appended);
                let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
                return made.unwrap_or_else(|| Err(StoreError::corrupt("facts", "no decision was made").into()));
            }
        }
    }
}

/// The decision at this moment, and its entry if it is to be recorded.
fn decide_now(
    engines: &Engines,
    call: &Call,
    question: &Question,
    facts: Facts,
    revision: i64,
) -> Result<(Decided, Option<Draft>)> {
    // Read after the facts: an assignment that ends between the two no longer counts.
    let now = engines.now();
    let decision = decide(question, &facts, now);
    let is_recorded = match engines.core.settings.audit_decisions {
        AuditDecisions::Every | AuditDecisions::All => true,
        AuditDecisions::Denied => !decision.allowed,
        AuditDecisions::Off => false,
    };
    let draft = if is_recorded {
        Some(record::decided(call, now, question, &decision, (revision, facts.resource_type), false)?)
    } else {
        None
    };
    Ok((Decided { decision, facts, revision, now }, draft))
}

// `user_id` is the older name of `principal_id`, on which alarms rest.
fn log_hit(question: &Question, decision: &Decision) {
    let Question { principal_id, principal_type, action, resource_id } = question;
    debug!(
        user_id = %principal_id, %principal_id, principal_type = principal_type.as_str(), action = action.as_str(), %resource_id,
        allowed = decision.allowed, "authorization_cache_hit"
    );
}

fn log(question: &Question, decision: &Decision) {
    let Question { principal_id, principal_type, action, resource_id } = question;
    match decision.reason {
        Reason::Granted { assignment_id, .. } => info!(
            user_id = %principal_id, %principal_id, principal_type = principal_type.as_str(), action = action.as_str(), %resource_id,
            %assignment_id, "authorization_granted"
        ),
        reason => info!(
            user_id = %principal_id, %principal_id, principal_type = principal_type.as_str(), action = action.as_str(), %resource_id,
            reason = reason.code(), "authorization_denied"
        ),
    }
}
