//! The roles that hold an action.

use std::sync::Arc;

use sqlx::Row as _;
use uuid::Uuid;

use super::super::columns::read_types;
use super::super::dialect::{Conn, Row, classify, read_id};
use super::super::sources::AsOf;
use crate::decision::{ConditionFacts, ConditionOwner};
use crate::domain::EntityType;
use crate::store::Result;

/// A role that holds the action of the list.
pub(in super::super) struct HoldingRole {
    pub(in super::super) id: Uuid,
    pub(in super::super) name: String,
    pub(in super::super) scope_types: Arc<[EntityType]>,
    /// The role's condition for the action.
    pub(in super::super) condition: Option<ConditionFacts>,
}

/// The columns of a holding role.
macro_rules! holding_columns {
    () => {
        "r.id, r.name, CAST(r.scope_types AS TEXT) AS scope_types, rp.condition"
    };
}

fn read(row: &Row) -> Result<HoldingRole> {
    let condition: Option<&str> = row.try_get("condition").map_err(classify)?;
    Ok(HoldingRole {
        id: row.try_get("id").map(read_id).map_err(classify)?,
        name: row.try_get("name").map_err(classify)?,
        scope_types: read_types(row.try_get("scope_types").map_err(classify)?)?.into(),
        condition: condition.map(|text| ConditionFacts::of(ConditionOwner::Role, text)),
    })
}

/// Returns the roles that hold `action`.
pub(in super::super) async fn holding(conn: &mut Conn, action: &str, when: AsOf) -> Result<Vec<HoldingRole>> {
    let query = match when {
        AsOf::Now => sqlx::query(holding_statement!(now, "$1", holding_columns!())).bind(action),
        AsOf::Entry(at) => sqlx::query(holding_statement!((at "$2"), "$1", holding_columns!())).bind(action).bind(at),
    };
    let rows = query.fetch_all(conn).await.map_err(classify)?;
    rows.iter().map(read).collect()
}
