//! Whole rows, of the registry and of the present versions: for a replay that goes on after them, and to compare both.

use std::collections::{BTreeSet, HashMap};

use futures_util::TryStreamExt as _;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::super::columns::{Columns, Selected};
use super::super::dialect::{Conn, Db, Row, bind_id, classify};
use super::super::{listing, principals, roles};
use crate::domain::{Assignment, Entity, Json, JsonObject, Principal, Role};
use crate::history::{RegistryRow, RowKey};
use crate::seal::PrincipalKey;
use crate::store::Result;

/// Where rows are read: the registry, or the present versions of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The tables of the registry.
    Registry,
    /// The versions that nothing has ended.
    Versions,
    /// The versions after the entry with this sequence.
    VersionsAfter(i64),
}

/// The rows that one SELECT returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Entity,
    Role,
    Assignment,
    Principal,
}

impl Subject {
    pub(super) const ALL: [Self; 4] = [Self::Entity, Self::Role, Self::Assignment, Self::Principal];

    /// The table of `source`.
    pub(super) fn table(self, source: Source) -> &'static str {
        match (self, source) {
            (Self::Entity, Source::Registry) => "entities",
            (Self::Entity, Source::Versions | Source::VersionsAfter(_)) => "entity_versions",
            (Self::Role, Source::Registry) => "roles",
            (Self::Role, Source::Versions | Source::VersionsAfter(_)) => "role_versions",
            (Self::Assignment, Source::Registry) => "role_assignments",
            (Self::Assignment, Source::Versions | Source::VersionsAfter(_)) => "assignment_versions",
            (Self::Principal, Source::Registry) => "principals",
            (Self::Principal, Source::Versions | Source::VersionsAfter(_)) => "principal_versions",
        }
    }

    /// The columns of whole rows of a table `r`.
    pub(super) fn columns(self, source: Source) -> String {
        let mut selected = Selected::of("r");
        match self {
            Self::Entity => Entity::describe_to(&mut selected),
            Self::Role => Role::describe_to(&mut selected),
            Self::Assignment => Assignment::describe_to(&mut selected),
            Self::Principal => Principal::describe_to(&mut selected),
        }
        let more = match (self, source) {
            (Self::Role, Source::Registry) => roles::PERMISSIONS,
            (Self::Role, Source::Versions | Source::VersionsAfter(_)) => ROLE_PERMISSIONS,
            _ => "",
        };
        selected.sql + more
    }

    /// The start of a SELECT of whole rows of a table `r`, up to a condition.
    pub(super) fn select(self, source: Source) -> QueryBuilder<Db> {
        let (columns, table) = (self.columns(source), self.table(source));
        let present = if source == Source::Versions { "r.valid_to IS NULL" } else { "1 = 1" };
        let mut query = QueryBuilder::new(format!("SELECT {columns} FROM {table} r WHERE {present}"));
        if let Source::VersionsAfter(sequence) = source {
            query.push(" AND r.valid_from <= ").push_bind(sequence);
            query.push(" AND (r.valid_to IS NULL OR r.valid_to > ").push_bind(sequence).push(")");
        }
        query
    }

    pub(super) fn read(self, row: &Row) -> Result<RegistryRow> {
        let mut columns = Columns(row);
        match self {
            Self::Entity => Entity::read_from(&mut columns).map(RegistryRow::from),
            Self::Role => Role::read_from(&mut columns).map(RegistryRow::from),
            Self::Assignment => Assignment::read_from(&mut columns).map(RegistryRow::from),
            Self::Principal => Principal::read_from(&mut columns).map(RegistryRow::from),
        }
    }
}

/// The actions of a version `r` of a role, and the conditions of those.
pub(in super::super) const ROLE_PERMISSIONS: &str = concat!(
    ", (SELECT ",
    json_list!("rp.action"),
    " FROM role_permission_versions rp WHERE rp.role_id = r.id AND rp.valid_from = r.valid_from) AS permissions, \
     (SELECT ",
    json_map!("rp.action", "rp.condition"),
    " FROM role_permission_versions rp WHERE rp.role_id = r.id AND rp.valid_from = r.valid_from \
     AND rp.condition IS NOT NULL) AS conditions"
);

/// The bytes of rows and entries that are in memory at a time, about.
pub(super) const MAX_BYTES: usize = 8 << 20;

