//! The backend as the registry of an import.

use std::collections::BTreeSet;

use epr_core::BulkFailure;
use epr_core::Error;
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{Assignment, AssignmentFilter, BulkStep, Entity, EntityType, Principal, PrincipalFilter, Role};
use epr_transfer::registry::{BatchError, Registry, RowVisitor};
use uuid::Uuid;

use super::{Backend, BackendError};

impl Registry for Backend {
    type Error = BackendError;

    /// Callers of the API create none.
    fn creates_system_roles(&self) -> bool {
        matches!(self, Self::Database { .. })
    }

    /// All roles: there are few, and a file can name all of them.
    async fn for_each_role(&self, _: &BTreeSet<String>, visit: RowVisitor<'_, Role>) -> Result<(), BackendError> {
        Self::for_each_role(self, visit).await
    }

    async fn entity_if_any(&self, id: Uuid) -> Result<Option<Entity>, BackendError> {
        Self::entity_if_any(self, id).await
    }

    async fn entity_named(&self, entity_type: &EntityType, name: &str) -> Result<Option<Entity>, BackendError> {
        Self::entity_named(self, entity_type, name).await
    }

    async fn principal_if_any(&self, kind: &PrincipalType, id: Uuid) -> Result<Option<Principal>, BackendError> {
        Self::principal_if_any(self, kind, id).await
    }

    async fn principal_matching(&self, filter: &PrincipalFilter) -> Result<Option<Principal>, BackendError> {
        Self::principal_matching(self, filter).await
    }

    async fn for_each_assignment(
        &self,
        filter: AssignmentFilter,
        visit: RowVisitor<'_, Assignment>,
    ) -> Result<(), BackendError> {
        Self::for_each_assignment(self, filter, visit).await
    }

    /// On the database in one transaction, over the API one by one.
    async fn apply(&self, steps: &[BulkStep]) -> Result<Vec<bool>, BatchError<BackendError>> {
        match self {
            Self::Database { epr, call, .. } => {
                let failed = |BulkFailure { at, why }| BatchError { done: 0, failed_at: at, error: why.into() };
                epr.apply_all(call, steps).await.map_err(failed)
            }
            Self::Api(api) => {
                for (at, step) in steps.iter().enumerate() {
                    api.apply(step).await.map_err(|error| BatchError { done: at, failed_at: Some(at), error })?;
                }
                Ok(vec![true; steps.len()])
            }
        }
    }

    fn sentence(error: &BackendError) -> String {
        crate::sentence(error)
    }

    fn is_in_doubt(error: &BackendError) -> bool {
        matches!(error, BackendError::Core(Error::Unavailable(_)))
    }
}
