//! The check: the cached answer, or facts, decision, ledger entry and log line.
//!
//! Must never turn an error into a decision.

use std::sync::{Mutex, PoisonError};

use tracing::{debug, info};
use uuid::Uuid;

use super::asked::Asked;
use super::question_body::check_context;
use super::{audit_log, entities, record};
use crate::Call;
use crate::decision::{Decision, Evaluated, Facts, Question, Reason, Resolution, Sent, Span, WrongContext};
use crate::domain::fields::{Choice as _, FieldError, Problem};
use crate::domain::{Invalid, Timestamp};
use crate::engine::Engines;
use crate::engine::cache::{Answer, Basis, CacheTier, Hit, Lookup, Ticket};
use crate::engine::contention::ContentionRetry;
use crate::engine::fact_reader::FactsAtRevision;
use crate::engine::ledger_writer::count_recorded;
use crate::engine::revisions;
use crate::error::{Error, Result};
use crate::ledger::chain::Draft;
use crate::settings::AuditDecisions;
use crate::store::{Appended, ReadAt, StoreError};

/// The number of times a decision is recorded through the group writer, and made again if its facts have changed
/// meanwhile. After that it is made under the ledger's lock.
pub(super) const MAX_OPTIMISTIC_ATTEMPTS: u32 = 2;

/// A decision, what the facts say whatever the context is, and its time.
struct Decided {
    evaluated: Evaluated,
    resolution: Resolution,
    basis: Basis,
    /// The time for which the resolution holds while the facts do.
    span: Span,
    now: Timestamp,
}

/// The first half of a check.
pub(crate) enum Begun {
    /// The cache has an answer that is still valid.
    Cached(Hit),
    /// The facts, for an answer that may be stored with the ticket.
    Undecided(Ticket, Box<FactsAtRevision>),
}

/// Decides a question at this moment.
///
/// What is answered from memory waits for nothing. Everything else is boxed: the state of all of it would be copied
/// with each future around this one, for every check.
pub(crate) async fn check(engines: &Engines, asked: Asked<'_>) -> Result<Decision> {
    check_context(asked.context).map_err(|problem| Error::field("context", problem))?;
    let Asked { call, question, context } = asked;
    match begin_check(engines, call, question).await? {
        Begun::Cached(Hit { answer, tier, basis, now }) => {
            call.confirm_incarnation(basis.read_at.revision)?;
            let evaluated = evaluate_cached(&answer, question, context, now).map_err(wrong_context)?;
            let is_recorded = match engines.core.settings.audit_decisions {
                AuditDecisions::Every => Box::pin(record_cached(engines, asked, &evaluated, &basis, now)).await?,
                AuditDecisions::All | AuditDecisions::Denied | AuditDecisions::Off => true,
            };
            if is_recorded {
                call.set_answered_at(basis.read_at.revision);
                let decision = evaluated.decision;
                engines.condition_errors.report(&evaluated.errors);
                engines.cache.count_decision(tier, decision.allowed);
                log_hit(question, &decision);
                return Ok(decision);
            }
            Box::pin(check_again(engines, asked)).await
        }
        Begun::Undecided(ticket, seen) => finish_check(engines, asked, &ticket, *seen).await,
    }
}

/// Decides a question whose cached answer was outdated by the time it was to be recorded.
async fn check_again(engines: &Engines, asked: Asked<'_>) -> Result<Decision> {
    let ticket = engines.cache.ticket(asked.question);
    let seen = read_facts(engines, asked.question).await?;
    finish_check(engines, asked, &ticket, seen).await
}

/// Makes the decision of a cached answer with what the caller sent.
pub(crate) fn evaluate_cached<'s>(
    answer: &Answer,
    question: &Question,
    sent: impl Into<Sent<'s>>,
    now: Timestamp,
) -> std::result::Result<Evaluated, WrongContext> {
    match answer {
        Answer::Decision(decision) => Ok(Evaluated::unconditional(*decision)),
        Answer::Residual(residual) => residual.evaluate(question.action.as_str(), sent, now),
    }
}

/// One failing field for each parameter that the context holds with another type.
pub(super) fn wrong_context(wrong: WrongContext) -> Error {
    Error::Invalid(wrong_parameters(wrong))
}

/// [`wrong_context`], as the fields only.
fn wrong_parameters(WrongContext(parameters): WrongContext) -> Invalid {
    let fields: Vec<FieldError> = parameters
        .into_iter()
        .flat_map(|parameter| {
            let expected = parameter.expected.word();
            let msg = format!("A condition declares this parameter as `{expected}`; send a value of that type");
            Invalid::one("body", Some("context"), Problem::new("parameter_type", msg).under(&parameter.name)).0
        })
        .collect();
    Invalid(fields)
}

