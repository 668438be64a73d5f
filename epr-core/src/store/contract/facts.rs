//! Reading facts: everything that a decision depends on, except the time.

use async_trait::async_trait;

use super::{Appended, Result};
use crate::decision::{Facts, NamedFacts, Question};
use crate::domain::Revision;
use crate::ledger::chain::Draft;

/// Makes the ledger entry of one question: its index, its facts, and the state that they were read at. `None` records
/// nothing.
pub type DraftDecision<'a> = &'a (dyn Fn(usize, Option<&Facts>, ReadAt) -> Option<Draft> + Send + Sync);

/// The state of the registry that facts were read at. Never newer than the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAt {
    /// The newest entry that changed the registry in any way.
    pub revision: Revision,
    /// The sequence of the newest entry that changed what decisions depend on; 0 when there is none. A decision is
    /// recorded only while it is the newest ([`Draft::based_on`]).
    pub decisive: i64,
}

/// The facts of several questions, and the state that they belong to.
#[derive(Debug, Clone, PartialEq)]
pub struct FactsRead {
    /// The facts of each question, in the order of the questions; `None` where the resource is unknown.
    pub facts: Vec<Option<Facts>>,
    /// The state that the facts were read at.
    pub read_at: ReadAt,
}

/// Reads of facts.
#[async_trait]
pub trait FactsStore: Send + Sync {
    /// Returns the facts of each of `questions`, each read in one snapshot.
    ///
    /// INVARIANT: facts never come from a server in recovery, nor from one whose ledger lacks the newest registry
    /// change that this process knows; such a server is an [`Unavailable`](crate::store::StoreError::Unavailable). A
    /// broken connection is retried on another one.
    ///
    /// Example: two questions, about a registered entity and about an unknown id, return `[Some(_), None]`.
    async fn facts(&self, questions: &[Question]) -> Result<FactsRead>;

    /// Returns the facts of `question`, with every assignment of the principal that reaches the resource, and the names
    /// that people know, all of one state; `None` when the resource is unknown. The facts are as current as those of
    /// [`facts`](Self::facts).
    ///
    /// `seen` are facts that the caller has from memory, with the state that they belong to. They are named while the
    /// registry is in that state; otherwise the facts are read, too.
    ///
    /// Example: the ancestors of an offering below an SPV below an issuer are the SPV and the issuer, in this order.
    async fn named_facts(&self, question: &Question, seen: Option<(Facts, ReadAt)>) -> Result<Option<NamedFacts>>;

    /// Reads the facts of `questions` under the ledger's lock and appends the entry that `draft` makes of each, in one
    /// transaction.
    ///
    /// Example: when `draft` returns `None` for the second of three questions, the outcome is
    /// `[Some(Recorded), None, Some(Recorded)]`. It is never `Outdated`: no change can commit while the lock is held.
    async fn append_decisions(&self, questions: &[Question], draft: DraftDecision<'_>)
    -> Result<Vec<Option<Appended>>>;
}
