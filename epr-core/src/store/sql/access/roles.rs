//! The roles that hold an action.

use sqlx::Row as _;
use uuid::Uuid;

use super::super::columns::read_types;
use super::super::dialect::{Conn, Row, classify, read_id};
use crate::decision::{ConditionFacts, ConditionOwner};
use crate::domain::EntityType;
use crate::store::Result;

/// A role that holds the action of the list.
pub(in super::super) struct HoldingRole {
    pub(in super::super) id: Uuid,
    pub(in super::super) name: String,
    pub(in super::super) scope_types: Vec<EntityType>,
    /// The role's condition for the action.
    pub(in super::super) condition: Option<ConditionFacts>,
}

/// The permissions are looked up by the action, and the roles by the permission.
const HOLDING: &str = concat!(
    "SELECT r.id, r.name, CAST(r.scope_types AS TEXT) AS scope_types, rp.condition FROM permissions p ",
    join_probing!("role_permissions", "rp", "rp.permission_id = p.id"),
    " ",
    join_probing!("roles", "r", "r.id = rp.role_id"),
    " WHERE p.action = $1"
);

fn read(row: &Row) -> Result<HoldingRole> {
    let condition: Option<&str> = row.try_get("condition").map_err(classify)?;
    Ok(HoldingRole {
        id: row.try_get("id").map(read_id).map_err(classify)?,
        name: row.try_get("name").map_err(classify)?,
        scope_types: read_types(row.try_get("scope_types").map_err(classify)?)?,
        condition: condition.map(|text| ConditionFacts::of(ConditionOwner::Role, text)),
    })
}

/// Returns the roles that hold `action`.
pub(in super::super) async fn holding(conn: &mut Conn, action: &str) -> Result<Vec<HoldingRole>> {
    let rows = sqlx::query(HOLDING).bind(action).fetch_all(conn).await.map_err(classify)?;
    rows.iter().map(read).collect()
}
