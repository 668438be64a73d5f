//! The registry as an import changes it: by the use cases, as the visitor.

use std::collections::BTreeSet;

use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{
    Assignment, AssignmentFilter, AssignmentScan, BulkStep, Entity, EntityType, Principal, PrincipalFilter, Role,
};
use epr_core::error::chain;
use epr_core::store::Page as Rows;
use epr_core::{BulkFailure, Call, Epr, Error};
use epr_transfer::registry::{BatchError, Registry, RowVisitor};
use epr_transfer::text::invalid_sentence;
use uuid::Uuid;

/// The registry, and the call that makes every change.
pub(super) struct Target<'a> {
    pub(super) epr: &'a Epr,
    pub(super) call: &'a Call,
}

/// `None` for what does not exist.
fn if_any<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Registry for Target<'_> {
    type Error = Error;

    /// Forms do what calls of the API do: those create none.
    fn creates_system_roles(&self) -> bool {
        false
    }

    async fn for_each_role(&self, names: &BTreeSet<String>, visit: RowVisitor<'_, Role>) -> Result<(), Error> {
        for name in names {
            if let Some(role) = self.epr.role_named(name).await?
                && !visit(role)
            {
                break;
            }
        }
        Ok(())
    }

    async fn entity_if_any(&self, id: Uuid) -> Result<Option<Entity>, Error> {
        if_any(self.epr.entity(id).await)
    }

    async fn entity_named(&self, entity_type: &EntityType, name: &str) -> Result<Option<Entity>, Error> {
        self.epr.entity_named(entity_type, name).await
    }

    async fn principal_if_any(&self, kind: &PrincipalType, id: Uuid) -> Result<Option<Principal>, Error> {
        if_any(self.epr.principal(kind, id).await)
    }

    async fn principal_matching(&self, filter: &PrincipalFilter) -> Result<Option<Principal>, Error> {
        Ok(self.epr.principals(filter, &Rows { limit: 1, after: None }).await?.pop())
    }

    async fn for_each_assignment(
        &self,
        filter: AssignmentFilter,
        visit: RowVisitor<'_, Assignment>,
    ) -> Result<(), Error> {
        let scan = AssignmentScan::Listed { filter, now: self.epr.now() };
        self.epr.scan_assignments(&scan, None, &mut |named| visit(named.assignment)).await
    }

    async fn apply(&self, steps: &[BulkStep]) -> Result<Vec<bool>, BatchError<Error>> {
        let failed = |BulkFailure { at, why }| BatchError { done: 0, failed_at: at, error: why };
        self.epr.apply_all(self.call, steps).await.map_err(failed)
    }

    /// The cause of an error of this program is for the log.
    fn sentence(error: &Error) -> String {
        match error {
            Error::Invalid(invalid) => invalid_sentence(invalid),
            Error::Internal(_) | Error::Unavailable(_) => {
                tracing::error!(error = chain(error), "import_failed");
                error.to_string()
            }
            other => other.to_string(),
        }
    }

    fn is_in_doubt(error: &Error) -> bool {
        matches!(error, Error::Unavailable(_))
    }
}
