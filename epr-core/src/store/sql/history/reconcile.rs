//! The registry joined with its entries, row by row: one statement for each table, all of them in one snapshot.
//!
//! The database joins and sorts, in its own temporary files if need be; this program has one row at a time. Must never
//! stop at a row that cannot be read: such a row is passed on as one.

use futures_util::TryStreamExt as _;
use sqlx::{QueryBuilder, Row as _};

use super::super::dialect::{Conn, Db, Id, Pool, Row, SqlTime, begin_snapshot, classify, read_id, read_time};
use super::super::revisions;
use super::open::{Source, Subject};
use super::past::of_registry;
use crate::domain::Revision;
use crate::history::reconcile::{Joined, Table};
use crate::history::{Entry, RegistryRow};
use crate::ledger::chain::Head;
use crate::seal::PrincipalKey;
use crate::store::{Result, RowVisitor, StoreError};

/// Rows of `role_permissions` that belong to no role, or name no action.
const STRAY_PERMISSIONS: &str = concat!(
    "SELECT ",
    id_as_text!("rp.role_id"),
    " AS role_id, ",
    id_as_text!("rp.permission_id"),
    " AS permission_id FROM role_permissions rp LEFT JOIN roles o ON o.id = rp.role_id \
     LEFT JOIN permissions p ON p.id = rp.permission_id WHERE o.id IS NULL OR p.id IS NULL"
);

