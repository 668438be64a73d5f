//! The origin of a list: the server and its newest registry change, in the snapshot of the list.

use super::super::dialect::{Conn, classify};
use super::super::facts::Origin;
use crate::ledger::chain::Head;
use crate::store::Result;

const ORIGIN: &str = concat!(
    "SELECT ",
    in_recovery!(),
    " AS recovering, o.sequence AS revision, o.entry_hash AS revision_hash FROM registry_head o WHERE o.id = 1"
);

/// Returns the revision of the snapshot of `conn`; an error unless `known` is an entry of this database's ledger.
pub(super) async fn read(conn: &mut Conn, known: Option<&Head>) -> Result<Head> {
    let row = sqlx::query(ORIGIN).fetch_optional(&mut *conn).await.map_err(classify)?;
    let mut origin = Origin::default();
    if let Some(row) = &row {
        origin.add(row)?;
    }
    origin.accept(conn, known).await
}
