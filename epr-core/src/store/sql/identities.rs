//! The ids behind the names of other systems, and the facts of batches of questions, by ids or in such names.
//!
//! INVARIANT: the facts of a registered resource are read by the statement of the check, and those of another one are
//! the global assignments that the same statement returns.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::Row as _;
use uuid::Uuid;

use super::access::described::{Described, describe_counted};
use super::columns::{read_object, read_type, read_word};
use super::dialect::{Conn, Id, classify, facts_batch, read_id};
use super::facts::{Accepted, Found, Origin};
use super::revisions;
use super::sources::AsOf;
use crate::decision::{Facts, PrincipalFacts, Question, ResourceFacts};
use crate::domain::Json;
use crate::domain::assignment::{PrincipalType, default_principal_type};
use crate::domain::principal::PrincipalStatus;
use crate::ledger::chain::Head;
use crate::store::{BatchQuestion, ExternalName, IdentifiedFacts, NamedQuestion, Result, StoreError};

/// Three lists of names: principals, entities, and the entities whose names are UUIDs. A name is a list of its type and
/// its id; the position of a row is that of its name in its list. The last row is about the origin.
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

/// A list of names as the statement takes it.
fn list<'a>(names: impl Iterator<Item = &'a ExternalName>) -> String {
    let pair = |name: &ExternalName| Json::List(vec![name.kind.as_str().into(), name.id.as_str().into()]);
    Json::List(names.map(pair).collect()).to_string()
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
    // Few names are UUIDs: only these are looked up as such.
    let (uuids, of_uuid): (Vec<_>, Vec<_>) =
        entities.iter().enumerate().filter(|(_, name)| name.uuid().is_some()).map(|(at, name)| (name, at)).unzip();
    let rows = sqlx::query(IDENTITIES)
        .bind(list(principals.iter()))
        .bind(list(entities.iter()))
        .bind(list(uuids.into_iter()))
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
        let position = usize::try_from(position).ok().and_then(|position| of_uuid.get(position));
        entity_ids.get_mut(*position.ok_or_else(no_name)?).ok_or_else(no_name)?.get_or_insert(id);
    }
    Ok(((principal_ids, entity_ids), origin.accept(conn, known).await?))
}

fn at<T>(all: &mut [T], position: i64) -> Result<&mut T> {
    let found = usize::try_from(position).ok().and_then(|position| all.get_mut(position));
    found.ok_or_else(no_name)
}

fn no_name() -> StoreError {
    StoreError::corrupt("identities", "a row for no name")
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

/// A question by ids, and the ids that its caller's names have; `None` where there is none. The resource of a question
/// by ids may prove to be unknown.
struct Identified<'a> {
    question: Question,
    principal_id: Option<Uuid>,
    resource_id: Option<Uuid>,
    named: Option<&'a NamedQuestion>,
}

/// Returns the ids and the facts of each question, and their origin. `conn` must be in a transaction that sees one
/// snapshot, or hold the ledger's lock.
pub(super) async fn facts(
    conn: &mut Conn,
    questions: &[BatchQuestion],
    known: Option<&Head>,
) -> Result<(Vec<IdentifiedFacts>, Accepted)> {
    let (identified, named_at) = identify(&mut *conn, questions, known).await?;
    // A principal without an id has no assignments: nothing is read about it.
    let (asked, of_question) =
        distinct(identified.iter().filter(|one| one.principal_id.is_some()).map(|one| &one.question));
    let (found, read_at) = by_ids(&mut *conn, &asked, known).await?;
    let accepted = match named_at.or(read_at) {
        Some(accepted) => accepted,
        None => revisions::read(conn, known).await?.0,
    };
    let mut of_question = of_question.into_iter();
    let facts = identified.into_iter().map(|one| {
        let Identified { question, principal_id, resource_id, named } = one;
        let found = principal_id.map(|_| of_question.next().and_then(|at| found.get(at)).ok_or_else(vanished));
        let Some(named) = named else {
            let facts = found.ok_or_else(vanished)??;
            let resource_id = resource_id.filter(|_| is_registered(facts));
            return Ok(IdentifiedFacts {
                principal_id,
                resource_id,
                question,
                facts: Arc::clone(facts),
                unregistered: None,
            });
        };
        let facts = match (found, resource_id) {
            (Some(found), _) => Arc::clone(found?),
            (None, None) => Arc::new(without_assignments(unregistered(&named.resource))),
            (None, Some(_)) => {
                Arc::new(without_assignments(ResourceFacts::of(read_type(named.resource.kind.as_str())?)))
            }
        };
        if is_registered(&facts) != resource_id.is_some() {
            return Err(vanished());
        }
        let unregistered = resource_id.is_none().then(|| unregistered(&named.resource));
        Ok(IdentifiedFacts { principal_id, resource_id, question, facts, unregistered })
    });
    Ok((facts.collect::<Result<_>>()?, accepted))
}

fn is_registered(facts: &Facts) -> bool {
    facts.resource.entity_type.registered().is_some()
}