/// How entries and rows of a table find each other: the actions, the type and the id that an entry `l` names, and those
/// of a row `r`.
struct Keys {
    table: Table,
    actions: &'static str,
    entry: [&'static str; 2],
    row: [&'static str; 2],
}

fn keys(subject: Subject) -> Keys {
    match subject {
        Subject::Entity => Keys {
            table: Table::Entities,
            actions: "'entity.create', 'entity.update', 'entity.archive', 'entity.baseline'",
            entry: ["''", id_as_text!("l.entity_id")],
            row: ["''", id_as_text!("r.id")],
        },
        Subject::Role => Keys {
            table: Table::Roles,
            actions: "'role.create', 'role.update', 'role.baseline'",
            entry: ["''", concat!("COALESCE(", id_as_text!("l.entity_id"), ", ", id_in_details!("role_id"), ")")],
            row: ["''", id_as_text!("r.id")],
        },
        Subject::Assignment => Keys {
            table: Table::Assignments,
            actions: "'role_assignment.create', 'role_assignment.delete', 'role_assignment.baseline'",
            entry: ["''", id_in_details!("assignment_id")],
            row: ["''", id_as_text!("r.id")],
        },
        Subject::Principal => Keys {
            table: Table::Principals,
            actions: "'principal.create', 'principal.update', 'principal.erase', 'principal.baseline'",
            entry: [text_in_details!("principal_type"), id_as_text!("l.entity_id")],
            row: ["r.type", id_as_text!("r.id")],
        },
    }
}

/// How the rows of a table are joined with their entries.
pub(super) struct EntryJoin {
    pub(super) source: Source,
    /// Columns of the rows that only this join has.
    pub(super) own_columns: &'static str,
    /// What a row and an entry must have in common besides the key of the row, followed by `AND`.
    pub(super) same_entry: &'static str,
    /// The positions of the columns by which the rows and then the entries are ordered.
    pub(super) order: &'static str,
}

/// A row of the registry with each of its entries.
const WITH_EACH_ENTRY: EntryJoin = EntryJoin {
    source: Source::Registry,
    own_columns: "r.id IS NOT NULL AS is_registered",
    same_entry: "",
    order: "7, 8, 1",
};

/// The statement of a table: its rows joined with the entries about them up to a sequence, in the order of the rows and
/// then of the entries. Rows without an entry and entries without a row are there alone.
pub(super) fn joined_query(subject: Subject, join: &EntryJoin, up_to: i64) -> QueryBuilder<Db> {
    let Keys { actions, entry: [kind, id], row: [row_kind, row_id], .. } = keys(subject);
    let EntryJoin { source, own_columns, same_entry, order } = *join;
    let (columns, table) = (subject.columns(source), subject.table(source));
    let is_principal = subject == Subject::Principal;
    let key = if is_principal { "k.key" } else { "NULL" };
    let mut query = QueryBuilder::<Db>::new(format!(
        "SELECT e.sequence AS entry_sequence, e.source AS entry_source, e.action AS entry_action, \
         e.entity_id AS entry_entity_id, e.occurred_at AS entry_occurred_at, e.details AS entry_details, \
         COALESCE(e.kind, {row_kind}) AS row_kind, COALESCE(e.row_id, {row_id}) AS row_id, \
         {own_columns}, {key} AS opening, {columns} \
         FROM (SELECT l.sequence, l.source, l.action, l.entity_id, l.occurred_at, CAST(l.details AS TEXT) AS details, \
         {kind} AS kind, {id} AS row_id FROM audit_logs l WHERE "
    ));
    query.push(concat!(changes_registry!(), " AND ", of_registry!(), " AND l.action IN (")).push(actions);
    query.push(") AND l.sequence <= ").push_bind(up_to);
    let same_kind = if is_principal { format!(" AND {row_kind} = e.kind") } else { String::new() };
    query.push(format!(") e FULL JOIN {table} r ON {same_entry}{row_id} = e.row_id{same_kind}"));
    if is_principal {
        query.push(format!(
            " LEFT JOIN principal_keys k ON k.type = COALESCE(e.kind, r.type) AND {} = COALESCE(e.row_id, {row_id})",
            id_as_text!("k.id")
        ));
    }
    query.push(" ORDER BY ").push(order);
    query
}

/// Shows every row of the registry with its entries to `visit` until it says `false`; returns the state that was
/// compared.
pub(in super::super) async fn joined(
    pool: &Pool,
    known: Option<&Head>,
    visit: RowVisitor<'_, Joined>,
) -> Result<Revision> {
    let mut snapshot = begin_snapshot(pool).await?;
    let (accepted, head) = revisions::read(&mut snapshot, known).await?;
    for subject in Subject::ALL {
        if !of_table(&mut snapshot, subject, head, visit).await? {
            return Ok(accepted.revision);
        }
    }
    for row in sqlx::query(STRAY_PERMISSIONS).fetch_all(&mut *snapshot).await.map_err(classify)? {
        let id = |name| row.try_get::<String, _>(name).map_err(classify);
        let row_key = format!("{} {}", id("role_id")?, id("permission_id")?);
        let why = "it belongs to no role, or names no action".to_owned();
        let stray = Joined { table: Table::RolePermissions, row_key, entry: None, row: Some(Err(why)), opening: None };
        if !visit(stray) {
            break;
        }
    }
    Ok(accepted.revision)
}

async fn of_table(conn: &mut Conn, subject: Subject, head: i64, visit: RowVisitor<'_, Joined>) -> Result<bool> {
    let mut query = joined_query(subject, &WITH_EACH_ENTRY, head);
    let mut rows = query.build().persistent(false).fetch(conn);
    while let Some(row) = rows.try_next().await.map_err(classify)? {
        if !visit(read(subject, &row)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read(subject: Subject, row: &Row) -> Result<Joined> {
    let registered = if row.try_get("is_registered").map_err(classify)? { Some(read_row(subject, row)?) } else { None };
    Ok(Joined {
        table: keys(subject).table,
        row_key: read_row_key(row)?,
        entry: read_entry(row)?,
        row: registered,
        opening: read_opening(row)?,
    })
}

/// The key of the row as text; of a principal, its type and its id. Empty when the entry names no row.
pub(super) fn read_row_key(row: &Row) -> Result<String> {
    let text = |name| row.try_get::<Option<String>, _>(name).map_err(classify).map(Option::unwrap_or_default);
    let (kind, id) = (text("row_kind")?, text("row_id")?);
    Ok(if kind.is_empty() { id } else { format!("{kind} {id}") })
}

/// The key that opens personal fields of a principal.
pub(super) fn read_opening(row: &Row) -> Result<Option<PrincipalKey>> {
    let opening: Option<Vec<u8>> = row.try_get("opening").map_err(classify)?;
    Ok(opening.as_deref().and_then(PrincipalKey::from_bytes))
}

/// The row, or why it cannot be read.
pub(super) fn read_row(subject: Subject, row: &Row) -> Result<std::result::Result<RegistryRow, String>> {
    match subject.read(row) {
        Ok(row) => Ok(Ok(row)),
        // What cannot be read is a finding about this row; a connection that ends is not.
        Err(StoreError::Corrupt { what, why }) => Ok(Err(format!("{what}: {why}"))),
        Err(StoreError::Backend(error)) => Ok(Err(crate::error::chain(&*error))),
        Err(error) => Err(error),
    }
}

pub(super) fn read_entry(row: &Row) -> Result<Option<Entry>> {
    let Some(sequence) = row.try_get("entry_sequence").map_err(classify)? else { return Ok(None) };
    Ok(Some(Entry {
        sequence,
        source: row.try_get("entry_source").map_err(classify)?,
        action: row.try_get("entry_action").map_err(classify)?,
        entity_id: row.try_get::<Option<Id>, _>("entry_entity_id").map_err(classify)?.map(read_id),
        occurred_at: read_time(row.try_get::<SqlTime, _>("entry_occurred_at").map_err(classify)?)?,
        details: row.try_get("entry_details").map_err(classify)?,
    }))
}
