//! Reviews: what a check or an explanation would have answered at a moment of the past.
//!
//! The rule, the facts' statement and the explanation are those of the present. Must never answer from a cache or store
//! an answer in one, and never answer before the review is recorded.

use tracing::info;

use super::asked::Asked;
use super::check::wrong_context;
use super::entities;
use super::question_body::check_context;
use super::record::{self, Reviewed};
use crate::decision::{Decision, Explanation, Question, explain as explain_facts};
use crate::domain::{Moment, PastMoment};
use crate::engine::{Engines, revisions};
use crate::error::{Error, Result};
use crate::ledger::chain::Draft;
use crate::store::StoreError;

/// Decides the question at `moment`.
///
/// # Errors
/// `NotFound` when the resource did not exist; `Refused`, `Conflict` and `Unavailable` when the moment cannot be asked.
pub(crate) async fn check(engines: &Engines, asked: Asked<'_>, moment: Moment) -> Result<(Decision, PastMoment)> {
    let Asked { call, question, context } = asked;
    check_context(context).map_err(|problem| Error::field("context", problem))?;
    revisions::reach(engines, call).await?;
    let (past, facts) = engines.store().past_facts(question, moment, engines.now()).await?;
    call.confirm_incarnation(past.revision)?;
    let facts = facts.ok_or_else(|| entities::not_found(question.resource_id))?;
    let resolution = facts.resolve(question, past.at);
    let evaluated = resolution.evaluate(question, context, past.at).map_err(wrong_context)?;
    engines.condition_errors.report(&evaluated.errors);
    let reviewed = Reviewed { past, resource_type: &facts.resource.entity_type };
    let audit_context = engines.core.settings.audit_context;
    let draft = record::reviewed_check(asked, engines.now(), &evaluated, reviewed, audit_context)?;
    append(engines, draft).await?;
    call.set_answered_at(past.revision);
    log(question, evaluated.decision.allowed, past);
    Ok((evaluated.decision, past))
}

/// Explains the decision of the question at `moment`.
///
/// # Errors
/// Those of [`check`].
pub(crate) async fn explain(engines: &Engines, asked: Asked<'_>, moment: Moment) -> Result<(Explanation, PastMoment)> {
    let Asked { call, question, context } = asked;
    check_context(context).map_err(|problem| Error::field("context", problem))?;
    revisions::reach(engines, call).await?;
    let (past, named) = engines.store().past_named_facts(question, moment, engines.now()).await?;
    call.confirm_incarnation(past.revision)?;
    let named = named.ok_or_else(|| entities::not_found(question.resource_id))?;
    let explanation = explain_facts(question, &named, context, past.at).map_err(wrong_context)?;
    let draft = record::reviewed_explanation(asked, engines.now(), &explanation)?;
    append(engines, draft).await?;
    call.set_answered_at(past.revision);
    log(question, explanation.decision, past);
    Ok((explanation, past))
}

/// Records a review; without its entry there is no answer.
pub(super) async fn append(engines: &Engines, draft: Draft) -> Result<()> {
    engines.ledger.record(vec![draft]).await.map_err(StoreError::from)?;
    Ok(())
}

fn log(question: &Question, allowed: bool, past: PastMoment) {
    info!(
        principal_id = %question.principal_id, principal_type = question.principal_type.as_str(),
        action = question.action.as_str(), resource_id = %question.resource_id, allowed,
        revision = %past.revision, at = %past.at, "authorization_reviewed"
    );
}
