//! Reading registered principals.

use async_trait::async_trait;

use super::super::principals;
use super::SqlStore;
use crate::domain::{Principal, PrincipalFilter};
use crate::seal::PrincipalKey;
use crate::store::{Cursor, Page, PrincipalRef, PrincipalStore, Result, RowVisitor};

#[async_trait]
impl PrincipalStore for SqlStore {
    async fn principal(&self, principal: PrincipalRef<'_>) -> Result<Option<Principal>> {
        self.read(async |conn| principals::get(conn, principal).await).await
    }

    async fn principals(&self, filter: &PrincipalFilter, page: Page, visit: RowVisitor<'_, Principal>) -> Result<()> {
        self.list(async |conn| principals::list(conn, filter, page, visit).await).await
    }

    async fn principals_end(&self, filter: &PrincipalFilter, bytes: i64) -> Result<Option<Cursor>> {
        self.list(async |conn| principals::end(conn, filter, bytes).await).await
    }

    async fn principal_key(&self, principal: PrincipalRef<'_>) -> Result<Option<PrincipalKey>> {
        self.read(async |conn| principals::key(conn, principal).await).await
    }
}