/// About the bytes that a row takes.
pub(super) fn size(row: &RegistryRow) -> usize {
    const FIELDS: usize = 512;
    FIELDS
        + match row {
            RegistryRow::Entity(entity) => size_of_members(&entity.attributes),
            RegistryRow::Principal(principal) => size_of_members(&principal.attributes),
            RegistryRow::Assignment(assignment) => assignment.condition.as_ref().map_or(0, |_| 2 * FIELDS),
            RegistryRow::Role(role) => {
                let actions: usize = role.permissions.iter().map(|action| action.len() + 32).sum();
                actions + role.conditions.len() * 2 * FIELDS
            }
        }
}

fn size_of_members(members: &JsonObject) -> usize {
    members.iter().map(|(name, value)| name.len() + 32 + size_of(value)).sum()
}

fn size_of(value: &Json) -> usize {
    match value {
        Json::Text(text) => text.len() + 32,
        Json::List(items) => items.iter().map(|item| 32 + size_of(item)).sum(),
        Json::Object(members) => size_of_members(members),
        _ => 0,
    }
}

/// Returns the rows with these keys that `source` has; `None` when they take more than [`MAX_BYTES`], unless there is
/// only one key.
pub(super) async fn rows(
    conn: &mut Conn,
    source: Source,
    keys: &BTreeSet<RowKey>,
) -> Result<Option<HashMap<RowKey, RegistryRow>>> {
    let mut left = if keys.len() == 1 { usize::MAX } else { MAX_BYTES };
    let mut ids: HashMap<Subject, Vec<Uuid>> = HashMap::new();
    let mut principals = Vec::new();
    for key in keys {
        match key {
            RowKey::Entity(id) => ids.entry(Subject::Entity).or_default().push(*id),
            RowKey::Role(id) => ids.entry(Subject::Role).or_default().push(*id),
            RowKey::Assignment(id) => ids.entry(Subject::Assignment).or_default().push(*id),
            RowKey::Principal(kind, id) => principals.push((kind.as_str(), *id)),
        }
    }
    let mut found = HashMap::new();
    for (subject, ids) in ids {
        // Few at a time, so that little is read in vain when they are too large.
        for ids in ids.chunks(MAX_IDS) {
            let mut query = subject.select(source);
            push_present(&mut query, subject, source, ids);
            if !add(&mut *conn, subject, query, &mut left, &mut found).await? {
                return Ok(None);
            }
        }
    }
    for (kind, id) in principals {
        let mut query = Subject::Principal.select(source);
        query.push(" AND r.type = ").push_bind(kind).push(" AND r.id = ").push_bind(bind_id(id));
        if source == Source::Versions {
            query.push(" AND r.valid_from = (SELECT MAX(o.valid_from) FROM principal_versions o WHERE o.type = ");
            query.push_bind(kind).push(" AND o.id = ").push_bind(bind_id(id)).push(")");
        }
        if !add(&mut *conn, Subject::Principal, query, &mut left, &mut found).await? {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// The ids of one statement.
const MAX_IDS: usize = 128;

/// The condition that a row has one of these ids, and is the newest version of it: former ones are not read.
fn push_present(query: &mut QueryBuilder<Db>, subject: Subject, source: Source, ids: &[Uuid]) {
    let list = |query: &mut QueryBuilder<Db>| {
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(bind_id(*id));
        }
    };
    query.push(" AND r.id IN (");
    list(query);
    query.push(")");
    if source == Source::Versions {
        let table = subject.table(source);
        query.push(format!(" AND r.valid_from = (SELECT MAX(o.valid_from) FROM {table} o WHERE o.id = r.id)"));
    }
}

/// Adds the rows of a statement; `false` when they take more than what is `left`.
async fn add(
    conn: &mut Conn,
    subject: Subject,
    mut query: QueryBuilder<Db>,
    left: &mut usize,
    found: &mut HashMap<RowKey, RegistryRow>,
) -> Result<bool> {
    let mut rows = query.build().persistent(false).fetch(conn);
    while let Some(row) = rows.try_next().await.map_err(classify)? {
        let row = subject.read(&row)?;
        let Some(rest) = left.checked_sub(size(&row)) else { return Ok(false) };
        *left = rest;
        found.insert(row.key(), row);
    }
    Ok(true)
}

/// Returns rows of `source` after a key, in the order of the keys: at most `limit`, and about [`MAX_BYTES`].
pub(super) async fn page(
    conn: &mut Conn,
    (subject, source): (Subject, Source),
    after: Option<&RowKey>,
    limit: u32,
) -> Result<Vec<RegistryRow>> {
    let query = |after: Option<RowKey>, limit| {
        let mut query = subject.select(source);
        push_after(&mut query, subject, after.as_ref(), limit);
        query
    };
    bounded(conn, subject, (limit, after), query).await
}

/// Returns present versions after a key that the registry lacks, in the order of the keys: at most `limit`, and about
/// [`MAX_BYTES`].
pub(super) async fn missing_page(
    conn: &mut Conn,
    subject: Subject,
    after: Option<&RowKey>,
    limit: u32,
) -> Result<Vec<RegistryRow>> {
    let same = if subject == Subject::Principal { "x.type = r.type AND x.id = r.id" } else { "x.id = r.id" };
    let registry = subject.table(Source::Registry);
    let query = |after: Option<RowKey>, limit| {
        let mut query = subject.select(Source::Versions);
        query.push(format!(" AND NOT EXISTS (SELECT 1 FROM {registry} x WHERE {same})"));
        push_after(&mut query, subject, after.as_ref(), limit);
        query
    };
    bounded(conn, subject, (limit, after), query).await
}

async fn bounded(
    conn: &mut Conn,
    subject: Subject,
    (limit, after): (u32, Option<&RowKey>),
    query: impl Fn(Option<RowKey>, u32) -> QueryBuilder<Db>,
) -> Result<Vec<RegistryRow>> {
    const FIRST_BATCH: u32 = 8;
    let mut rows = Vec::new();
    let mut bytes = 0;
    let mut add = |row: RegistryRow| {
        bytes += size(&row);
        rows.push(row);
        bytes < MAX_BYTES
    };
    let read: fn(&Row) -> Result<RegistryRow> = match subject {
        Subject::Entity => |row| Subject::Entity.read(row),
        Subject::Role => |row| Subject::Role.read(row),
        Subject::Assignment => |row| Subject::Assignment.read(row),
        Subject::Principal => |row| Subject::Principal.read(row),
    };
    let range = (limit, after.cloned());
    listing::show_from(conn, FIRST_BATCH, range, query, (read, RegistryRow::key), &mut add).await?;
    Ok(rows)
}

fn push_after(query: &mut QueryBuilder<Db>, subject: Subject, after: Option<&RowKey>, limit: u32) {
    match after {
        Some(RowKey::Principal(kind, id)) => {
            query.push(" AND (r.type, r.id) > (").push_bind(kind.clone()).push(", ").push_bind(bind_id(*id)).push(")");
        }
        Some(RowKey::Entity(id) | RowKey::Role(id) | RowKey::Assignment(id)) => {
            query.push(" AND r.id > ").push_bind(bind_id(*id));
        }
        None => {}
    }
    query.push(if subject == Subject::Principal { " ORDER BY r.type, r.id" } else { " ORDER BY r.id" });
    query.push(" LIMIT ").push_bind(i64::from(limit));
}

/// Returns the keys that open the sealed fields of these principals, as far as they exist.
pub(super) async fn principal_keys(conn: &mut Conn, keys: &BTreeSet<RowKey>) -> Result<HashMap<RowKey, PrincipalKey>> {
    let mut found = HashMap::new();
    for key in keys {
        let RowKey::Principal(kind, id) = key else { continue };
        if let Some(opening) = principals::key(&mut *conn, (kind, *id)).await? {
            found.insert(key.clone(), opening);
        }
    }
    Ok(found)
}

/// Returns those of these principals that are registered and have not been erased.
pub(super) async fn unerased(conn: &mut Conn, keys: &[&RowKey]) -> Result<BTreeSet<RowKey>> {
    let mut found = BTreeSet::new();
    for key in keys {
        let RowKey::Principal(kind, id) = key else { continue };
        let present: Option<i64> = sqlx::query_scalar(
            "SELECT CAST(1 AS bigint) FROM principals p WHERE p.type = $1 AND p.id = $2 AND p.erased_at IS NULL",
        )
        .bind(kind)
        .bind(bind_id(*id))
        .fetch_optional(&mut *conn)
        .await
        .map_err(classify)?;
        if present.is_some() {
            found.insert((*key).clone());
        }
    }
    Ok(found)
}
