//! Whole rows, of the registry and of the present versions: for a replay that goes on after them, and to compare both.

use std::collections::{BTreeSet, HashMap};

use sqlx::QueryBuilder;
use uuid::Uuid;

use super::super::columns::{Columns, Selected};
use super::super::dialect::{Conn, Db, Row, bind_id, classify};
use super::super::{principals, roles};
use crate::domain::{Assignment, Entity, Principal, Role};
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

/// Returns the rows with these keys that `source` has.
pub(super) async fn rows(
    conn: &mut Conn,
    source: Source,
    keys: &BTreeSet<RowKey>,
) -> Result<HashMap<RowKey, RegistryRow>> {
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
        let mut query = subject.select(source);
        query.push(" AND r.id IN (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(bind_id(id));
        }
        query.push(")");
        add(&mut *conn, subject, query, &mut found).await?;
    }
    for (kind, id) in principals {
        let mut query = Subject::Principal.select(source);
        query.push(" AND r.type = ").push_bind(kind).push(" AND r.id = ").push_bind(bind_id(id));
        add(&mut *conn, Subject::Principal, query, &mut found).await?;
    }
    Ok(found)
}

async fn add(
    conn: &mut Conn,
    subject: Subject,
    mut query: QueryBuilder<Db>,
    found: &mut HashMap<RowKey, RegistryRow>,
) -> Result<()> {
    for row in query.build().persistent(false).fetch_all(conn).await.map_err(classify)? {
        let row = subject.read(&row)?;
        found.insert(row.key(), row);
    }
    Ok(())
}

/// Returns at most `limit` rows of `source` after a key, in the order of the keys.
pub(super) async fn page(
    conn: &mut Conn,
    (subject, source): (Subject, Source),
    after: Option<&RowKey>,
    limit: i64,
) -> Result<Vec<RegistryRow>> {
    let mut query = subject.select(source);
    push_after(&mut query, subject, after, limit);
    query.build().fetch_all(conn).await.map_err(classify)?.iter().map(|row| subject.read(row)).collect()
}

/// Returns at most `limit` present versions after a key that the registry lacks, in the order of the keys.
pub(super) async fn missing_page(
    conn: &mut Conn,
    subject: Subject,
    after: Option<&RowKey>,
    limit: i64,
) -> Result<Vec<RegistryRow>> {
    let mut query = subject.select(Source::Versions);
    let same = if subject == Subject::Principal { "x.type = r.type AND x.id = r.id" } else { "x.id = r.id" };
    query.push(format!(" AND NOT EXISTS (SELECT 1 FROM {} x WHERE {same})", subject.table(Source::Registry)));
    push_after(&mut query, subject, after, limit);
    query.build().fetch_all(conn).await.map_err(classify)?.iter().map(|row| subject.read(row)).collect()
}

fn push_after(query: &mut QueryBuilder<Db>, subject: Subject, after: Option<&RowKey>, limit: i64) {
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
    query.push(" LIMIT ").push_bind(limit);
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