/// Records a decision from the cache, which was made at `now`. Returns `false` when it must be evaluated again, because
/// the registry has changed since its facts were read.
async fn record_cached(
    engines: &Engines,
    asked: Asked<'_>,
    evaluated: &Evaluated,
    basis: &Basis,
    now: Timestamp,
) -> Result<bool> {
    let draft = record::decided(asked, now, evaluated, basis, engines.core.settings.audit_context, true)?;
    let copy = audit_log::copy_of_decision(&draft);
    let appended = engines.ledger.record(vec![draft]).await.map_err(StoreError::from)?;
    audit_log::decision(copy.as_ref(), &appended);
    Ok(appended.first() != Some(&Appended::Outdated))
}

/// Reads the facts from the database, also for a decision that was made from memory and turned out to be outdated.
async fn read_facts(engines: &Engines, question: &Question) -> Result<FactsAtRevision> {
    engines.facts.read(question).await?.ok_or_else(|| entities::not_found(question.resource_id))
}

/// The first half: the cached answer, or the facts. Both rest on the state that `call` names, or a later one.
pub(crate) async fn begin_check(engines: &Engines, call: &Call, question: &Question) -> Result<Begun> {
    engines.list_turns.count_check();
    match begin_in_memory(engines, call, question)? {
        Some(begun) => Ok(begun),
        None => Box::pin(begin_elsewhere(engines, call, question)).await,
    }
}

/// [`begin_check`] from the cache and the registry in the memory of this process.
fn begin_in_memory(engines: &Engines, call: &Call, question: &Question) -> Result<Option<Begun>> {
    if !engines.graph.is_loaded() {
        return Ok(None);
    }
    let at_least = call.at_least.map(|at_least| at_least.revision);
    // INVARIANT: the ticket is issued before the events of the question are read, which the facts include.
    let ticket = match engines.cache.lookup_in_memory(question, at_least, engines.now()) {
        Lookup::Hit(hit) => return Ok(Some(Begun::Cached(hit))),
        Lookup::Miss(ticket) => ticket,
    };
    let Some(seen) = engines.graph.facts(question, at_least) else { return Ok(None) };
    call.confirm_incarnation(seen.read_at.revision)?;
    Ok(Some(Begun::Undecided(ticket, Box::new(seen))))
}

/// [`begin_check`] from the shared cache or the database.
async fn begin_elsewhere(engines: &Engines, call: &Call, question: &Question) -> Result<Begun> {
    let at_least = call.at_least.map(|at_least| at_least.revision);
    // INVARIANT: the ticket is issued before the facts are read.
    let ticket = match engines.cache.lookup(question, at_least, || engines.now()).await {
        Lookup::Hit(hit) => return Ok(Begun::Cached(hit)),
        Lookup::Miss(ticket) => ticket,
    };
    revisions::reach(engines, call).await?;
    let seen = read_facts(engines, question).await?;
    call.confirm_incarnation(seen.read_at.revision)?;
    Ok(Begun::Undecided(ticket, Box::new(seen)))
}

/// The second half: decides, records, and caches the answer.
pub(crate) async fn finish_check(
    engines: &Engines,
    asked: Asked<'_>,
    ticket: &Ticket,
    seen: FactsAtRevision,
) -> Result<Decision> {
    let Decided { evaluated, resolution, basis, span, now } = decide_and_record(engines, asked, seen).await?;
    // After the record: a decision that could not be recorded is never answered.
    asked.call.set_answered_at(basis.read_at.revision);
    let Evaluated { decision, errors, .. } = evaluated;
    engines.cache.store(asked.question, ticket, (resolution.into(), basis), span, now);
    engines.cache.count_decision(CacheTier::evaluated, decision.allowed);
    engines.condition_errors.report(&errors);
    log(asked.question, &decision);
    Ok(decision)
}

/// INVARIANT: the recorded decision is the answered one, and no decision is recorded after a change that contradicts
/// it: if the facts have changed by then, it is not recorded, and made again.
async fn decide_and_record(engines: &Engines, asked: Asked<'_>, seen: FactsAtRevision) -> Result<Decided> {
    match decide_now(engines, asked, &seen.facts, seen.read_at)? {
        (decided, None) => Ok(decided),
        (decided, Some(draft)) => Box::pin(record_decided(engines, asked, decided, draft)).await,
    }
}

