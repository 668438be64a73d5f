//! The rows that lists of principals read: assignments of a range, and registered principals. Each adapter runs the
//! statements for many ranges or principals (`access_batch`).

use std::sync::Arc;

use sqlx::Row as _;
use uuid::Uuid;

use super::super::columns::{read_object, read_word};
use super::super::dialect::{Id, Row, SqlTime, classify, read_id, read_time};
use crate::decision::Registration;
use crate::domain::{JsonObject, Timestamp};
use crate::store::{PrincipalKey, Result, StoreError};

/// The columns that [`RangeRow`] reads of an assignment `$a`.
macro_rules! range_columns {
    ($a:literal) => {
        concat!(
            $a,
            ".principal_id, ",
            $a,
            ".principal_type, ",
            $a,
            ".id, ",
            $a,
            ".entity_id, ",
            $a,
            ".effective_at, ",
            $a,
            ".expires_at, ",
            $a,
            ".condition"
        )
    };
}

/// Selects `$columns` of one range: the assignments `a` of a role on an entity (the nil UUID for global assignments),
/// after a principal, in the order of the list. The parameters are SQL expressions; `$when` is `now` or `(at …)`.
macro_rules! assignments_range {
    (
        $when:tt,
        $columns:expr,
        $entity:literal,
        $role:literal,
        ($after_id:literal, $after_type:literal),
        $limit:literal
    ) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM ",
            from_assignments_by_range!($when),
            "COALESCE(a.entity_id, '00000000-0000-0000-0000-000000000000') = ",
            $entity,
            " AND a.role_id = ",
            $role,
            " AND (a.principal_id, ",
            byte_order!("a.principal_type"),
            ") > (",
            $after_id,
            ", ",
            $after_type,
            ") ORDER BY a.principal_id, ",
            byte_order!("a.principal_type"),
            " LIMIT ",
            $limit
        )
    };
}

/// The columns of a registered principal `p`, with its attributes if `$with_attributes` is true.
macro_rules! registered_columns {
    ($when:tt, $with_attributes:literal) => {
        concat!(
            "p.type, p.id, p.external_id, p.display_name, p.status, CASE WHEN ",
            $with_attributes,
            " THEN CAST(p.attributes AS TEXT) END AS attributes, ",
            erased_since!($when, "p"),
            " AS erased"
        )
    };
}

/// Where a range goes on: an entity (the nil UUID for global assignments), a role, and the principal before.
#[derive(Debug, Clone)]
pub(in super::super::super) struct RangeStart {
    pub(in super::super::super) entity_id: Uuid,
    pub(in super::super::super) role_id: Uuid,
    pub(in super::super::super) after: PrincipalKey,
}

/// An assignment of a range.
#[derive(Debug)]
pub(in super::super::super) struct RangeRow {
    /// By which the rows of a range are ordered.
    pub(in super::super::super) principal: PrincipalKey,
    pub(super) assignment_id: Uuid,
    pub(super) entity_id: Option<Uuid>,
    pub(super) effective_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) condition: Option<String>,
}

impl RangeRow {
    /// The rows of `count` ranges, each in the order of `rows`. Their column `position` has the range, from `first` on.
    pub(in super::super::super) fn by_range(rows: &[Row], count: usize, first: i64) -> Result<Vec<Vec<Self>>> {
        let mut all: Vec<Vec<Self>> = (0..count).map(|_| Vec::new()).collect();
        for row in rows {
            let position: i64 = row.try_get("position").map_err(classify)?;
            let range = position.checked_sub(first).and_then(|at| all.get_mut(usize::try_from(at).ok()?));
            range.ok_or_else(|| StoreError::corrupt("range", "a row for no range"))?.push(Self::read(row)?);
        }
        Ok(all)
    }

    fn read(row: &Row) -> Result<Self> {
        let id = row.try_get("principal_id").map(read_id).map_err(classify)?;
        Ok(Self {
            principal: (id, row.try_get("principal_type").map_err(classify)?),
            assignment_id: row.try_get("id").map(read_id).map_err(classify)?,
            entity_id: row.try_get::<Option<Id>, _>("entity_id").map_err(classify)?.map(read_id),
            effective_at: read_time(row.try_get::<SqlTime, _>("effective_at").map_err(classify)?)?,
            expires_at: row
                .try_get::<Option<SqlTime>, _>("expires_at")
                .map_err(classify)?
                .map(read_time)
                .transpose()?,
            condition: row.try_get("condition").map_err(classify)?,
        })
    }
}

/// A registered principal.
#[derive(Debug)]
pub(in super::super::super) struct Registered {
    pub(super) registration: Registration,
    /// The attributes, if they were asked for.
    pub(super) attributes: Arc<JsonObject>,
    /// Whether its personal fields have been erased since the moment of the question.
    pub(super) is_erased: bool,
}

/// Reads a registered principal by [`registered_columns`].
pub(in super::super::super) fn read_registered(row: &Row) -> Result<(PrincipalKey, Registered)> {
    let key = (row.try_get("id").map(read_id).map_err(classify)?, row.try_get("type").map_err(classify)?);
    let registration = Registration {
        external_id: row.try_get("external_id").map_err(classify)?,
        display_name: row.try_get("display_name").map_err(classify)?,
        status: read_word(row.try_get("status").map_err(classify)?)?,
    };
    let attributes: Option<&str> = row.try_get("attributes").map_err(classify)?;
    let attributes = attributes.map(|text| read_object("attributes", text)).transpose()?.unwrap_or_default().into();
    let is_erased = row.try_get("erased").map_err(classify)?;
    Ok((key, Registered { registration, attributes, is_erased }))
}
