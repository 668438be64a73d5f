//! The check: facts, decision, log.

use tracing::info;

use super::{entities, record};
use crate::authz::{Decision, Question, Reason, decide};
use crate::error::Result;
use crate::settings::AuditDecisions;
use crate::{Call, Epr};

impl Epr {
    /// Decides `question` at this moment.
    ///
    /// # Errors
    /// `NotFound` when the resource is unknown; `Unavailable` when the facts cannot be read: then there is no decision. The same when the decision is
    /// to be recorded and cannot be.
    pub async fn check(&self, call: &Call, question: &Question) -> Result<Decision> {
        let facts = self.store().facts(question).await?;
        let facts = facts.ok_or_else(|| entities::not_found(question.resource_id))?;
        // Read after the facts: an assignment that ends between the two no longer counts.
        let now = self.now();
        let decision = decide(question, &facts, now);
        let recorded = match self.audit_decisions() {
            AuditDecisions::All => true,
            AuditDecisions::Denied => !decision.allowed,
            AuditDecisions::Off => false,
        };
        if recorded {
            self.record(vec![record::evaluated(call, now, question, facts.resource_type, &decision)?]).await?;
        }
        self.metrics().decided(decision.allowed, "evaluated");
        log(question, &decision);
        Ok(decision)
    }
}

fn log(question: &Question, decision: &Decision) {
    let Question { principal_id, principal_type, action, resource_id } = question;
    match decision.reason {
        Reason::Granted { assignment_id, .. } => info!(
            %principal_id, principal_type = principal_type.as_str(), action = action.as_str(), %resource_id,
            %assignment_id, "authorization_granted"
        ),
        reason => info!(
            %principal_id, principal_type = principal_type.as_str(), action = action.as_str(), %resource_id,
            reason = reason.code(), "authorization_denied"
        ),
    }
}
