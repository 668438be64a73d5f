//! The registry as it was: one row of a past state, and lists of it.

use async_trait::async_trait;

use super::{Result, RowVisitor};
use crate::domain::{AssignmentFilter, EntityFilter, Moment, PastMoment, PrincipalFilter, Timestamp};
use crate::history::{RegistryRow, RowKey};
use crate::store::Page;

/// A list of rows of the registry, of the present or a past state, newest first, by its filter.
#[derive(Debug, Clone, Copy)]
pub enum RegistryList<'a> {
    /// Entities.
    Entities(&'a EntityFilter),
    /// Roles.
    Roles,
    /// Assignments. `in_force` is compared with the time of the state.
    Assignments(&'a AssignmentFilter),
    /// Principals.
    Principals(&'a PrincipalFilter),
}

impl RegistryList<'_> {
    /// Returns `true` if the list has this row at this time. Whether an entity is below another one is not compared.
    #[must_use]
    pub fn admits(&self, row: &RegistryRow, at: Timestamp) -> bool {
        match (self, row) {
            (Self::Entities(filter), RegistryRow::Entity(entity)) => filter.admits(entity),
            (Self::Roles, RegistryRow::Role(_)) => true,
            (Self::Assignments(filter), RegistryRow::Assignment(assignment)) => filter.admits(assignment, at),
            (Self::Principals(filter), RegistryRow::Principal(principal)) => filter.admits(principal),
            _ => false,
        }
    }
}

/// Reads of past states. INVARIANT: never from an incomplete history, nor from a server whose facts would be refused
/// ([`FactsStore::facts`](super::FactsStore::facts)).
#[async_trait]
pub trait PastStore: Send + Sync {
    /// Returns the state that `moment` names, and the row with this key in it; `None` when there was none. `now` is the
    /// present time: a later one is about the present registry.
    ///
    /// Example: an entity that was renamed by entry 3 has its former name at revision 2.
    ///
    /// # Errors [`NotAskable`](crate::store::StoreError::NotAskable).
    async fn past_row(&self, key: &RowKey, moment: Moment, now: Timestamp)
    -> Result<(PastMoment, Option<RegistryRow>)>;

    /// Passes at most `page.limit` rows of a list of the state that `moment` names to `visit`, newest first, until it
    /// returns `false`. Returns the state.
    ///
    /// Example: an entity that entry 4 created is not in the list at revision 3; an assignment that it revoked is.
    ///
    /// # Errors [`NotAskable`](crate::store::StoreError::NotAskable).
    async fn past_rows(
        &self,
        list: RegistryList<'_>,
        (moment, now): (Moment, Timestamp),
        page: Page,
        visit: RowVisitor<'_, RegistryRow>,
    ) -> Result<PastMoment>;
}
