//! Evaluations: single ones, and batches in which an item fails alone.
//!
//! Must never decide: [`super::super::batch`] does.

use super::super::batch::{Asking, Batch, Item, NamedAsking, decide};
use super::request::{Evaluation, Evaluations, Semantic, sentence};
use crate::Call;
use crate::domain::Invalid;
use crate::domain::fields::Problem;
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::store::StoreError;

/// The member of a body that lists the items.
const MEMBER: &str = "evaluations";

/// The answer about one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemAnswer {
    /// The decision.
    Decided(bool),
    /// There is none: what is wrong with the item, a sentence.
    Failed(String),
}

/// Decides one evaluation at this moment. `trusted`: the caller may state properties.
pub(crate) async fn evaluate(engines: &Engines, call: &Call, evaluation: &Evaluation, trusted: bool) -> Result<bool> {
    let names = engines.name_hashes.key(engines.store()).await?;
    let items = vec![Item::new(Asking::Names(NamedAsking { evaluation, trusted, names }))];
    let batch = Batch { items, semantic: Semantic::ExecuteAll, member: MEMBER };
    let answer = decide(engines, call, batch).await?.pop();
    Ok(answer.ok_or_else(|| StoreError::corrupt("facts", "no decision about the only item"))??.allowed)
}

/// Decides a batch; the answers end with the item that ends it.
pub(crate) async fn evaluate_batch(
    engines: &Engines,
    call: &Call,
    batch: &Evaluations,
    trusted: bool,
) -> Result<Vec<ItemAnswer>> {
    let names = engines.name_hashes.key(engines.store()).await?;
    let items = batch.items.iter().map(|item| match item {
        Ok(evaluation) => Item::new(Asking::Names(NamedAsking { evaluation, trusted, names })),
        Err(unreadable) => {
            let invalid = Invalid::one("body", None, Problem::new("item", unreadable.as_str()));
            Item::unreadable(Error::Invalid(invalid))
        }
    });
    let batch = Batch { items: items.collect(), semantic: batch.semantic, member: MEMBER };
    let answers = decide(engines, call, batch).await?.into_iter().map(|answer| match answer {
        Ok(decision) => ItemAnswer::Decided(decision.allowed),
        Err(Error::Invalid(invalid)) => ItemAnswer::Failed(sentence(&invalid)),
        Err(error) => ItemAnswer::Failed(error.to_string()),
    });
    Ok(answers.collect())
}
