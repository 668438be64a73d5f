//! The border of the ledger.

use async_trait::async_trait;

use super::super::{border, dialect};
use super::SqlStore;
use crate::store::{BorderStore, LedgerBorder, Result, grants};

#[async_trait]
impl BorderStore for SqlStore {
    async fn ledger_border(&self) -> Result<Option<LedgerBorder>> {
        self.read(async |conn| border::read(conn).await).await
    }

    async fn missing_drop_privileges(&self) -> Result<Vec<String>> {
        self.read(async |conn| dialect::missing_privileges(conn, grants::DROPPING).await).await
    }
}
