//! Looking at the registry: a level of its tree, the assignments around an entity, names, and how much there is.

use uuid::Uuid;

use super::Epr;
use crate::domain::{Branch, Entity, EntityFilter, NamedAssignment, Reach, RegistryCounts};
use crate::error::Result;
use crate::store::{Page, collect_into};

impl Epr {
    /// The entities that match `filter`, which has a `name_prefix`, in the order of their names; at most `most`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn entities_by_name(&self, filter: &EntityFilter, most: u32) -> Result<Vec<Entity>> {
        Ok(self.store().entities_by_name(filter, most).await?)
    }

    /// A page of the entities directly below `parent`, or of the roots, newest first and without archived ones.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn branches(&self, parent: Option<Uuid>, page: &Page) -> Result<Vec<Branch>> {
        let mut rows = Vec::new();
        self.store().branches(parent, *page, &mut collect_into(&mut rows)).await?;
        Ok(rows)
    }

    /// Counts the objects of the registry, at most `most` of each kind.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn registry_counts(&self, most: i64) -> Result<RegistryCounts> {
        Ok(self.store().registry_counts(most).await?)
    }

    /// A page of the assignments on an entity, on what is above it, or on what is below it, newest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn assignments_around(&self, entity: Uuid, reach: Reach, page: &Page) -> Result<Vec<NamedAssignment>> {
        let mut rows = Vec::new();
        self.store().assignments_around(entity, reach, *page, &mut collect_into(&mut rows)).await?;
        Ok(rows)
    }
}
