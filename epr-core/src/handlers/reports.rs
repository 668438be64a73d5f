//! Looking over the registry as a whole: reports, scans for exports, lookups by name. Nothing here changes anything.

use crate::Epr;
use crate::domain::{AssignmentScan, Entity, EntityType, NamedAssignment, Orphan, Role, UnheldRole};
use crate::error::Result;
use crate::store::{Connections, Take};

impl Epr {
    /// The entity with this name and type, archived or not.
    ///
    /// # Errors
    /// Only when the database is away or at fault.
    pub async fn entity_named(&self, entity_type: EntityType, name: &str) -> Result<Option<Entity>> {
        Ok(self.store().entity_named(entity_type, name).await?)
    }

    /// The role with this name.
    ///
    /// # Errors
    /// Only when the database is away or at fault.
    pub async fn role_named(&self, name: &str) -> Result<Option<Role>> {
        Ok(self.store().role_named(name).await?)
    }

    /// Shows assignments to `take`, with the names of their roles and places, until that says `false`. All of them are
    /// of one moment; one is in memory at a time.
    ///
    /// # Errors
    /// Only when the database is away or at fault.
    pub async fn scan_assignments(&self, scan: &AssignmentScan, take: Take<'_, NamedAssignment>) -> Result<()> {
        Ok(self.store().scan_assignments(scan, take).await?)
    }

    /// Shows the roles that nobody holds or is going to hold, by name, in the same way.
    ///
    /// # Errors
    /// Only when the database is away or at fault.
    pub async fn unheld_roles(&self, take: Take<'_, UnheldRole>) -> Result<()> {
        Ok(self.store().scan_unheld_roles(self.now(), take).await?)
    }

    /// Shows the entities in use whose parent is archived, by the parent's name, in the same way.
    ///
    /// # Errors
    /// Only when the database is away or at fault.
    pub async fn orphans(&self, take: Take<'_, Orphan>) -> Result<()> {
        Ok(self.store().scan_orphans(take).await?)
    }

    /// How many connections the database server has and admits; `None` when there is no server.
    ///
    /// # Errors
    /// Only when the database is away or at fault.
    pub async fn connections(&self) -> Result<Option<Connections>> {
        Ok(self.store().connections().await?)
    }
}