/// The questions by ids, and the origin of the ids of names, if there are names.
async fn identify<'a>(
    conn: &mut Conn,
    questions: &'a [BatchQuestion],
    known: Option<&Head>,
) -> Result<(Vec<Identified<'a>>, Option<Accepted>)> {
    let by_names = || questions.iter().filter_map(BatchQuestion::names);
    let (principals, of_principal) = distinct(by_names().map(|question| &question.principal));
    let (entities, of_entity) = distinct(by_names().map(|question| &question.resource));
    let ((principal_ids, entity_ids), accepted) = if principals.is_empty() {
        (Ids::default(), None)
    } else {
        let (ids, accepted) = read_distinct(conn, &principals, &entities, known).await?;
        (ids, Some(accepted))
    };
    let id = |ids: &[Option<Uuid>], at: Option<usize>| at.and_then(|at| ids.get(at).copied().flatten());
    let (mut of_principal, mut of_entity) = (of_principal.into_iter(), of_entity.into_iter());
    let identified = questions.iter().map(|one| match one {
        BatchQuestion::Ids(question) => Identified {
            question: question.clone(),
            principal_id: Some(question.principal_id),
            resource_id: Some(question.resource_id),
            named: None,
        },
        BatchQuestion::Names(named) => {
            let (principal_id, resource_id) =
                (id(&principal_ids, of_principal.next()), id(&entity_ids, of_entity.next()));
            let question = question(named, principal_id, resource_id);
            Identified { question, principal_id, resource_id, named: Some(named) }
        }
    });
    Ok((identified.collect(), accepted))
}

/// The facts of questions by ids, and their origin if there are questions. Each principal and each entity is described
/// once, however many questions are about it. Those of a resource that is not registered are the global assignments;
/// its description is to be replaced.
async fn by_ids(
    conn: &mut Conn,
    asked: &[Question],
    known: Option<&Head>,
) -> Result<(Vec<Arc<Facts>>, Option<Accepted>)> {
    if asked.is_empty() {
        return Ok((Vec::new(), None));
    }
    let (found, accepted) = facts_batch::undescribed(&mut *conn, asked, known).await?;
    let described = || found.iter().filter(|one| one.has_conditions());
    let described_or_global = found.iter().filter(|one| one.has_conditions() || !one.is_registered());
    let principals = principal_facts(&mut *conn, described_or_global.map(Found::question)).await?;
    let mut entities: Vec<_> =
        described().filter(|one| one.is_registered()).map(|one| one.question().resource_id).collect();
    entities.sort_unstable();
    entities.dedup();
    let entities = describe_bounded(conn, &entities).await?;
    let facts = found.into_iter().map(|one| {
        let Question { principal_id, principal_type, resource_id, .. } = one.question();
        let principal = principals.get(&(principal_type.as_str().to_owned(), *principal_id));
        let facts = match (one.is_registered(), one.has_conditions()) {
            (false, _) => one.facts_of(nowhere(), principal.cloned().unwrap_or_default()),
            (true, false) => one.facts().ok_or_else(vanished)?,
            (true, true) => {
                let resource = entities.get(resource_id).ok_or_else(vanished)?.facts(true);
                one.described(principal, resource).ok_or_else(vanished)?
            }
        };
        Ok(Arc::new(facts))
    });
    Ok((facts.collect::<Result<_>>()?, Some(accepted)))
}

/// The most bytes of attributes that are read for the questions of one call.
const MAX_ATTRIBUTES_BYTES: usize = 16 << 20;
/// The entities whose attributes are read by one statement.
const MAX_DESCRIBED: usize = 64;

async fn describe_bounded(conn: &mut Conn, ids: &[Uuid]) -> Result<HashMap<Uuid, Described>> {
    let (mut all, mut bytes) = (HashMap::with_capacity(ids.len()), 0);
    for ids in ids.chunks(MAX_DESCRIBED) {
        let (described, read) = describe_counted(&mut *conn, ids, true, AsOf::Now).await?;
        bytes += read;
        if bytes > MAX_ATTRIBUTES_BYTES {
            return Err(StoreError::TooLarge(
                "The entities that these questions are about have more than 16 MiB of attributes, which conditions \
                 read; ask fewer questions at a time",
            ));
        }
        all.extend(described);
    }
    Ok(all)
}

fn unregistered(name: &ExternalName) -> ResourceFacts {
    ResourceFacts::unregistered(name.kind.clone(), name.id.clone().into_string())
}

/// A resource that is not registered, before it is known how the caller names it.
fn nowhere() -> ResourceFacts {
    let named = "?".parse().unwrap_or_else(|_| unreachable!("one character is within the bounds"));
    ResourceFacts::unregistered(named, String::new())
}

fn without_assignments(resource: ResourceFacts) -> Facts {
    Facts { principal: PrincipalFacts::default(), resource, assigned_entities: Vec::new(), assignments: Vec::new() }
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
async fn principal_facts<'a>(
    conn: &mut Conn,
    questions: impl Iterator<Item = &'a Question>,
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
            attributes: read_object("attributes", row.try_get("attributes").map_err(classify)?)?.into(),
            is_erased: false,
        };
        let id = row.try_get::<Id, _>("id").map(read_id).map_err(classify)?;
        facts.insert((row.try_get("type").map_err(classify)?, id), one);
    }
    Ok(facts)
}

/// The key of the hashes of names.
pub(super) async fn ledger_name_key(conn: &mut Conn) -> Result<Option<[u8; 32]>> {
    let key: Option<Vec<u8>> = sqlx::query_scalar("SELECT key FROM ledger_name_keys WHERE number = 1")
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    let key = key.map(|key| key.try_into().map_err(|_| StoreError::corrupt("ledger_name_keys.key", "not 32 bytes")));
    key.transpose()
}

/// Stores the key of the hashes of names unless there is one; returns the one that there is.
pub(super) async fn store_ledger_name_key(conn: &mut Conn, key: &[u8; 32]) -> Result<[u8; 32]> {
    sqlx::query("INSERT INTO ledger_name_keys (number, key) VALUES (1, $1) ON CONFLICT DO NOTHING")
        .bind(key.to_vec())
        .execute(&mut *conn)
        .await
        .map_err(classify)?;
    ledger_name_key(conn).await?.ok_or_else(|| StoreError::corrupt("ledger_name_keys", "there is no key"))
}
