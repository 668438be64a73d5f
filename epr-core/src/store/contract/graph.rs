//! Reading the whole registry, and what has changed in it since: for a copy in memory that answers checks.
//!
//! The database's triggers note the key of every row that changes, in the changing transaction, whatever program makes
//! the change. Must say nothing about the copy.

use async_trait::async_trait;
use uuid::Uuid;

use super::{ReadAt, Result, RowVisitor};
use crate::domain::{EntityType, Timestamp};

/// A row of the registry, with what decisions can depend on.
#[derive(Debug, Clone, PartialEq)]
pub enum GraphRow {
    /// An entity.
    Entity(GraphEntity),
    /// A role with its permissions.
    Role(GraphRole),
    /// An assignment.
    Assignment(GraphAssignment),
    /// A registered principal.
    Principal(GraphPrincipal),
}

impl GraphRow {
    /// The key of the row.
    #[must_use]
    pub fn key(&self) -> GraphKey {
        match self {
            Self::Entity(entity) => GraphKey::Entity(entity.id),
            Self::Role(role) => GraphKey::Role(role.id),
            Self::Principal(principal) => GraphKey::Principal(principal.key.clone()),
            Self::Assignment(assignment) => GraphKey::Assignment(assignment.principal.clone(), assignment.id),
        }
    }

    /// The bytes of the external id and the attributes, which are all that can be large in a row.
    #[must_use]
    pub fn described_bytes(&self) -> usize {
        match self {
            Self::Entity(GraphEntity { described, .. }) | Self::Principal(GraphPrincipal { described, .. }) => {
                let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                length(&described.external_id) + length(&described.attributes)
            }
            Self::Role(_) | Self::Assignment(_) => 0,
        }
    }
}

/// An entity.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphEntity {
    /// Its id.
    pub id: Uuid,
    /// The entity above it.
    pub parent_id: Option<Uuid>,
    /// Its type.
    pub entity_type: EntityType,
    /// What conditions can read of it.
    pub described: GraphDescribed,
}

/// What conditions can read of an entity or a principal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GraphDescribed {
    /// Its id in the system that it comes from.
    pub external_id: Option<String>,
    /// The stored JSON text of its attributes; `None` when it has none.
    pub attributes: Option<String>,
}

/// A role with its permissions.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphRole {
    /// Its id.
    pub id: Uuid,
    /// The types of entities that it is meant for; every type when empty.
    pub scope_types: Vec<EntityType>,
    /// Its actions, each with the stored text of its condition.
    pub actions: Vec<(String, Option<String>)>,
}

/// An assignment.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphAssignment {
    /// Its id.
    pub id: Uuid,
    /// The principal that holds the role.
    pub principal: GraphPrincipalKey,
    /// The role.
    pub role_id: Uuid,
    /// The entity on which the role is given; `None` for a global assignment.
    pub entity_id: Option<Uuid>,
    /// The start of the window, included.
    pub effective_at: Timestamp,
    /// The end of the window, excluded.
    pub expires_at: Option<Timestamp>,
    /// The stored text of its condition.
    pub condition: Option<String>,
}

/// The key of a principal, registered or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GraphPrincipalKey {
    /// The kind of principal.
    pub principal_type: String,
    /// Its id.
    pub id: Uuid,
}

/// A registered principal.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphPrincipal {
    /// Its key.
    pub key: GraphPrincipalKey,
    /// Whether it is denied everything.
    pub is_suspended: bool,
    /// What conditions can read of it.
    pub described: GraphDescribed,
}

/// The key of a row that has changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GraphKey {
    /// An entity.
    Entity(Uuid),
    /// A role, or its permissions.
    Role(Uuid),
    /// An assignment of this principal, before or after the change.
    Assignment(GraphPrincipalKey, Uuid),
    /// A registered principal.
    Principal(GraphPrincipalKey),
}

/// A row that has changed, as it is now; `None` when it is gone.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphChange {
    /// Its key.
    pub key: GraphKey,
    /// The row.
    pub row: Option<GraphRow>,
}

/// A state of the database: everything that was committed before it, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphPosition {
    /// The state in the words of the database, which only it can read.
    pub(in crate::store) snapshot: String,
    /// The triggers that note changed rows, as they were in this state: changes that were made while one of them was
    /// disabled are not known.
    pub(in crate::store) triggers: String,
    /// The connections over which it was read. Others may lead to another server, which gives the numbers of
    /// transactions that this one has never seen to others.
    pub(in crate::store) generation: u64,
    /// The registry in this state.
    pub read_at: ReadAt,
}

impl GraphPosition {
    /// Whether the triggers that note changed rows were the same in both states.
    #[must_use]
    pub fn has_triggers_of(&self, other: &Self) -> bool {
        self.triggers == other.triggers
    }
}

/// What has changed after a position.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphChanges {
    /// The rows that have changed, each once.
    pub changes: Vec<GraphChange>,
    /// The position after the changes.
    pub position: GraphPosition,
}

/// What a comparison with the registry is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum GraphCompared {
    /// A row that has changed since the position that is compared. All of them come before the first row.
    Changed(GraphKey),
    /// A row of the registry as it is now.
    Row(GraphRow),
}

/// Reads of the whole registry.
#[async_trait]
pub trait GraphStore: Send + Sync {
    /// Shows every row of the registry to `visit` until it says `false`; the assignments of a principal follow one
    /// another. All of it is one snapshot, at the position that is returned.
    ///
    /// INVARIANT: never from a server whose facts would be refused ([`FactsStore::facts`](super::FactsStore::facts)),
    /// and never while a trigger that notes changed rows is disabled.
    ///
    /// Example: a registry with one role and no entity shows one row.
    async fn read_graph(&self, visit: RowVisitor<'_, GraphRow>) -> Result<GraphPosition>;

    /// Returns the rows that were changed by transactions which `since` does not include, as they are now; `None` when
    /// that can no longer be told, or they would take too much memory, and the whole registry has to be read again.
    ///
    /// INVARIANT: as of [`read_graph`](Self::read_graph). The rows with these changes are exactly the registry at the
    /// new position: no transaction is included in part.
    ///
    /// Example: an entity that was created and renamed after `since` is one change; an assignment that was revoked is
    /// one without a row.
    async fn graph_changes(&self, since: &GraphPosition) -> Result<Option<GraphChanges>>;

    /// Shows those of `keys` that have not changed since `since`, each with its row as it is now, to `visit` until it
    /// says `false`. Returns whether all were shown; `None` as in [`graph_changes`](Self::graph_changes).
    ///
    /// Example: of a role that was changed and one that was not, only the latter is shown.
    async fn show_unchanged_rows(
        &self,
        since: &GraphPosition,
        keys: Vec<GraphKey>,
        visit: RowVisitor<'_, GraphChange>,
    ) -> Result<Option<bool>>;

    /// Shows the keys of the rows that have changed since `since`, and then every row as it is now, all in one
    /// snapshot, to `visit` until it says `false`. Returns whether all were shown; `None` as in
    /// [`graph_changes`](Self::graph_changes).
    ///
    /// Example: without changes, it shows what [`read_graph`](Self::read_graph) shows.
    async fn compare_graph(&self, since: &GraphPosition, visit: RowVisitor<'_, GraphCompared>) -> Result<Option<bool>>;

    /// Removes notes of changed rows that are older than an hour.
    ///
    /// Example: on a database without changes, nothing.
    async fn purge_changed_rows(&self) -> Result<()>;
}
