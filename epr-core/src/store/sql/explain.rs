//! The facts of an explanation: those of the check, and the names that people know, in one snapshot.
//!
//! INVARIANT: the facts are read by the statement of the check, so that an explanation and a check see the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::Row as _;
use uuid::Uuid;

use super::columns::{read_type, read_word};
use super::dialect::{Conn, Id, Row, bind_id, classify, read_id};
use super::facts::{self, Accepted};
use crate::decision::{ExplainedEntity, Facts, NamedFacts, Question, Registration};
use crate::domain::{EntityStatus, EntityType, Json};
use crate::ledger::chain::Head;
use crate::store::{Result, StoreError};

/// Returns the facts of `question` with names, and their origin; `None` when the resource is unknown. `conn` must be
/// in a transaction that sees one snapshot.
pub(super) async fn read(
    conn: &mut Conn,
    question: &Question,
    known: Option<&Head>,
) -> Result<(Option<NamedFacts>, Accepted)> {
    let (found, accepted) = facts::read(&mut *conn, question, known).await?;
    let Some(found) = found else { return Ok((None, accepted)) };
    let lineage = lineage(&mut *conn, question.resource_id).await?;
    let (resource, ancestors) =
        lineage.split_first().ok_or_else(|| StoreError::corrupt("facts", "the resource has no row of its own"))?;
    let named = NamedFacts {
        resource_name: resource.name.clone(),
        resource_external_id: resource.external_id.clone(),
        resource_status: resource.status,
        ancestors: ancestors.iter().map(Ancestor::named).collect(),
        registration: registration(&mut *conn, question).await?,
        role_names: role_names(&mut *conn, &found).await?,
        facts: found,
        revision: accepted.revision,
    };
    Ok((Some(named), accepted))
}

/// An entity on the path to the root.
struct Ancestor {
    id: Uuid,
    parent_id: Option<Uuid>,
    entity_type: EntityType,
    name: String,
    external_id: Option<String>,
    status: EntityStatus,
}

impl Ancestor {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.try_get("id").map(read_id).map_err(classify)?,
            parent_id: row.try_get::<Option<Id>, _>("parent_id").map_err(classify)?.map(read_id),
            entity_type: read_type(row.try_get("type").map_err(classify)?)?,
            name: row.try_get("name").map_err(classify)?,
            external_id: row.try_get("external_id").map_err(classify)?,
            status: read_word(row.try_get("status").map_err(classify)?)?,
        })
    }

    fn named(&self) -> ExplainedEntity {
        ExplainedEntity { id: self.id, entity_type: self.entity_type.clone(), name: self.name.clone() }
    }
}

/// The entity and its ancestors, the nearest first. In a cycle, which no write can create, each entity appears once.
async fn lineage(conn: &mut Conn, entity: Uuid) -> Result<Vec<Ancestor>> {
    let rows = sqlx::query(concat!(
        "WITH RECURSIVE lineage(id, parent_id) AS ( \
           SELECT id, parent_id FROM entities WHERE id = $1 \
           UNION \
           SELECT e.id, e.parent_id FROM lineage l ",
        join_probing!("entities", "e", "e.id = l.parent_id"),
        ") SELECT e.id, e.parent_id, e.type, e.name, e.external_id, e.status FROM lineage l ",
        join_probing!("entities", "e", "e.id = l.id")
    ))
    .bind(bind_id(entity))
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    let mut left = HashMap::new();
    for row in &rows {
        let one = Ancestor::read(row)?;
        left.insert(one.id, one);
    }
    let (mut path, mut next) = (Vec::with_capacity(left.len()), Some(entity));
    while let Some(one) = next.and_then(|id| left.remove(&id)) {
        next = one.parent_id;
        path.push(one);
    }
    Ok(path)
}

async fn registration(conn: &mut Conn, question: &Question) -> Result<Option<Registration>> {
    let row = sqlx::query("SELECT external_id, display_name, status FROM principals WHERE type = $1 AND id = $2")
        .bind(question.principal_type.as_str())
        .bind(bind_id(question.principal_id))
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    let read = |row: Row| {
        Ok(Registration {
            external_id: row.try_get("external_id").map_err(classify)?,
            display_name: row.try_get("display_name").map_err(classify)?,
            status: read_word(row.try_get("status").map_err(classify)?)?,
        })
    };
    row.map(read).transpose()
}

/// The names of the roles of the assignments among `facts`.
async fn role_names(conn: &mut Conn, facts: &Facts) -> Result<BTreeMap<Uuid, String>> {
    let roles: BTreeSet<Uuid> = facts.assignments.iter().map(|assignment| assignment.role_id).collect();
    let ids: Vec<String> = roles.iter().map(Uuid::to_string).collect();
    let rows = sqlx::query(concat!(
        "SELECT r.id, r.name FROM ",
        json_items!("$1"),
        " JOIN roles r ON r.id = ",
        uuid_value!("item.value")
    ))
    .bind(Json::from(ids).to_string())
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    let read = |row: &Row| {
        let id = row.try_get("id").map(read_id).map_err(classify)?;
        Ok((id, row.try_get("name").map_err(classify)?))
    };
    rows.iter().map(read).collect()
}
