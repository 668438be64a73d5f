//! Checks by the batch.

use super::Epr;
use crate::call::Call;
use crate::decision::Decision;
use crate::error::Result;
use crate::handlers::check_batch;
use crate::handlers::question_body::CheckItem;

impl Epr {
    /// Decides each of `checks` at this moment, in their order, with one read of facts and one append to the ledger. At
    /// most [`MAX_CHECKS`](crate::MAX_CHECKS). A check that fails has the error that it would have alone: its resource
    /// is unknown, or a condition declares a parameter of its context with another type. The others are decided.
    ///
    /// # Errors
    /// `Invalid` when there are too many checks or a context is out of bounds. `Unavailable` when the facts cannot be
    /// read or the decisions cannot be recorded: then there is no decision.
    pub async fn check_batch(&self, call: &Call, checks: &[CheckItem]) -> Result<Vec<Result<Decision>>> {
        check_batch::check_batch(&self.engines, call, checks).await
    }
}
