//! The past: decisions about it, and the history that they rest on.

use super::Epr;
use crate::call::Call;
use crate::decision::{Decision, Question};
use crate::domain::{JsonObject, Moment, Revision};
use crate::error::Result;
use crate::handlers::asked::Asked;
use crate::handlers::review;
use crate::history::reconcile::{Difference, Reconciler, Reconciliation};
use crate::history::verify::{HistoryVerification, HistoryVerifier, VersionDifference};
use crate::store::{HistoryReport, HistoryState};

/// History.
impl Epr {
    /// Decides `question` in a context at `moment`. A decision about the past is never cached, and always recorded.
    ///
    /// # Errors
    /// Those of [`Epr::check_in_context`]; `Refused` when history does not have the moment, `Conflict` when the
    /// revision is of another incarnation, `HistoryIncomplete`.
    pub async fn check_at(
        &self,
        call: &Call,
        question: &Question,
        context: &JsonObject,
        moment: Moment,
    ) -> Result<Decision> {
        if moment.is_now() {
            return self.check_in_context(call, question, context).await;
        }
        Ok(Box::pin(review::check(&self.engines, Asked { call, question, context }, moment)).await?.0)
    }

    /// Up to which entry history is complete, and from which on it can be asked.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn history_state(&self) -> Result<HistoryState> {
        Ok(self.store().history_state().await?)
    }

    /// Compares every row of the registry with what its ledger entries say it is, and passes each difference to `take`
    /// until it returns `false`: fields changed outside EPR, rows that are missing, rows that no entry explains. Reads
    /// one snapshot, row by row.
    ///
    /// # Errors
    /// The database is unavailable: then nothing is known.
    pub async fn reconcile(
        &self,
        take: &mut (dyn FnMut(Difference) -> bool + Send),
    ) -> Result<(Reconciliation, Revision)> {
        let mut reconciler = Reconciler::new(take);
        let revision = self.store().registry_and_ledger(&mut |joined| reconciler.add(joined)).await?;
        Ok((reconciler.finish(), revision))
    }

    /// Compares every version of history with what the ledger makes, and passes each difference to `take` until it
    /// returns `false`: versions that were changed, added or removed, and states without their time. Reads one
    /// snapshot, row by row, as far as history is complete.
    ///
    /// # Errors
    /// The database is unavailable: then nothing is known.
    pub async fn verify_history(
        &self,
        take: &mut (dyn FnMut(VersionDifference) -> bool + Send),
    ) -> Result<(HistoryVerification, HistoryState)> {
        let began = self.history_state().await?.began;
        let mut verifier = HistoryVerifier::new(began, take);
        let state = self.store().versions_and_ledger(&mut |item| verifier.add(item)).await?;
        Ok((verifier.finish(), state))
    }

    /// Completes history from the ledger: after entries of a program that writes none. [`Epr::migrate`] does the same.
    ///
    /// # Errors
    /// The database is unavailable. What is done stays done.
    pub async fn complete_history(&self) -> Result<HistoryReport> {
        Ok(self.store().complete_history().await?)
    }

    /// Deletes history and recreates it from the ledger. The past cannot be asked until it is complete.
    ///
    /// # Errors
    /// The database is unavailable; [`Epr::complete_history`] goes on where this ended.
    pub async fn rebuild_history(&self) -> Result<HistoryReport> {
        Ok(self.store().rebuild_history().await?)
    }
}
