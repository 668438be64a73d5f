//! The registry that a file is compared with and imported into: the database, or a running API.

use std::collections::BTreeSet;
use std::future::Future;

use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{Assignment, AssignmentFilter, BulkStep, Entity, EntityType, Principal, PrincipalFilter, Role};
use uuid::Uuid;

/// Gets rows one at a time; `false` stops the list.
pub type RowVisitor<'a, T> = &'a mut (dyn FnMut(T) -> bool + Send);

/// Why a batch of changes failed.
#[derive(Debug)]
pub struct BatchError<E> {
    /// The number of steps, from the first, that are committed nevertheless.
    pub done: usize,
    /// The position of the step that failed, if one of them did.
    pub failed_at: Option<usize>,
    /// Why.
    pub error: E,
}

/// What an import reads and changes. Whether a call can move between threads is for each registry to say.
pub trait Registry: Sync {
    /// Why a call failed.
    type Error;

    /// Whether an import creates system roles; else a record of one is refused.
    fn creates_system_roles(&self) -> bool;

    /// Shows the roles with these names to `visit`; it may show others too.
    fn for_each_role(
        &self,
        names: &BTreeSet<String>,
        visit: RowVisitor<'_, Role>,
    ) -> impl Future<Output = Result<(), Self::Error>>;

    /// The entity with this id, archived or not; `None` when there is none.
    fn entity_if_any(&self, id: Uuid) -> impl Future<Output = Result<Option<Entity>, Self::Error>>;

    /// The entity with this unique name among those of its type.
    fn entity_named(
        &self,
        entity_type: &EntityType,
        name: &str,
    ) -> impl Future<Output = Result<Option<Entity>, Self::Error>>;

    /// The principal with this type and id; `None` when it is not registered.
    fn principal_if_any(
        &self,
        kind: &PrincipalType,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<Principal>, Self::Error>>;

    /// The first principal that matches `filter`.
    fn principal_matching(
        &self,
        filter: &PrincipalFilter,
    ) -> impl Future<Output = Result<Option<Principal>, Self::Error>>;

    /// Shows every assignment that matches `filter` to `visit`.
    fn for_each_assignment(
        &self,
        filter: AssignmentFilter,
        visit: RowVisitor<'_, Assignment>,
    ) -> impl Future<Output = Result<(), Self::Error>>;

    /// Applies a batch: on a database in one transaction. Returns for each step whether it changed anything.
    fn apply(&self, steps: &[BulkStep]) -> impl Future<Output = Result<Vec<bool>, BatchError<Self::Error>>>;

    /// The error as a sentence.
    fn sentence(error: &Self::Error) -> String;

    /// Whether the error leaves open whether a batch was applied.
    fn is_in_doubt(error: &Self::Error) -> bool;
}
