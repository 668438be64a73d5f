//! The use cases of registered principals. Each method delegates to its handler, or to the store where there is nothing
//! to decide.

use uuid::Uuid;

use super::Epr;
use crate::call::Call;
use crate::domain::assignment::PrincipalType;
use crate::domain::{AuditEntry, JsonObject, NewPrincipal, Principal, PrincipalFilter, PrincipalPatch};
use crate::error::Result;
use crate::handlers::once::first;
use crate::handlers::principals;
use crate::store::{Cursor, Page, RowVisitor, collect_into};

/// Registered principals.
impl Epr {
    /// Registers a principal.
    ///
    /// # Errors
    /// `Conflict` when a principal of the type has the id or the external id.
    pub async fn create_principal(&self, call: &Call, new: NewPrincipal) -> Result<Principal> {
        Ok(first(principals::create(&self.engines, call, None, new).await?))
    }

    /// One registered principal, erased or not.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn principal(&self, principal_type: &PrincipalType, id: Uuid) -> Result<Principal> {
        let found = self.store().principal((principal_type.as_str(), id)).await?;
        found.ok_or_else(|| principals::not_found(id))
    }

    /// A page of the registered principals, newest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn principals(&self, filter: &PrincipalFilter, page: &Page) -> Result<Vec<Principal>> {
        let mut rows = Vec::new();
        self.store().principals(filter, *page, &mut collect_into(&mut rows)).await?;
        Ok(rows)
    }

    /// [`Epr::principals`] as a scan.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn show_principals(
        &self,
        filter: &PrincipalFilter,
        page: Page,
        take: RowVisitor<'_, Principal>,
    ) -> Result<()> {
        Ok(self.store().principals(filter, page, take).await?)
    }

    /// The last principal, from the beginning of the list, that fits into about `bytes` of JSON; `None` when all of
    /// them fit.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn principals_end(&self, filter: &PrincipalFilter, bytes: i64) -> Result<Option<Cursor>> {
        Ok(self.store().principals_end(filter, bytes).await?)
    }

    /// Changes a principal. A patch that changes nothing is neither recorded nor published.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the new external id is taken, or when the principal was erased and the patch names
    /// a personal field.
    pub async fn update_principal(
        &self,
        call: &Call,
        principal_type: &PrincipalType,
        id: Uuid,
        patch: PrincipalPatch,
    ) -> Result<Principal> {
        principals::update(&self.engines, call, (principal_type, id), patch).await
    }

    /// Erases the personal fields of a principal, in the registry and, by destroying their key, in the ledger, and
    /// revokes its assignments. It cannot be undone. Erasing it again changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `Refused` when the principal has more than [`MAX_REVOKED`](crate::MAX_REVOKED) assignments.
    pub async fn erase_principal(&self, call: &Call, principal_type: &PrincipalType, id: Uuid) -> Result<Principal> {
        principals::erase(&self.engines, call, (principal_type, id)).await
    }

    /// The personal fields in a ledger entry of a principal; `None` when the entry has none, or when the principal was
    /// erased since.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn unsealed(&self, entry: &AuditEntry) -> Result<Option<JsonObject>> {
        principals::unsealed(self.store(), entry).await
    }
}
