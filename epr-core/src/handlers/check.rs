//! The check: what is cached, or facts, decision, log.

use tracing::{debug, info};

use super::{entities, record};
use crate::authz::{Decision, Facts, Question, Reason, decide};
use crate::cache::{Lookup, Source, Ticket};
use crate::error::Result;
use crate::settings::AuditDecisions;
use crate::{Call, Epr};

/// A check under way.
pub(crate) enum Begun {
    /// It was answered before, and would be answered the same now.
    Known(Decision),
    /// It is to be decided.
    Open(Ticket, Facts),
}

impl Epr {
    /// Decides `question` at this moment.
    ///
    /// # Errors
    /// `NotFound` when the resource is unknown; `Unavailable` when the facts cannot be read: then there is no decision. The same when the decision is
    /// to be recorded and cannot be.
    pub async fn check(&self, call: &Call, question: &Question) -> Result<Decision> {
        match self.begin_check(question).await? {
            Begun::Known(decision) => Ok(decision),
            Begun::Open(ticket, facts) => self.finish_check(call, question, &ticket, &facts).await,
        }
    }

    /// The first half: what is cached, or the facts.
    pub(crate) async fn begin_check(&self, question: &Question) -> Result<Begun> {
        // INVARIANT: the ticket is older than the facts.
        let ticket = match self.cache().lookup(question, || self.now()).await {
            Lookup::Hit(decision, source) => {
                self.cache().decided(source, decision.allowed);
                log_hit(question, &decision);
                return Ok(Begun::Known(decision));
            }
            Lookup::Miss(ticket) => ticket,
        };
        let facts = self.facts(question).await?;
        let facts = facts.ok_or_else(|| entities::not_found(question.resource_id))?;
        Ok(Begun::Open(ticket, facts))
    }

    /// The second half: decides, records, and keeps the decision.
    pub(crate) async fn finish_check(
        &self,
        call: &Call,
        question: &Question,
        ticket: &Ticket,
        facts: &Facts,
    ) -> Result<Decision> {
        // Read after the facts: an assignment that ends between the two no longer counts.
        let now = self.now();
        let decision = decide(question, facts, now);
        let recorded = match self.audit_decisions() {
            AuditDecisions::All => true,
            AuditDecisions::Denied => !decision.allowed,
            AuditDecisions::Off => false,
        };
        if recorded {
            self.record(vec![record::evaluated(call, now, question, facts.resource_type, &decision)?]).await?;
        }
        // After the record: what could not be recorded is not answered, now or later.
        self.cache().keep(question, ticket, &decision, facts.span(now), now);
        self.cache().decided(Source::evaluated, decision.allowed);
        log(question, &decision);
        Ok(decision)
    }
}

fn log_hit(question: &Question, decision: &Decision) {
    let Question { principal_id, principal_type, action, resource_id } = question;
    debug!(
        %principal_id, principal_type = principal_type.as_str(), action = action.as_str(), %resource_id,
        allowed = decision.allowed, "authorization_cache_hit"
    );
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
