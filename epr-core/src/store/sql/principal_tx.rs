//! What a transaction on this database does to principals.

use async_trait::async_trait;

use super::tx::SqlTx;
use super::{assignments, principals};
use crate::domain::{Assignment, EntityType, Principal};
use crate::seal::PrincipalKey;
use crate::store::{InsertedPrincipal, PrincipalRef, PrincipalTx, Result};

#[async_trait]
impl PrincipalTx for SqlTx {
    async fn delete_assignments_of(
        &mut self,
        principal: PrincipalRef<'_>,
        limit: usize,
    ) -> Result<Vec<(Assignment, Option<EntityType>)>> {
        self.step(async |conn| assignments::delete_all_of(conn, principal, limit).await).await
    }

    async fn insert_principal(&mut self, principal: &Principal) -> Result<InsertedPrincipal> {
        self.step(async |conn| principals::insert(conn, principal).await).await
    }

    async fn lock_principal(&mut self, principal: PrincipalRef<'_>) -> Result<Option<Principal>> {
        self.step(async |conn| principals::lock(conn, principal).await).await
    }

    async fn lock_principal_known_as(&mut self, principal_type: &str, external_id: &str) -> Result<Option<Principal>> {
        self.step(async |conn| principals::lock_known_as(conn, principal_type, external_id).await).await
    }

    async fn share_principal(&mut self, principal: PrincipalRef<'_>) -> Result<Option<Principal>> {
        self.step(async |conn| principals::share(conn, principal).await).await
    }

    async fn update_principal(&mut self, principal: &Principal) -> Result<bool> {
        self.step(async |conn| principals::update(conn, principal).await).await
    }

    async fn principal_key(&mut self, principal: PrincipalRef<'_>) -> Result<Option<PrincipalKey>> {
        self.step(async |conn| principals::key(conn, principal).await).await
    }

    async fn insert_principal_key(&mut self, principal: PrincipalRef<'_>, key: &PrincipalKey) -> Result<()> {
        self.step(async |conn| principals::insert_key(conn, principal, key).await).await
    }

    async fn delete_principal_key(&mut self, principal: PrincipalRef<'_>) -> Result<bool> {
        self.step(async |conn| principals::delete_key(conn, principal).await).await
    }
}
