//! The facts of an explanation: those of the check, and the names that people know, in one snapshot.
//!
//! INVARIANT: the facts are those of a check, read by its statement or given by the caller, so that an explanation and
//! a check see the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::Row as _;
use uuid::Uuid;

use super::columns::{read_type, read_word};
use super::dialect::{Conn, Id, Row, bind_id, classify, read_id};
use super::facts::{self, Accepted};
use super::history;
use super::revisions;
use super::sources::AsOf;
use crate::decision::{ExplainedEntity, Facts, NamedFacts, Question, Registration};
use crate::domain::{EntityStatus, EntityType, Json, Moment, PastMoment, Revision, Timestamp};
use crate::ledger::chain::Head;
use crate::store::{ReadAt, Result};

/// Returns the facts of `question` with names, and their origin; `None` when the resource is unknown. The facts are
/// those of `seen` if the registry is in the state that they belong to. `conn` must be in a transaction that sees one
/// snapshot.
pub(super) async fn read(
    conn: &mut Conn,
    question: &Question,
    seen: Option<(Facts, ReadAt)>,
    known: Option<&Head>,
) -> Result<(Option<NamedFacts>, Accepted)> {
    if let Some((facts, read_at)) = seen {
        let (accepted, _) = revisions::read(&mut *conn, known).await?;
        if accepted.read_at() == read_at {
            let named = with_names(&mut *conn, question, facts, (AsOf::Now, accepted.revision)).await?;
            return Ok((named, accepted));
        }
    }
    let (found, accepted) = facts::read(&mut *conn, question, known).await?;
    let Some(found) = found else { return Ok((None, accepted)) };
    Ok((with_names(conn, question, found, (AsOf::Now, accepted.revision)).await?, accepted))
}

/// The same at `moment`, and the moment that it names.
pub(super) async fn read_past(
    conn: &mut Conn,
    question: &Question,
    (moment, now): (Moment, Timestamp),
    known: Option<&Head>,
) -> Result<(PastMoment, Option<NamedFacts>, Accepted)> {
    let (past, found, accepted) = history::facts(&mut *conn, question, (moment, now), known).await?;
    let revision = past.revision;
    let named = match found {
        Some(found) => with_names(conn, question, found, (AsOf::Entry(revision.sequence), revision)).await?,
        None => None,
    };
    Ok((past, named, accepted))
}

/// Returns `None` when the resource is unknown.
async fn with_names(
    conn: &mut Conn,
    question: &Question,
    found: Facts,
    (when, revision): (AsOf, Revision),
) -> Result<Option<NamedFacts>> {
    let lineage = lineage(&mut *conn, question.resource_id, when).await?;
    let Some((resource, ancestors)) = lineage.split_first() else { return Ok(None) };
    Ok(Some(NamedFacts {
        resource_type: resource.entity_type.clone(),
        resource_name: resource.name.clone(),
        resource_external_id: resource.external_id.clone(),
        resource_status: resource.status,
        ancestors: ancestors.iter().map(Ancestor::named).collect(),
        registration: registration(&mut *conn, question, when).await?,
        role_names: role_names(&mut *conn, &found, when).await?,
        facts: found,
        revision,
    }))
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

macro_rules! lineage_statement {
    ($when:tt) => {
        concat!(
            "WITH RECURSIVE lineage(id, parent_id) AS ( \
               SELECT e.id, e.parent_id",
            from_entity!($when, "e", "$1"),
            " UNION \
               SELECT e.id, e.parent_id FROM lineage l ",
            join_entity!($when, "e", "l.parent_id"),
            ") SELECT e.id, e.parent_id, e.type, e.name, e.external_id, e.status FROM lineage l ",
            join_entity!($when, "e", "l.id")
        )
    };
}

/// The entity and its ancestors, the nearest first. In a cycle, which no write can create, each entity appears once.
async fn lineage(conn: &mut Conn, entity: Uuid, when: AsOf) -> Result<Vec<Ancestor>> {
    let query = match when {
        AsOf::Now => sqlx::query(lineage_statement!(now)).bind(bind_id(entity)),
        AsOf::Entry(at) => sqlx::query(lineage_statement!((at "$2"))).bind(bind_id(entity)).bind(at),
    };
    let rows = query.fetch_all(conn).await.map_err(classify)?;
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

macro_rules! registration_statement {
    ($when:tt) => {
        concat!("SELECT p.external_id, p.display_name, p.status", from_principal!($when, "p", "$1", "$2"))
    };
}

async fn registration(conn: &mut Conn, question: &Question, when: AsOf) -> Result<Option<Registration>> {
    let (kind, id) = (question.principal_type.as_str(), bind_id(question.principal_id));
    let query = match when {
        AsOf::Now => sqlx::query(registration_statement!(now)).bind(kind).bind(id),
        AsOf::Entry(at) => sqlx::query(registration_statement!((at "$3"))).bind(kind).bind(id).bind(at),
    };
    let row = query.fetch_optional(conn).await.map_err(classify)?;
    let read = |row: Row| {
        Ok(Registration {
            external_id: row.try_get("external_id").map_err(classify)?,
            display_name: row.try_get("display_name").map_err(classify)?,
            status: read_word(row.try_get("status").map_err(classify)?)?,
        })
    };
    row.map(read).transpose()
}

macro_rules! role_names_statement {
    ($when:tt) => {
        concat!(
            "SELECT r.id, r.name FROM (SELECT ",
            uuid_value!("item.value"),
            " AS id FROM ",
            json_items!("$1"),
            ") named ",
            join_role!($when, "r", "named.id")
        )
    };
}

/// The names of the roles of the assignments among `facts`.
async fn role_names(conn: &mut Conn, facts: &Facts, when: AsOf) -> Result<BTreeMap<Uuid, String>> {
    let roles: BTreeSet<Uuid> = facts.assignments.iter().map(|assignment| assignment.role_id).collect();
    let ids = Json::from(roles.iter().map(Uuid::to_string).collect::<Vec<String>>()).to_string();
    let query = match when {
        AsOf::Now => sqlx::query(role_names_statement!(now)).bind(ids),
        AsOf::Entry(at) => sqlx::query(role_names_statement!((at "$2"))).bind(ids).bind(at),
    };
    let rows = query.fetch_all(conn).await.map_err(classify)?;
    let read = |row: &Row| {
        let id = row.try_get("id").map(read_id).map_err(classify)?;
        Ok((id, row.try_get("name").map_err(classify)?))
    };
    rows.iter().map(read).collect()
}
