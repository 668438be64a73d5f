//! Reading the registry: entities, roles and assignments. Changes go through [`Tx`](super::Tx).

use async_trait::async_trait;
use uuid::Uuid;

use super::{Result, RowVisitor};
use crate::domain::{
    Assignment, AssignmentFilter, AssignmentScan, Branch, Entity, EntityFilter, EntityType, EntityTypeUse, EntityTypes,
    NamedAssignment, Orphan, Reach, RegistryCounts, Role, StoredCondition, Timestamp, UnheldRole,
};
use crate::store::{Cursor, HierarchyState, Page};

/// Reads of entities, roles and assignments.
///
/// The lists (`entities`, `roles`, `assignments`) are ordered by creation, newest first, and read in batches. Each
/// batch is one snapshot: a row that exists throughout is seen exactly once; a row that is removed meanwhile may be
/// missing. The scans (`scan_…`) are one snapshot from the first row to the last, in constant memory.
#[async_trait]
pub trait RegistryStore: Send + Sync {
    /// Returns the entity with this id, archived or not; `None` when there is none.
    ///
    /// Example: after `DELETE /entities/{id}` the entity is still returned, with status `archived`.
    async fn entity(&self, id: Uuid) -> Result<Option<Entity>>;

    /// Returns the entity with this unique pair of type and name, archived or not.
    ///
    /// Example: `entity_named(Spv, "x")` does not return the offering called `x`.
    async fn entity_named(&self, entity_type: &EntityType, name: &str) -> Result<Option<Entity>>;

    /// Returns the entity types that rows use and `types` does not contain, with the numbers of these rows. Reads no
    /// entity of another type.
    ///
    /// Example: with one entity of the type `fund`, and without `fund` in `types`,
    /// `[EntityTypeUse { entity_type: fund, entities: 1, roles: 0 }]`.
    async fn unaccepted_types(&self, types: &EntityTypes) -> Result<Vec<EntityTypeUse>>;

