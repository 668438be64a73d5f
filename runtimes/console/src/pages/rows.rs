//! What the pages have in common: links to subjects, and the tables of entries and assignments.

use epr_core::domain::{AssignmentScan, AuditEntry, AuditFilter, AuditPage, EntityType, NamedAssignment};
use uuid::Uuid;

use crate::blocks::{Cell, Look, Notice, Table};
use crate::query::link;
use crate::refusal::Refusal;
use crate::texts::Texts;
use crate::visitor::Ask;

/// The rows of a list on a page of one subject.
pub(crate) const FEW: usize = 20;
/// The rows of a list that is a page.
pub(crate) const MANY: usize = 100;

/// Takes rows until there are `limit`.
pub(crate) fn limited<T: Send>(rows: &mut Vec<T>, limit: usize) -> impl FnMut(T) -> bool + Send + '_ {
    move |row| {
        if rows.len() < limit {
            rows.push(row);
        }
        rows.len() < limit
    }
}

pub(crate) fn entity_path(id: Uuid) -> String {
    format!("/console/entities/{id}")
}

pub(crate) fn role_path(id: Uuid) -> String {
    format!("/console/roles/{id}")
}

pub(crate) fn assignment_path(id: Uuid) -> String {
    format!("/console/assignments/{id}")
}

pub(crate) fn entry_path(sequence: i64) -> String {
    format!("/console/ledger/{sequence}")
}

pub(crate) fn principal_path(principal_type: &str, id: Uuid) -> String {
    link("/console/principal", &[("type", principal_type), ("id", &id.to_string())])
}

/// An entity by name and type.
pub(crate) fn entity_cell(id: Uuid, entity_type: &EntityType, name: &str) -> Cell {
    Cell::link(Look::Name, name, entity_path(id)).and(Look::Muted, entity_type.word())
}

/// A principal by what is known of it.
pub(crate) fn principal_cell(principal_type: &str, id: Uuid, name: Option<&str>) -> Cell {
    let path = principal_path(principal_type, id);
    let cell = match name {
        Some(name) if !name.is_empty() => Cell::link(Look::Name, name, path),
        _ => Cell::link(Look::Code, id.to_string(), path),
    };
    cell.and(Look::Muted, principal_type)
}

/// The entity of an assignment, or everywhere.
fn place_cell(t: &Texts, row: &NamedAssignment) -> Cell {
    match (row.assignment.entity_id, &row.entity_type, &row.entity_name) {
        (Some(id), Some(entity_type), Some(name)) => entity_cell(id, entity_type, name),
        (Some(id), ..) => Cell::link(Look::Code, id.to_string(), entity_path(id)),
        (None, ..) => Cell::plain(t.everywhere),
    }
}

/// Assignments with the names of their roles and entities.
pub(crate) fn assignment_table(ask: &Ask, caption: &str, rows: &[NamedAssignment]) -> Table {
    let t = ask.texts();
    let now = ask.epr().now();
    let head = vec![t.assignment, t.principal, t.role, t.entity, t.from, t.until, t.state];
    let cells = rows.iter().map(|row| {
        let one = &row.assignment;
        vec![
            Cell::link(Look::Code, one.id.to_string(), assignment_path(one.id)),
            principal_cell(&one.principal_type, one.principal_id, None),
            Cell::link(Look::Name, &row.role_name, role_path(one.role_id)),
            place_cell(t, row),
            Cell::time(one.effective_at),
            Cell::time_or(one.expires_at, t.no_end),
            state_cell(t, row, now),
        ]
    });
    Table::new(caption, head, t.none).with_rows(cells)
}

/// Whether an assignment is in force, and whether it has a condition.
pub(crate) fn state_cell(t: &Texts, row: &NamedAssignment, now: epr_core::domain::Timestamp) -> Cell {
    let one = &row.assignment;
    let cell = if one.expires_at.is_some_and(|end| end <= now) {
        Cell::new(Look::Muted, t.ended)
    } else if one.effective_at > now {
        Cell::new(Look::Warning, t.begins_later)
    } else {
        Cell::new(Look::Good, t.in_force)
    };
    if one.condition.is_some() { cell.and(Look::Warning, t.conditional) } else { cell }
}

