//! The ids behind the names of other systems, and the facts of questions that are asked in such names.
//!
//! INVARIANT: the facts of a registered resource are read by the statement of the check, and those of another one are
//! the global assignments that the same statement returns.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::Row as _;
use uuid::Uuid;

use super::columns::{read_object, read_type, read_word};
use super::dialect::{Conn, Id, classify, facts_batch, read_id};
use super::facts::{Accepted, Origin};
use crate::decision::{AssignmentFacts, Facts, PrincipalFacts, Question, ResourceFacts};
use crate::domain::Json;
use crate::domain::assignment::{PrincipalType, default_principal_type};
use crate::domain::principal::PrincipalStatus;
use crate::ledger::chain::Head;
use crate::store::{ExternalName, IdentifiedFacts, NamedQuestion, Result, StoreError};

/// Three lists of names: principals, entities, and the entities whose names are UUIDs. A name is a list of its type and
/// its id; the position of a row is that of its name. The last row is about the origin.
pub(in super::super) const IDENTITIES: &str = concat!(
    "SELECT item.position, 1 AS source, p.id, CAST(NULL AS boolean) AS recovering, CAST(NULL AS bigint) AS decisive, \
            NULL AS decisive_hash, CAST(NULL AS bigint) AS registry_sequence, NULL AS incarnation \
     FROM ",
    json_rows!("$1"),
    " ",
    join_probing!("principals", "p", "p.external_id = item.value ->> 1 AND p.type = item.value ->> 0"),
    " UNION ALL SELECT item.position, 2, e.id, NULL, NULL, NULL, NULL, NULL FROM ",
    json_rows!("$2"),
    " ",
    join_probing!("entities", "e", "e.external_id = item.value ->> 1 AND e.type = item.value ->> 0"),
    " UNION ALL SELECT item.position, 3, e.id, NULL, NULL, NULL, NULL, NULL FROM ",
    json_rows!("$3"),
    " ",
    join_probing!("entities", "e", "e.id = ", uuid_value!("item.value ->> 1"), " AND e.type = item.value ->> 0"),
    " UNION ALL SELECT NULL, NULL, NULL, ",
    in_recovery!(),
    ", o.sequence, o.entry_hash, o.registry_sequence, CAST(o.incarnation AS TEXT) FROM registry_head o WHERE o.id = 1"
);

/// The ids of principals and of entities, in the order of their names.
pub(super) type Ids = (Vec<Option<Uuid>>, Vec<Option<Uuid>>);

/// A list of names as the statement takes it. Positions are kept: a name that is left out is an empty list.
fn list<'a>(names: impl Iterator<Item = Option<&'a ExternalName>>) -> String {
    let pair = |name: &ExternalName| Json::List(vec![name.kind.as_str().into(), name.id.as_str().into()]);
    Json::List(names.map(|name| name.map_or(Json::List(Vec::new()), pair)).collect()).to_string()
}

/// Returns the ids behind names, and their origin; an error unless `known` is an entry of this database's ledger. A
/// name that is listed more than once is looked up once.
pub(super) async fn read(
    conn: &mut Conn,
    principals: &[ExternalName],
    entities: &[ExternalName],
    known: Option<&Head>,
) -> Result<(Ids, Accepted)> {
    let (principals, of_principal) = distinct(principals.iter());
    let (entities, of_entity) = distinct(entities.iter());
    let ((principal_ids, entity_ids), accepted) = read_distinct(conn, &principals, &entities, known).await?;
    let each = |ids: &[Option<Uuid>], of: Vec<usize>| of.into_iter().map(|at| ids.get(at).copied().flatten()).collect();
    Ok(((each(&principal_ids, of_principal), each(&entity_ids, of_entity)), accepted))
}

