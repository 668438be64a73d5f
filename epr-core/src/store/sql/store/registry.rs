//! Reading the registry.

use async_trait::async_trait;
use uuid::Uuid;

use super::super::{assignments, assignments_around, entities, entity_types, hierarchy, reports, roles};
use super::SqlStore;
use crate::domain::{
    Assignment, AssignmentFilter, AssignmentScan, Branch, Entity, EntityFilter, EntityType, EntityTypeUse, EntityTypes,
    NamedAssignment, Orphan, Reach, RegistryCounts, Role, StoredCondition, Timestamp, UnheldRole,
};
use crate::store::{Cursor, HierarchyState, Page, RegistryStore, Result, RowVisitor};

#[async_trait]
impl RegistryStore for SqlStore {
    async fn entity(&self, id: Uuid) -> Result<Option<Entity>> {
        self.read(async |conn| entities::get(conn, id).await).await
    }

    async fn entity_named(&self, entity_type: &EntityType, name: &str) -> Result<Option<Entity>> {
        self.read(async |conn| entities::named(conn, entity_type, name).await).await
    }

    async fn unaccepted_types(&self, types: &EntityTypes) -> Result<Vec<EntityTypeUse>> {
        self.read(async |conn| entity_types::unaccepted(conn, types).await).await
    }

    async fn entities(&self, filter: &EntityFilter, page: Page, visit: RowVisitor<'_, Entity>) -> Result<()> {
        self.list(async |conn| entities::list(conn, filter, page, visit).await).await
    }

    async fn entities_by_name(&self, filter: &EntityFilter, most: u32) -> Result<Vec<Entity>> {
        self.list(async |conn| entities::by_name(conn, filter, most).await).await
    }

    async fn entities_end(&self, filter: &EntityFilter, bytes: i64) -> Result<Option<Cursor>> {
        self.list(async |conn| entities::end(conn, filter, bytes).await).await
    }

    async fn branches(&self, parent: Option<Uuid>, page: Page, visit: RowVisitor<'_, Branch>) -> Result<()> {
        self.list(async |conn| entities::branches(conn, parent, page, visit).await).await
    }

    async fn role(&self, id: Uuid) -> Result<Option<Role>> {
        self.read(async |conn| roles::get(conn, id).await).await
    }

    async fn role_named(&self, name: &str) -> Result<Option<Role>> {
        self.read(async |conn| roles::named(conn, name).await).await
    }

    async fn roles(&self, page: Page, visit: RowVisitor<'_, Role>) -> Result<()> {
        self.list(async |conn| roles::list(conn, page, visit).await).await
    }

    async fn roles_end(&self, bytes: i64) -> Result<Option<Cursor>> {
        self.list(async |conn| roles::end(conn, bytes).await).await
    }

    async fn assignment(&self, id: Uuid) -> Result<Option<Assignment>> {
        self.read(async |conn| assignments::get(conn, id).await).await
    }

    async fn assignments(
        &self,
        filter: &AssignmentFilter,
        now: Timestamp,
        page: Page,
        visit: RowVisitor<'_, Assignment>,
    ) -> Result<()> {
        self.list(async |conn| assignments::list(conn, filter, now, page, visit).await).await
    }

    async fn assignments_end(&self, filter: &AssignmentFilter, now: Timestamp, bytes: i64) -> Result<Option<Cursor>> {
        self.list(async |conn| assignments::end(conn, filter, now, bytes).await).await
    }

    async fn assignments_around(
        &self,
        entity: Uuid,
        reach: Reach,
        page: Page,
        visit: RowVisitor<'_, NamedAssignment>,
    ) -> Result<()> {
        self.list(async |conn| assignments_around::list(conn, (entity, reach), page, visit).await).await
    }

    async fn registry_counts(&self, most: i64) -> Result<RegistryCounts> {
        self.read(async |conn| reports::counts(conn, most).await).await
    }

    async fn scan_assignments(
        &self,
        scan: &AssignmentScan,
        most: Option<u32>,
        visit: RowVisitor<'_, NamedAssignment>,
    ) -> Result<()> {
        let _permit = self.limits.scan().await?;
        reports::assignments(&self.read, scan, most, visit).await
    }

    async fn scan_unheld_roles(&self, now: Timestamp, visit: RowVisitor<'_, UnheldRole>) -> Result<()> {
        let _permit = self.limits.scan().await?;
        reports::unheld_roles(&self.read, now, visit).await
    }

    async fn scan_orphans(&self, visit: RowVisitor<'_, Orphan>) -> Result<()> {
        let _permit = self.limits.scan().await?;
        reports::orphans(&self.read, visit).await
    }

    async fn scan_conditions(&self, visit: RowVisitor<'_, StoredCondition>) -> Result<()> {
        let _permit = self.limits.scan().await?;
        reports::conditions(&self.read, visit).await
    }

    async fn hierarchy(&self) -> Result<HierarchyState> {
        let _permit = self.limits.scan().await?;
        hierarchy::state(&self.read).await
    }
}