/// Records a decision, and makes it again while its facts are outdated.
async fn record_decided(
    engines: &Engines,
    asked: Asked<'_>,
    mut decided: Decided,
    mut draft: Draft,
) -> Result<Decided> {
    for attempt in 1.. {
        let copy = audit_log::copy_of_decision(&draft);
        let appended = engines.ledger.record(vec![draft]).await.map_err(StoreError::from)?;
        if appended.first() != Some(&Appended::Outdated) {
            audit_log::decision(copy.as_ref(), &appended);
            return Ok(decided);
        }
        if attempt == MAX_OPTIMISTIC_ATTEMPTS {
            break;
        }
        let seen = read_facts(engines, asked.question).await?;
        match decide_now(engines, asked, &seen.facts, seen.read_at)? {
            (decided, None) => return Ok(decided),
            (again, Some(again_draft)) => (decided, draft) = (again, again_draft),
        }
    }
    decide_under_lock(engines, asked).await
}

/// Reads the facts, decides and records under the ledger's lock, so that nothing can change in between.
async fn decide_under_lock(engines: &Engines, asked: Asked<'_>) -> Result<Decided> {
    let mut retry = ContentionRetry::begin();
    loop {
        let (made, copy) = (Mutex::new(None), Mutex::new(None));
        let decide = |_: usize, facts: Option<&Facts>, read_at: ReadAt| {
            let made_now = match facts {
                Some(facts) => decide_now(engines, asked, facts, read_at),
                None => Err(entities::not_found(asked.question.resource_id)),
            };
            let (made_now, draft) = match made_now {
                Ok((decided, draft)) => (Ok(decided), draft),
                Err(error) => (Err(error), None),
            };
            *made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made_now);
            *copy.lock().unwrap_or_else(PoisonError::into_inner) = draft.as_ref().and_then(audit_log::copy_of_decision);
            draft
        };
        match engines.store().append_decisions(std::slice::from_ref(asked.question), &decide).await {
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
fn decide_now(engines: &Engines, asked: Asked<'_>, facts: &Facts, read_at: ReadAt) -> Result<(Decided, Option<Draft>)> {
    // Read after the facts: an assignment that ends between the two grants nothing.
    let now = engines.now();
    let resolution = facts.resolve(asked.question, now);
    let evaluated = resolution.evaluate(asked.question, asked.context, now).map_err(wrong_context)?;
    let is_recorded = is_recorded(engines, &evaluated.decision);
    let basis = Basis { read_at, resource_type: facts.resource.entity_type.clone() };
    let draft = if is_recorded {
        Some(record::decided(asked, now, &evaluated, &basis, engines.core.settings.audit_context, false)?)
    } else {
        None
    };
    Ok((Decided { evaluated, resolution, basis, span: facts.span(now), now }, draft))
}

/// Whether the settings ask for a ledger entry of a decision that was evaluated.
pub(super) fn is_recorded(engines: &Engines, decision: &Decision) -> bool {
    match engines.core.settings.audit_decisions {
        AuditDecisions::Every | AuditDecisions::All => true,
        AuditDecisions::Denied => !decision.allowed,
        AuditDecisions::Off => false,
    }
}

// `user_id` is the older name of `principal_id`; alarms depend on it. Each check has such a line: texts cost less there
// than values that are formatted.
fn log_hit(question: &Question, decision: &Decision) {
    let Question { principal_id, principal_type, action, resource_id } = question;
    debug!(
        user_id = %principal_id, %principal_id, principal_type = principal_type.as_str(),
        action = action.as_str(), %resource_id, allowed = decision.allowed, "authorization_cache_hit"
    );
}

fn log(question: &Question, decision: &Decision) {
    let mut texts = [Uuid::encode_buffer(); 3];
    let [principal, resource, assignment] = &mut texts;
    let principal_id: &str = question.principal_id.hyphenated().encode_lower(principal);
    let resource_id: &str = question.resource_id.hyphenated().encode_lower(resource);
    let (principal_type, action) = (question.principal_type.as_str(), question.action.as_str());
    match decision.reason {
        Reason::Granted { assignment_id, .. } => {
            let assignment_id: &str = assignment_id.hyphenated().encode_lower(assignment);
            info!(
                user_id = principal_id,
                principal_id, principal_type, action, resource_id, assignment_id, "authorization_granted"
            );
        }
        reason @ Reason::Denied(_) => info!(
            user_id = principal_id,
            principal_id,
            principal_type,
            action,
            resource_id,
            reason = reason.code(),
            "authorization_denied"
        ),
    }
}
