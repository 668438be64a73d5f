//! Explanations: why a check is answered as it is.
//!
//! Must never answer from the decision cache, and never before the explanation is recorded.

use tracing::info;

use super::asked::Asked;
use super::check::wrong_context;
use super::question_body::check_context;
use super::{entities, record};
use crate::decision::{Explanation, explain as explain_facts};
use crate::engine::fact_reader::FactsAtRevision;
use crate::engine::{Engines, revisions};
use crate::error::{Error, Result};
use crate::store::StoreError;

/// Explains the decision of the question at the present time, and records that it was explained.
///
/// # Errors
/// `NotFound` when the resource is unknown; `Invalid` when the context has a declared parameter with another type, or
/// is too large.
pub(crate) async fn explain(engines: &Engines, asked: Asked<'_>) -> Result<Explanation> {
    let Asked { call, question, context } = asked;
    check_context(context).map_err(|problem| Error::field("context", problem))?;
    revisions::reach(engines, call).await?;
    // From memory where a check is, so that it is the check's answer which is explained. Names are not in memory.
    let seen = engines.graph.facts(question, call.at_least.map(|at_least| at_least.revision));
    let seen = seen.map(|FactsAtRevision { facts, read_at }| (facts, read_at));
    let named = engines.store().named_facts(question, seen).await?;
    let named = named.ok_or_else(|| entities::not_found(question.resource_id))?;
    call.confirm_incarnation(named.revision)?;
    // Read after the facts, as a check does.
    let now = engines.now();
    let explanation = explain_facts(question, &named, context, now).map_err(wrong_context)?;
    let draft = record::explained(asked, now, &explanation)?;
    engines.ledger.record(vec![draft]).await.map_err(StoreError::from)?;
    call.set_answered_at(named.revision);
    info!(
        principal_id = %question.principal_id, principal_type = question.principal_type.as_str(),
        action = question.action.as_str(), resource_id = %question.resource_id, allowed = explanation.decision,
        reason = explanation.reason, "authorization_explained"
    );
    Ok(explanation)
}
