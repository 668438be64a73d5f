//! Lists of access: candidates, which the caller judges as a check would, and the keys of page tokens.

use std::collections::BTreeMap;

use async_trait::async_trait;
use uuid::Uuid;

use super::Result;
use crate::decision::{AskedAction, Facts, Registration, ResourceFacts};
use crate::domain::access::AccessEntity;
use crate::domain::{EntityType, PageMoment, Revision, Timestamp};

/// The position of a principal in lists: its id, then the bytes of its type.
pub type PrincipalKey = (Uuid, String);

/// Which candidates of a list of principals to visit.
#[derive(Debug, Clone, PartialEq)]
pub struct PrincipalsQuery<'a> {
    /// The action.
    pub action: &'a AskedAction,
    /// The resource.
    pub resource_id: Uuid,
    /// The resource as a caller names it, if it is not registered: only global assignments reach it, and `resource_id`
    /// is the nil UUID.
    pub unregistered: Option<&'a ResourceFacts>,
    /// Only principals of this type; of every type if `None`.
    pub principal_type: Option<&'a str>,
    /// Only principals after this one.
    pub after: Option<&'a PrincipalKey>,
    /// About how many candidates the caller expects to visit: decides how many rows are read at a time.
    pub expected: usize,
    /// The most principals to look at, at least 1.
    pub max_candidates: usize,
    /// The state of the registry.
    pub moment: PageMoment,
}

/// Which candidates of a list of actions to visit.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionsQuery<'a> {
    /// The id of the principal.
    pub principal_id: Uuid,
    /// The type of the principal.
    pub principal_type: &'a str,
    /// The resource.
    pub resource_id: Uuid,
    /// The resource as a caller names it, if it is not registered, as in [`PrincipalsQuery::unregistered`].
    pub unregistered: Option<&'a ResourceFacts>,
    /// Only actions after this one, in the order of their bytes.
    pub after: Option<&'a str>,
    /// The most rows of roles to look at, at least 1: one for each action of each role.
    pub max_rows: usize,
    /// The state of the registry.
    pub moment: PageMoment,
}

/// What a list knows before its first candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessStart {
    /// The revision of the registry, which the whole visit sees.
    pub revision: Revision,
    /// The time that windows are compared with; `None` for the present one.
    pub at: Option<Timestamp>,
    /// The type of the resource; `None` for a list about no single resource.
    pub resource_type: Option<EntityType>,
    /// The entities on which assignments of candidates are.
    pub entities: BTreeMap<Uuid, AccessEntity>,
    /// The names of the roles of these assignments.
    pub roles: BTreeMap<Uuid, String>,
}

/// A principal that may be allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct PrincipalCandidate {
    /// The id of the principal.
    pub id: Uuid,
    /// The type of the principal.
    pub principal_type: String,
    /// What is known about it, if it is registered.
    pub registration: Option<Registration>,
    /// The facts of the question about it. Their assignments are those whose roles hold the action.
    pub facts: Facts,
}

/// An action that may be allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionCandidate {
    /// The action.
    pub action: String,
    /// The facts of the question about it. Their assignments are those whose roles hold the action.
    pub facts: Facts,
}

/// Receives the candidates of a list one at a time, in its order.
pub trait AccessVisitor<T>: Send {
    /// Called once, before the first candidate; `false` stops.
    fn begin(&mut self, start: AccessStart) -> bool;

    /// Called for each candidate; `false` stops.
    fn candidate(&mut self, candidate: T) -> bool;
}

/// Where a visit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessEnd<K> {
    /// Every candidate was visited.
    Complete,
    /// The visitor returned `false`. It knows the last candidate that it took.
    Stopped,
    /// The most candidates were looked at; this was the last one.
    Bounded(K),
}

/// A key of page tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct ListKey {
    /// The number of the key; a newer one has a higher number.
    pub number: i64,
    /// The bytes.
    pub key: [u8; 32],
    /// The time from which tokens are made with it.
    pub started_at: Timestamp,
}

/// Leaves out the bytes.
impl std::fmt::Debug for ListKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ListKey")
            .field("number", &self.number)
            .field("started_at", &self.started_at)
            .finish_non_exhaustive()
    }
}

/// Candidates of lists of access, and the keys of their page tokens.
///
/// INVARIANT: a visit sees one snapshot, as current as the facts of a check: never from a server in recovery, nor from
/// one whose ledger lacks the newest registry change that this process knows. A visit of a state that is not the newest
/// one reads history, and never an incomplete one.
#[async_trait]
pub trait AccessStore: Send + Sync {
    /// Visits every principal that has an assignment with a role that holds the action, whatever its window and its
    /// conditions are, on the resource, on an ancestor or everywhere, ordered by id and type. `None` when the resource
    /// is unknown; the visitor is not called then. Roles whose scope types exclude the resource's type are left out.
    ///
    /// Example: of 100,000 principals with a role on the root, a visitor that stops after 100 makes about 200 rows be
    /// read.
    async fn principal_candidates(
        &self,
        query: &PrincipalsQuery<'_>,
        visitor: &mut dyn AccessVisitor<PrincipalCandidate>,
    ) -> Result<Option<AccessEnd<PrincipalKey>>>;

    /// Visits every action of the roles of the principal's assignments on the resource, on an ancestor or everywhere,
    /// ordered by the bytes of the action. `None` when the resource is unknown; the visitor is not called then.
    ///
    /// Example: an action that two of the roles hold is visited once, with both assignments.
    async fn action_candidates(
        &self,
        query: &ActionsQuery<'_>,
        visitor: &mut dyn AccessVisitor<ActionCandidate>,
    ) -> Result<Option<AccessEnd<String>>>;

    /// Returns the keys of page tokens, the newest first.
    ///
    /// Example: an empty list in a new database.
    async fn list_keys(&self) -> Result<Vec<ListKey>>;

    /// Starts a new key unless the newest one started after `unless_after`, and deletes the keys whose successors
    /// started before `obsolete`. Returns the keys, the newest first. Of two calls at once, one starts a key.
    ///
    /// Example: in a new database, the first key has the number 1.
    async fn rotate_list_key(
        &self,
        key: &[u8; 32],
        now: Timestamp,
        unless_after: Timestamp,
        obsolete: Timestamp,
    ) -> Result<Vec<ListKey>>;
}
