//! Candidates of lists of resources: entities below a principal's assignments, as single entities and as subtrees.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{AccessEnd, AccessVisitor, Result};
use crate::decision::{AskedAction, AssignmentFacts, Facts, PrincipalFacts};
use crate::domain::access::AccessEntity;
use crate::domain::{EntityType, PageMoment, Revision, Timestamp};

/// The question of a list of resources.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResourcesQuery<'a> {
    /// The id of the principal.
    pub principal_id: Uuid,
    /// The type of the principal.
    pub principal_type: &'a str,
    /// The action.
    pub action: &'a AskedAction,
    /// Only entities of this type; of every type if `None`.
    pub resource_type: Option<&'a EntityType>,
    /// Only entities below this one, which is not itself among them; everywhere if `None`.
    pub within: Option<Uuid>,
    /// `true` if archived entities are candidates.
    pub includes_archived: bool,
    /// `true` if entities are wanted that only a missing value keeps from being allowed.
    pub includes_conditional: bool,
    /// About the time at which the visitor judges, which may differ by a minute. Assignments whose windows do not
    /// include any time of that minute before or after it are left out.
    pub at: Timestamp,
    /// The most entities to look at, at least 1.
    pub max_candidates: usize,
    /// Subtrees with more entities than this are not expanded: all entities are read in the order of their ids instead.
    pub max_expanded: usize,
    /// The time after which a visit ends, once it has visited what it was reading; `Duration::MAX` for no limit.
    pub max_page_time: Duration,
    /// The state of the registry. If it names a time, that one replaces `at`.
    pub moment: PageMoment,
}

/// How the candidates of a list of resources are found. Both ways visit the same candidates in the same order, so that
/// a page can continue in another way than the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResourceSearch {
    /// The subtrees of the assignments are expanded, unless they have too many entities.
    #[default]
    Expand,
    /// All entities are read in the order of their ids, and those below an assignment are kept.
    Scan,
}

/// The page of a list of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourcesPage {
    /// Only entities after this one.
    pub after: Option<Uuid>,
    /// About how many candidates the caller expects to visit: decides how many rows are read at a time.
    pub expected: usize,
    /// The way in which the page before ended.
    pub search: ResourceSearch,
    /// `true` if the names of the entities of the assignments are to be read.
    pub with_names: bool,
}

/// The names that the page of a list shows beside its items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessNames {
    /// The entities on which assignments are.
    pub entities: BTreeMap<Uuid, AccessEntity>,
    /// The names of the roles of these assignments.
    pub roles: BTreeMap<Uuid, String>,
}

/// An entity that may be allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceCandidate {
    /// The id of the entity.
    pub id: Uuid,
    /// The name of the entity.
    pub name: String,
    /// The id of the entity in the system that it comes from.
    pub external_id: Option<String>,
    /// The facts of the question about the entity. Their assignments are those that reach it, whose roles hold the
    /// action, and whose windows have not ended.
    pub facts: Facts,
    /// The entities and roles of these assignments, among others.
    pub names: Arc<AccessNames>,
}

/// Where a visit of resources ended, and in which way it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourcesEnd {
    /// Where it ended.
    pub end: AccessEnd<Uuid>,
    /// The way for the next page.
    pub search: ResourceSearch,
}

/// A position in a list of subtrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubtreePosition {
    /// When the assignment was created.
    pub created_at: Timestamp,
    /// The id of the assignment.
    pub assignment_id: Uuid,
    /// Which variant of the subtree.
    pub variant: SubtreeVariant,
    /// The last entity of its subtree that was looked at; `None` when the subtree is finished.
    pub entity_id: Option<Uuid>,
}

/// What a subtree covers. A list that includes conditional items shows a subtree in both variants if its condition
/// reads the resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubtreeVariant {
    /// The entities that are allowed.
    #[default]
    Allowed,
    /// The entities that are allowed, or would be if the missing context were there.
    Conditional,
}

