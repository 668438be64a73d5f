//! The tables of history: written with each change, filled from the ledger.
//!
//! INVARIANT: `history_head` names the entry up to which the tables are complete. A change whose program finds them
//! incomplete writes nothing into them: they are completed from the ledger, in the order of its entries.

mod advance;
mod open;
mod past;
mod reconcile;
mod registry;
mod unexplained;
mod verify;
mod write;

use sqlx::Row as _;

pub(super) use self::advance::{advance_to_head, fill, rebuild};
pub(super) use self::past::{Heads, PageState, facts, resolve};
pub(super) use self::reconcile::joined;
pub(super) use self::registry::{row, rows};
use self::unexplained::GAP;
pub(super) use self::unexplained::write_all_baselines;
pub(super) use self::verify::versions;
pub(super) use self::write::append;
use super::dialect::{Conn, classify};
use crate::store::{HistoryState, Result, StoreError};

/// The state of the tables.
#[derive(Debug, Clone, Copy)]
struct HistoryHead {
    state: HistoryState,
    /// Whether rows that the ledger does not explain have their baseline.
    is_filled: bool,
}

/// Up to which entry the tables are complete.
pub(super) async fn state(conn: &mut Conn) -> Result<HistoryState> {
    Ok(head(conn).await?.state)
}

async fn head(conn: &mut Conn) -> Result<HistoryHead> {
    let row = sqlx::query(
        "SELECT x.sequence, x.began, x.filled, r.registry_sequence FROM history_head x CROSS JOIN registry_head r \
         WHERE x.id = 1 AND r.id = 1",
    )
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    let row = row.ok_or_else(|| StoreError::corrupt("history_head", "its row is missing"))?;
    let is_filled = row.try_get("filled").map_err(classify)?;
    Ok(HistoryHead {
        state: HistoryState {
            complete_to: row.try_get::<i64, _>("sequence").map_err(classify)?.max(0),
            began: row
                .try_get::<i64, _>("began")
                .map(|began| if began == GAP { 0 } else { began })
                .map_err(classify)?,
            registry_sequence: row.try_get("registry_sequence").map_err(classify)?,
            is_filled,
        },
        is_filled,
    })
}
