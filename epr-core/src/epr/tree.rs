//! Looking at the registry along its tree: a level, the assignments around an entity, and how much there is.

use uuid::Uuid;

use super::Epr;
use crate::domain::{Branch, NamedAssignment, Reach, RegistryCounts};
use crate::error::Result;
use crate::store::{Page, collect_into};

impl Epr {
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