async fn read_distinct(
    conn: &mut Conn,
    principals: &[ExternalName],
    entities: &[ExternalName],
    known: Option<&Head>,
) -> Result<(Ids, Accepted)> {
    let rows = sqlx::query(IDENTITIES)
        .bind(list(principals.iter().map(Some)))
        .bind(list(entities.iter().map(Some)))
        .bind(list(entities.iter().map(|name| Some(name).filter(|name| name.uuid().is_some()))))
        .fetch_all(&mut *conn)
        .await
        .map_err(classify)?;
    let mut origin = Origin::default();
    // An unregistered principal has the UUID that it is named by, if it is one.
    let mut principal_ids: Vec<_> = principals.iter().map(id_of_unregistered).collect();
    let mut entity_ids = vec![None; entities.len()];
    let mut by_uuid = Vec::new();
    for row in &rows {
        if origin.add(row)? {
            continue;
        }
        let position: i64 = row.try_get("position").map_err(classify)?;
        let source: i32 = row.try_get("source").map_err(classify)?;
        let id = row.try_get::<Id, _>("id").map(read_id).map_err(classify)?;
        let ids = match source {
            1 => &mut principal_ids,
            2 => &mut entity_ids,
            _ => {
                by_uuid.push((position, id));
                continue;
            }
        };
        *at(ids, position)? = Some(id);
    }
    // An external id wins over a UUID.
    for (position, id) in by_uuid {
        at(&mut entity_ids, position)?.get_or_insert(id);
    }
    Ok(((principal_ids, entity_ids), origin.accept(conn, known).await?))
}

fn at<T>(all: &mut [T], position: i64) -> Result<&mut T> {
    let found = usize::try_from(position).ok().and_then(|position| all.get_mut(position));
    found.ok_or_else(|| StoreError::corrupt("identities", "a row for no name"))
}

/// The id of a principal that no registered one is named like. Its type must be one that assignments can have.
fn id_of_unregistered(name: &ExternalName) -> Option<Uuid> {
    name.uuid().filter(|_| PrincipalType::new(name.kind.as_str()).is_ok())
}

/// Distinct values, and the index of each given one among them.
fn distinct<'a, T: Eq + std::hash::Hash + Clone + 'a>(all: impl Iterator<Item = &'a T>) -> (Vec<T>, Vec<usize>) {
    let (mut values, mut known) = (Vec::new(), HashMap::new());
    let indexes = all.map(|one| {
        *known.entry(one).or_insert_with(|| {
            values.push(one.clone());
            values.len() - 1
        })
    });
    let indexes = indexes.collect();
    (values, indexes)
}

/// Returns the ids and the facts of each question, and their origin. `conn` must be in a transaction that sees one
/// snapshot, or hold the ledger's lock.
pub(super) async fn facts(
    conn: &mut Conn,
    questions: &[NamedQuestion],
    known: Option<&Head>,
) -> Result<(Vec<IdentifiedFacts>, Accepted)> {
    let (principals, of_principal) = distinct(questions.iter().map(|question| &question.principal));
    let (entities, of_entity) = distinct(questions.iter().map(|question| &question.resource));
    let ((principal_ids, entity_ids), accepted) = read_distinct(&mut *conn, &principals, &entities, known).await?;
    let identified: Vec<_> = questions
        .iter()
        .zip(of_principal.iter().zip(&of_entity))
        .map(|(named, (principal, entity))| {
            let id = |ids: &[Option<Uuid>], at: usize| ids.get(at).copied().flatten();
            let (principal_id, resource_id) = (id(&principal_ids, *principal), id(&entity_ids, *entity));
            (question(named, principal_id, resource_id), principal_id, resource_id)
        })
        .collect();
    // A principal without an id has no assignments: nothing is read about it.
    let (asked, of_question) =
        distinct(identified.iter().filter(|(_, id, _)| id.is_some()).map(|(question, ..)| question));
    let mut found = Vec::with_capacity(asked.len());
    if !asked.is_empty() {
        for one in facts_batch::found(&mut *conn, &asked, known).await?.0 {
            found.push(match one.resource() {
                Some(_) => Known::Registered(Arc::new(one.facts().ok_or_else(vanished)?)),
                None => Known::Global(one.assignments()),
            });
        }
    }
    let about_unregistered = asked.iter().filter(|question| question.resource_id.is_nil());
    let registrations = principal_facts(conn, about_unregistered).await?;
    let mut of_question = of_question.into_iter();
    let facts = questions.iter().zip(identified);
    let facts = facts.map(|(named, (question, principal_id, resource_id))| {
        let known = match principal_id {
            None => None,
            Some(_) => Some(of_question.next().and_then(|at| found.get(at)).ok_or_else(vanished)?),
        };
        let facts = match (known, resource_id) {
            (None, None) => Arc::new(without_assignments(unregistered(named))),
            (None, Some(_)) => {
                Arc::new(without_assignments(ResourceFacts::of(read_type(named.resource.kind.as_str())?)))
            }
            (Some(Known::Registered(facts)), Some(_)) => Arc::clone(facts),
            (Some(Known::Global(assignments)), None) => {
                let key = (question.principal_type.as_str().to_owned(), question.principal_id);
                let principal = registrations.get(&key).cloned().unwrap_or_default();
                Arc::new(Facts {
                    principal,
                    assignments: assignments.clone(),
                    ..without_assignments(unregistered(named))
                })
            }
            _ => return Err(vanished()),
        };
        Ok(IdentifiedFacts { principal_id, resource_id, question, facts })
    });
    Ok((facts.collect::<Result<_>>()?, accepted))
}

