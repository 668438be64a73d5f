//! What lists show about entities, and what conditions read of them.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::Row as _;
use uuid::Uuid;

use super::super::columns::{read_object, read_type};
use super::super::dialect::{Conn, classify, read_id};
use super::super::sources::AsOf;
use super::region::ids_text;
use crate::decision::ResourceFacts;
use crate::domain::access::AccessEntity;
use crate::domain::{EntityType, JsonObject};
use crate::store::Result;

/// The entities of the list `$1`, with their attributes if `$2` is true.
macro_rules! described_statement {
    ($when:tt) => {
        concat!(
            "SELECT e.id, e.type, e.name, e.external_id, \
                    CASE WHEN $2 THEN CAST(e.attributes AS TEXT) END AS attributes FROM ",
            json_items!("$1"),
            " ",
            join_probing!(entity_source!($when), "e", "e.id = ", uuid_value!("item.value"))
        )
    };
}

/// What is known about an entity.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Described {
    pub(super) entity_type: EntityType,
    pub(super) name: String,
    pub(super) external_id: Option<String>,
    /// The attributes, if they were asked for.
    attributes: Option<Arc<JsonObject>>,
}

impl Described {
    /// The facts of the entity as the statement of a check returns them: without external id unless there are
    /// conditions, and without attributes unless a condition reads them.
    pub(in super::super) fn facts(&self, has_conditions: bool) -> ResourceFacts {
        if !has_conditions {
            return ResourceFacts::of(self.entity_type.clone());
        }
        ResourceFacts {
            entity_type: self.entity_type.clone().into(),
            external_id: self.external_id.clone(),
            attributes: self.attributes.clone().unwrap_or_default(),
        }
    }

    pub(super) fn named(&self, id: Uuid) -> AccessEntity {
        AccessEntity { id, entity_type: self.entity_type.clone(), name: self.name.clone() }
    }
}

/// Returns those of `ids` that exist.
pub(super) async fn describe(
    conn: &mut Conn,
    ids: &[Uuid],
    with_attributes: bool,
    when: AsOf,
) -> Result<HashMap<Uuid, Described>> {
    Ok(describe_counted(conn, ids, with_attributes, when).await?.0)
}

/// Returns those of `ids` that exist, and the bytes of their attributes.
pub(in super::super) async fn describe_counted(
    conn: &mut Conn,
    ids: &[Uuid],
    with_attributes: bool,
    when: AsOf,
) -> Result<(HashMap<Uuid, Described>, usize)> {
    if ids.is_empty() {
        return Ok((HashMap::new(), 0));
    }
    let query = match when {
        AsOf::Now => sqlx::query(described_statement!(now)).bind(ids_text(ids)).bind(with_attributes),
        AsOf::Entry(at) => {
            sqlx::query(described_statement!((at "$3"))).bind(ids_text(ids)).bind(with_attributes).bind(at)
        }
    };
    let rows = query.fetch_all(conn).await.map_err(classify)?;
    let (mut found, mut bytes) = (HashMap::with_capacity(rows.len()), 0);
    for row in &rows {
        let attributes: Option<&str> = row.try_get("attributes").map_err(classify)?;
        bytes += attributes.map_or(0, str::len);
        let described = Described {
            entity_type: read_type(row.try_get("type").map_err(classify)?)?,
            name: row.try_get("name").map_err(classify)?,
            external_id: row.try_get("external_id").map_err(classify)?,
            attributes: attributes.map(|text| read_object("attributes", text)).transpose()?.map(Arc::new),
        };
        found.insert(row.try_get("id").map(read_id).map_err(classify)?, described);
    }
    Ok((found, bytes))
}
