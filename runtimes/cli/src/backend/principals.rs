//! Registered principals, on the database or over the API.

use epr_core::Error;
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{NewPrincipal, Principal, PrincipalFilter, PrincipalPatch};
use epr_core::store::Cursor;
use uuid::Uuid;

use super::{Backend, BackendError, RowVisitor, as_conflict, for_each_row};

impl Backend {
    pub(crate) async fn principal(&self, kind: &PrincipalType, id: Uuid) -> Result<Principal, BackendError> {
        match self {
            Self::Database { epr, .. } => Ok(epr.principal(kind, id).await?),
            Self::Api(api) => api.checked(api.client.principal(kind, id).await),
        }
    }

    /// A principal, or `None` when it is not registered.
    pub(crate) async fn principal_if_any(
        &self,
        kind: &PrincipalType,
        id: Uuid,
    ) -> Result<Option<Principal>, BackendError> {
        match self.principal(kind, id).await {
            Ok(principal) => Ok(Some(principal)),
            Err(BackendError::Core(Error::NotFound(_)) | BackendError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first principal that matches `filter`.
    pub(crate) async fn principal_matching(&self, filter: &PrincipalFilter) -> Result<Option<Principal>, BackendError> {
        let mut found = None;
        self.for_each_principal(filter, &mut |principal| {
            found = Some(principal);
            false
        })
        .await?;
        Ok(found)
    }

    pub(crate) async fn for_each_principal(
        &self,
        filter: &PrincipalFilter,
        visit: RowVisitor<'_, Principal>,
    ) -> Result<(), BackendError> {
        let epr = match self {
            Self::Database { epr, .. } => epr,
            Self::Api(api) => return api.for_each(api.client.principals(filter), visit).await,
        };
        let cursor = |row: &Principal| Cursor { created_at: row.created_at, id: row.id };
        for_each_row(async |page| epr.principals(filter, &page).await, cursor, visit).await
    }

    pub(crate) async fn create_principal(&self, new: NewPrincipal) -> Result<Principal, BackendError> {
        match self {
            Self::Database { epr, call, .. } => epr.create_principal(call, new).await.map_err(as_conflict),
            Self::Api(api) => api.checked(api.client.create_principal(&new).await),
        }
    }

    pub(crate) async fn update_principal(
        &self,
        kind: &PrincipalType,
        id: Uuid,
        patch: PrincipalPatch,
    ) -> Result<Principal, BackendError> {
        match self {
            Self::Database { epr, call, .. } => epr.update_principal(call, kind, id, patch).await.map_err(as_conflict),
            Self::Api(api) => api.checked(api.client.update_principal(kind, id, &patch).await),
        }
    }

    pub(crate) async fn erase_principal(&self, kind: &PrincipalType, id: Uuid) -> Result<Principal, BackendError> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.erase_principal(call, kind, id).await?),
            Self::Api(api) => api.checked(api.client.erase_principal(kind, id).await),
        }
    }
}