    /// Lists entities that match `filter`. Without a status in it, archived ones are left out.
    ///
    /// Example: with a page of `limit: 2` and `after` at the second newest entity, the third and fourth newest are
    /// visited.
    async fn entities(&self, filter: &EntityFilter, page: Page, visit: RowVisitor<'_, Entity>) -> Result<()>;

    /// Returns the entities that match `filter`, which has a `name_prefix`, in the order of their names, compared byte
    /// for byte; at most `most`. Without a status in the filter, archived ones are left out.
    ///
    /// Example: for the prefix `Berlin` and `most: 2`, `Berlin One` and `Berlin Ten` of these and `Berlin Two`, however
    /// many entities are newer.
    async fn entities_by_name(&self, filter: &EntityFilter, most: u32) -> Result<Vec<Entity>>;

    /// Returns the last row of [`entities`](Self::entities), from its beginning, that fits into about `bytes` of JSON;
    /// `None` when the whole list fits.
    ///
    /// Example: of four entities of 310 bytes each, `bytes: 400` returns the second newest, the first that exceeds it.
    /// A list that begins after the returned cursor continues without a gap.
    async fn entities_end(&self, filter: &EntityFilter, bytes: i64) -> Result<Option<Cursor>>;

    /// Lists the entities directly below `parent`, or the roots, newest first and without archived ones. Reads one
    /// level only, and of each entity whether others are below it.
    ///
    /// Example: `branches(None, …)` visits an issuer without a parent, with `has_children: true` when it has an SPV.
    async fn branches(&self, parent: Option<Uuid>, page: Page, visit: RowVisitor<'_, Branch>) -> Result<()>;

    /// Returns the role with this id and its actions in alphabetical order.
    ///
    /// Example: a role created with the actions `b:x`, `a:x` is returned with `a:x`, `b:x`.
    async fn role(&self, id: Uuid) -> Result<Option<Role>>;

    /// Returns the role with this unique name.
    ///
    /// Example: `role_named("editor")` returns `None` when the only role is `Editor`: names are case-sensitive.
    async fn role_named(&self, name: &str) -> Result<Option<Role>>;

    /// Lists roles with their actions.
    ///
    /// Example: a visitor that returns `false` at the first role sees exactly one.
    async fn roles(&self, page: Page, visit: RowVisitor<'_, Role>) -> Result<()>;

    /// Returns the last row of [`roles`](Self::roles) that fits into about `bytes` of JSON; `None` when the whole list
    /// fits.
    ///
    /// Example: `roles_end(i64::MAX)` is `None`.
    async fn roles_end(&self, bytes: i64) -> Result<Option<Cursor>>;

    /// Returns the assignment with this id, in force or not; `None` when there is none.
    ///
    /// Example: after a revocation, `None`: the row is gone.
    async fn assignment(&self, id: Uuid) -> Result<Option<Assignment>>;

    /// Lists assignments that match `filter` in a call at `now`.
    ///
    /// Example: with `entity_id` set, global assignments are not visited; without `in_force`, assignments that have
    /// ended are.
    async fn assignments(
        &self,
        filter: &AssignmentFilter,
        now: Timestamp,
        page: Page,
        visit: RowVisitor<'_, Assignment>,
    ) -> Result<()>;

    /// Returns the last row of [`assignments`](Self::assignments) that fits into about `bytes` of JSON; `None` when the
    /// whole list fits.
    ///
    /// Example: with a `filter` that matches nothing, `None`.
    async fn assignments_end(&self, filter: &AssignmentFilter, now: Timestamp, bytes: i64) -> Result<Option<Cursor>>;

    /// Lists the assignments that are at `reach` from the entity, in force or not, newest first, with the names of
    /// their roles and entities. None when the entity does not exist.
    ///
    /// Example: an assignment on the parent of an entity is `Inherited` there, as a global one is, and `Below` seen
    /// from the parent of the parent.
    async fn assignments_around(
        &self,
        entity: Uuid,
        reach: Reach,
        page: Page,
        visit: RowVisitor<'_, NamedAssignment>,
    ) -> Result<()>;

    /// Counts the objects of the registry, at most `most` of each kind: the cost is bounded.
    ///
    /// Example: with 20,000 assignments and `most: 10_000`, `assignments` is 10,000.
    async fn registry_counts(&self, most: i64) -> Result<RegistryCounts>;

    /// Scans assignments together with the names of their roles and entities: all of them, or the first `most`, which
    /// are read in the order of an index.
    ///
    /// Example: `AssignmentScan::Expiring { now, until }` visits assignments that expire after `now` and at or before
    /// `until`, the earliest first.
    async fn scan_assignments(
        &self,
        scan: &AssignmentScan,
        most: Option<u32>,
        visit: RowVisitor<'_, NamedAssignment>,
    ) -> Result<()>;

    /// Scans the roles of which no assignment is in force at `now` or begins later, by name.
    ///
    /// Example: a role whose only assignment has expired is visited with `ended_assignments: 1` and `last_ended_at`.
    async fn scan_unheld_roles(&self, now: Timestamp, visit: RowVisitor<'_, UnheldRole>) -> Result<()>;

    /// Scans the entities that are not archived and whose parent is.
    ///
    /// Example: an active SPV below an archived issuer is visited with the name and type of the issuer.
    async fn scan_orphans(&self, visit: RowVisitor<'_, Orphan>) -> Result<()>;

    /// Scans the conditions of assignments and of the actions of roles, as their stored texts: a program may be unable
    /// to read one that a later version wrote.
    ///
    /// Example: an assignment without a condition is not visited.
    async fn scan_conditions(&self, visit: RowVisitor<'_, StoredCondition>) -> Result<()>;

    /// Finds entities deeper than [`MAX_LEVELS`](crate::store::MAX_LEVELS), and cycles. Reads every entity.
    ///
    /// Example: a root with one child has `levels: 2`, `too_deep: 0` and no `cycles`.
    async fn hierarchy(&self) -> Result<HierarchyState>;
}
