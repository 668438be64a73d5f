//! Batches of questions, by ids or in the names of other systems: types with external ids, where checks have UUIDs.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::{Appended, ReadAt, Result};
use crate::decision::{AskedAction, Facts, NamedType, Question, ResourceFacts};
use crate::domain::ExternalId;
use crate::domain::assignment::PrincipalType;
use crate::ledger::chain::Draft;

/// A principal or an entity as another system names it: by its type, and its external id or else its UUID as EPR
/// writes it. Compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExternalName {
    /// The type.
    pub kind: NamedType,
    /// The id.
    pub id: ExternalId,
}

impl ExternalName {
    /// The UUID that the id is, written as EPR writes it: in lower case, with hyphens.
    #[must_use]
    pub fn uuid(&self) -> Option<Uuid> {
        let text = self.id.as_str();
        Uuid::try_parse(text).ok().filter(|id| id.hyphenated().to_string() == text)
    }
}

/// A question whose principal and resource are named by another system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedQuestion {
    /// The principal.
    pub principal: ExternalName,
    /// The action.
    pub action: AskedAction,
    /// The resource.
    pub resource: ExternalName,
}

impl NamedQuestion {
    /// The type of the principal; `None` when no assignment can have it.
    #[must_use]
    pub fn principal_type(&self) -> Option<PrincipalType> {
        PrincipalType::new(self.principal.kind.as_str()).ok()
    }
}

/// A question of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BatchQuestion {
    /// By ids.
    Ids(Question),
    /// In the names of another system.
    Names(NamedQuestion),
}

impl BatchQuestion {
    /// The question by names, if it is one.
    #[must_use]
    pub fn names(&self) -> Option<&NamedQuestion> {
        match self {
            Self::Ids(_) => None,
            Self::Names(named) => Some(named),
        }
    }
}

impl From<Question> for BatchQuestion {
    fn from(question: Question) -> Self {
        Self::Ids(question)
    }
}

impl From<NamedQuestion> for BatchQuestion {
    fn from(question: NamedQuestion) -> Self {
        Self::Names(question)
    }
}

/// The ids of principals and entities, and the state of the registry that they were read at.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentitiesRead {
    /// The id of each principal: of the registered one with the external id, else the UUID that the name is. `None`
    /// when it is neither: such a principal cannot have an assignment.
    pub principals: Vec<Option<Uuid>>,
    /// The id of each entity; `None` when it is not registered.
    pub entities: Vec<Option<Uuid>>,
    /// The state that they were read at.
    pub read_at: ReadAt,
}

/// A question of a batch with the ids behind its names, and its facts.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentifiedFacts {
    /// The id of the principal; `None` when it is not registered and is no UUID. Never `None` of a question by ids.
    pub principal_id: Option<Uuid>,
    /// The id of the entity; `None` when it is not registered.
    pub resource_id: Option<Uuid>,
    /// The question by ids. The nil UUID stands for an id that is `None`; no assignment is then on it.
    pub question: Question,
    /// The facts, which questions share. Of a resource that is not registered: the global assignments.
    pub facts: Arc<Facts>,
    /// The resource as the caller names it, if it is not registered: it takes the place of the one in `facts`. `None`
    /// of a question by ids.
    pub unregistered: Option<ResourceFacts>,
}

impl IdentifiedFacts {
    /// The facts with the resource of this question.
    #[must_use]
    pub fn of_question(&self) -> Cow<'_, Facts> {
        match &self.unregistered {
            None => Cow::Borrowed(&*self.facts),
            Some(resource) => Cow::Owned(Facts { resource: resource.clone(), ..(*self.facts).clone() }),
        }
    }
}

/// The facts of a batch of questions, and the state of the registry that they were read at.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentifiedFactsRead {
    /// The facts of each question, in the order of the questions.
    pub facts: Vec<IdentifiedFacts>,
    /// The state that they were read at.
    pub read_at: ReadAt,
}

/// Makes the ledger entry of one question of a batch: its index, its facts, and the state they were read at. `None`
/// records nothing; an error records nothing of any question. It is called in the order of the questions.
pub type DraftIdentifiedDecision<'a> =
    &'a (dyn Fn(usize, &IdentifiedFacts, ReadAt) -> Result<Option<Draft>> + Send + Sync);

/// Reads by the names of other systems. What they return is as current as
/// [`FactsStore::facts`](super::FactsStore::facts) is.
#[async_trait]
pub trait IdentityStore: Send + Sync {
    /// Returns the ids of principals and entities, in the order of the names and in one snapshot.
    ///
    /// Example: with a principal known as `auth0|17`, the names `user auth0|17`, `user Auth0|17` and
    /// `user 00000000-0000-0000-0000-000000000007` return its id, `None`, and the UUID `…7`. An entity is found under
    /// its UUID only with its own type.
    async fn identities(&self, principals: &[ExternalName], entities: &[ExternalName]) -> Result<IdentitiesRead>;

    /// Returns the ids and the facts of each of `questions`, all in one snapshot. A question by ids on an unknown
    /// resource has the `resource_id` `None`.
    ///
    /// Example: a question on `todo 17`, which is not registered, has the global assignments of the principal, whatever
    /// their scope types are.
    async fn identified_facts(&self, questions: &[BatchQuestion]) -> Result<IdentifiedFactsRead>;

    /// Returns the key of the hashes that stand in the ledger for names; it is `proposed` from then on if there was
    /// none.
    ///
    /// Example: of two calls at once in a new database, both return the key that one of them proposed.
    async fn ledger_name_key(&self, proposed: &[u8; 32]) -> Result<[u8; 32]>;

    /// Reads the ids and the facts of `questions` under the ledger's lock and appends the entry that `draft` makes of
    /// each, in one transaction.
    ///
    /// Example: when `draft` returns `None` for the second of three questions, the outcome is
    /// `[Some(Recorded), None, Some(Recorded)]`. It is never `Outdated`: no change can commit while the lock is held.
    async fn append_identified_decisions(
        &self,
        questions: &[BatchQuestion],
        draft: DraftIdentifiedDecision<'_>,
    ) -> Result<Vec<Option<Appended>>>;
}