/// The subtree of one assignment.
#[derive(Debug, Clone, PartialEq)]
pub struct Subtree {
    /// The assignment. Its role holds the action, and its window can include the time.
    pub assignment: AssignmentFacts,
    /// When the assignment was created.
    pub created_at: Timestamp,
    /// What the subtree covers.
    pub variant: SubtreeVariant,
    /// The principal of the assignment. Its attributes and external id are read only if there is a condition.
    pub principal: PrincipalFacts,
    /// The root: the entity of the assignment, or the entity that the list is limited to, if that one is below it.
    /// `None`: every entity.
    pub root: Option<SubtreeRoot>,
    /// The types of the entities of the subtree; every type when empty.
    pub types: Vec<EntityType>,
    /// The last entity of the subtree that an earlier page looked at.
    pub after: Option<Uuid>,
    /// The entity and the role of the assignment.
    pub names: Arc<AccessNames>,
}

/// The root of a subtree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubtreeRoot {
    /// The id of the entity.
    pub id: Uuid,
    /// The type of the entity.
    pub entity_type: EntityType,
    /// The name of the entity.
    pub name: String,
    /// The id of the entity in the system that it comes from.
    pub external_id: Option<String>,
    /// `true` if the root itself is left out, because the list is limited to the entities below it.
    pub is_excluded: bool,
}

/// Which entities of a subtree a visitor needs to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubtreeStep {
    /// None: the subtree is no item.
    Skip,
    /// Those that the list leaves out because they are archived, or because they are the excluded root.
    LeftOut,
    /// All of its types.
    Each,
    /// None, and no further subtree: the page is full.
    Stop,
}

/// An entity of a subtree.
#[derive(Debug, Clone, PartialEq)]
pub struct SubtreeEntity {
    /// The id of the entity.
    pub id: Uuid,
    /// `true` if the list leaves it out, whatever a check says.
    pub is_left_out: bool,
    /// The facts of the question about the entity, with the assignment of the subtree alone; `None` if it is left out.
    pub facts: Option<Facts>,
}

/// Receives the subtrees of a list in the order in which their assignments were created.
pub trait SubtreeVisitor: Send {
    /// Called once, before the first subtree, with the revision of the registry that the visit sees; `false` stops.
    fn begin(&mut self, revision: Revision, at: Option<Timestamp>) -> bool;

    /// About how many subtrees the visitor will take: decides how many assignments are read at a time.
    fn expected(&self) -> usize {
        100
    }

    /// Called for each subtree.
    fn subtree(&mut self, subtree: Subtree) -> SubtreeStep;

    /// Called for the entities of the subtree, ordered by id; `false` stops before this one.
    fn entity(&mut self, entity: SubtreeEntity) -> bool;
}

/// Candidates of lists of resources.
///
/// INVARIANT: a visit sees one snapshot, as current as the facts of a check: never from a server in recovery, nor from
/// one whose ledger lacks the newest registry change that this process knows.
#[async_trait]
pub trait AccessResourceStore: Send + Sync {
    /// Visits every entity that an assignment of the principal reaches whose role holds the action for its type and
    /// whose window can include the time, ordered by id. `None` when the entity of `within` is unknown; the visitor is
    /// not called then. A suspended principal has no candidates.
    ///
    /// Example: of two assignments, one on an issuer and one on an SPV below it, each entity below both is visited
    /// once, with both assignments.
    async fn resource_candidates(
        &self,
        query: &ResourcesQuery<'_>,
        page: ResourcesPage,
        visitor: &mut dyn AccessVisitor<ResourceCandidate>,
    ) -> Result<Option<ResourcesEnd>>;

    /// Visits the subtrees of the principal's assignments whose roles hold the action and whose windows can include the
    /// time, in the order in which the assignments were created, from `after` on. `None` when the entity of `within` is
    /// unknown; the visitor is not called then. A suspended principal has no subtrees.
    ///
    /// Example: an assignment on an issuer is one subtree, however many entities are below the issuer; an archived one
    /// among them is left out.
    async fn subtrees(
        &self,
        query: &ResourcesQuery<'_>,
        after: Option<SubtreePosition>,
        visitor: &mut dyn SubtreeVisitor,
    ) -> Result<Option<AccessEnd<SubtreePosition>>>;
}