/// At most `limit` assignments of a scan, and one more if there is one.
pub(crate) async fn assignments(
    ask: &Ask,
    scan: AssignmentScan,
    limit: usize,
) -> Result<Vec<NamedAssignment>, Refusal> {
    let mut rows = Vec::new();
    let most = u32::try_from(limit + 1).ok();
    ask.epr().scan_assignments(&scan, most, &mut limited(&mut rows, limit + 1)).await?;
    Ok(rows)
}

/// The notice about rows that are not shown, and the rows that are.
pub(crate) fn cut<T>(t: &Texts, rows: &mut Vec<T>, limit: usize) -> Option<Notice> {
    if rows.len() <= limit {
        return None;
    }
    rows.truncate(limit);
    Some(Notice::new(Look::Plain, [format!("{} {limit}", t.only_the_first)]))
}

/// At most `limit` entries that match `filter`, newest first.
pub(crate) async fn entries(ask: &Ask, filter: &AuditFilter, limit: usize) -> Result<Vec<AuditEntry>, Refusal> {
    let mut rows = Vec::new();
    let page = AuditPage { limit: u32::try_from(limit).unwrap_or(u32::MAX), after: None, ascending: false };
    ask.epr().show_audit_entries(filter, page, &mut limited(&mut rows, limit)).await?;
    Ok(rows)
}

/// Entries of the ledger.
pub(crate) fn entry_table(t: &'static Texts, caption: &str, rows: &[AuditEntry]) -> Table {
    let head = vec![t.entry, t.time, t.action, t.actor, t.subject, t.detail];
    let cells = rows.iter().map(|entry| {
        vec![
            Cell::link(Look::Code, entry.sequence.to_string(), entry_path(entry.sequence)),
            Cell::time(entry.occurred_at),
            Cell::code(&entry.action),
            actor_cell(t, entry),
            subject_cell(t, entry),
            detail_cell(entry),
        ]
    });
    Table::new(caption, head, t.none).with_rows(cells)
}

/// The actor of an entry.
pub(crate) fn actor_cell(t: &Texts, entry: &AuditEntry) -> Cell {
    let caller = serde_json::from_str::<serde_json::Value>(&entry.details.0).ok();
    let caller = caller.as_ref().and_then(|details| details.get("caller")?.as_str());
    match (entry.actor_id, caller) {
        (_, Some(caller)) => Cell::name(caller).and(Look::Muted, &entry.actor_type),
        (Some(id), None) => principal_cell(&entry.actor_type, id, None),
        (None, None) => Cell::new(Look::Muted, t.unknown),
    }
}

/// The subject of an entry.
pub(crate) fn subject_cell(t: &Texts, entry: &AuditEntry) -> Cell {
    let Some(id) = entry.entity_id else { return Cell::new(Look::Muted, t.none) };
    let text = id.to_string();
    let kind = entry.entity_type.as_deref().unwrap_or_default();
    let path = match kind {
        "role" => role_path(id),
        // The ledger names its type in the details only.
        "principal" => link("/console/ledger", &[("entity_id", &text)]),
        "role_assignment" => assignment_path(id),
        _ => entity_path(id),
    };
    Cell::link(Look::Code, text, path).and(Look::Muted, kind)
}

/// The most telling details of an entry: the name, the decision, the reason of the caller. Each is isolated from the
/// direction of the others.
fn detail_cell(entry: &AuditEntry) -> Cell {
    let Ok(details) = serde_json::from_str::<serde_json::Value>(&entry.details.0) else { return Cell::empty() };
    let names = ["name", "action", "reason", "kind", "stated_reason"];
    let parts = names.iter().filter_map(|name| details.get(*name)?.as_str());
    parts.fold(Cell::empty(), |cell, part| cell.and(Look::Name, part))
}