fn unregistered(named: &NamedQuestion) -> ResourceFacts {
    let ExternalName { kind, id } = named.resource.clone();
    ResourceFacts::unregistered(kind, id.into_string())
}

fn without_assignments(resource: ResourceFacts) -> Facts {
    Facts { principal: PrincipalFacts::default(), resource, assigned_entities: Vec::new(), assignments: Vec::new() }
}

/// What the statement of the check returned.
enum Known {
    Registered(Arc<Facts>),
    Global(Vec<AssignmentFacts>),
}

fn vanished() -> StoreError {
    StoreError::corrupt("facts", "an entity was there in one statement of a snapshot and not in another")
}

/// The question by ids. The nil UUID, which no row has, stands for what has no id.
fn question(named: &NamedQuestion, principal_id: Option<Uuid>, resource_id: Option<Uuid>) -> Question {
    Question {
        principal_id: principal_id.unwrap_or_default(),
        principal_type: named.principal_type().unwrap_or_else(default_principal_type),
        action: named.action.clone(),
        resource_id: resource_id.unwrap_or_default(),
    }
}

/// The registered principals of `questions`, by type and id.
async fn principal_facts(
    conn: &mut Conn,
    questions: impl Iterator<Item = &Question>,
) -> Result<HashMap<(String, Uuid), PrincipalFacts>> {
    let pair = |question: &Question| {
        Json::List(vec![question.principal_type.as_str().into(), question.principal_id.to_string().into()])
    };
    let mut pairs: Vec<_> = questions.map(pair).collect();
    pairs.sort_by_key(ToString::to_string);
    pairs.dedup();
    if pairs.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(concat!(
        "SELECT p.type, p.id, p.status, CAST(p.attributes AS TEXT) AS attributes, p.external_id FROM ",
        json_rows!("$1"),
        " ",
        join_probing!("principals", "p", "p.type = item.value ->> 0 AND p.id = ", uuid_value!("item.value ->> 1"))
    ))
    .bind(Json::List(pairs).to_string())
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    let mut facts = HashMap::with_capacity(rows.len());
    for row in &rows {
        let status: PrincipalStatus = read_word(row.try_get("status").map_err(classify)?)?;
        let one = PrincipalFacts {
            is_suspended: status == PrincipalStatus::Suspended,
            external_id: row.try_get("external_id").map_err(classify)?,
            attributes: read_object("attributes", row.try_get("attributes").map_err(classify)?)?,
            is_erased: false,
        };
        let id = row.try_get::<Id, _>("id").map(read_id).map_err(classify)?;
        facts.insert((row.try_get("type").map_err(classify)?, id), one);
    }
    Ok(facts)
}
