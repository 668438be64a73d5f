//! The use cases of AuthZEN. Each method delegates to its handler.

use super::Epr;
use crate::call::Call;
use crate::error::Result;
use crate::handlers::authzen::{Evaluation, Evaluations, ItemAnswer, SearchPage, SearchRequest, evaluate, search};

/// AuthZEN Authorization API 1.0.
impl Epr {
    /// Decides an evaluation at this moment. Unknown subjects, actions and resources are denied, not rejected.
    /// `trusted`: what the caller states about subject, action and resource counts in conditions.
    ///
    /// # Errors
    /// `Invalid` when the context has a parameter of a condition that was evaluated with another type than the declared
    /// one. `Unavailable` when the facts cannot be read or the decision cannot be recorded: then there is no decision.
    pub async fn evaluate(&self, call: &Call, evaluation: &Evaluation, trusted: bool) -> Result<bool> {
        evaluate::evaluate(&self.engines, call, evaluation, trusted).await
    }

    /// Decides the items of a batch at this moment, in their order. The outcomes end with the item that ends the batch
    /// by its semantic. An item that fails has a sentence instead of a decision.
    ///
    /// # Errors
    /// `Unavailable` as for [`Epr::evaluate`], for the whole batch.
    pub async fn evaluate_batch(&self, call: &Call, batch: &Evaluations, trusted: bool) -> Result<Vec<ItemAnswer>> {
        evaluate::evaluate_batch(&self.engines, call, batch, trusted).await
    }

    /// Finds a page of the registered subjects or resources, or of the actions, for which an evaluation says yes at
    /// this moment. `trusted` as for [`Epr::evaluate`]; nothing that is stated about what is looked for counts.
    ///
    /// # Errors
    /// Those of [`Epr::evaluate`]; `Invalid` when the token is not one of this request.
    pub async fn search(&self, call: &Call, request: &SearchRequest, trusted: bool) -> Result<SearchPage> {
        search::search(&self.engines, call, request, trusted).await
    }
}
