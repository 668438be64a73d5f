//! Roles: permissions, conditions, holders, and what changed between two revisions.

use std::collections::BTreeSet;

use axum::extract::Path;
use epr_core::authn::Scope;
use epr_core::domain::fields::{parse_uuid, sequence};
use epr_core::domain::{AssignmentFilter, AssignmentScan, AuditEntry, AuditFilter, EntityType, Moment, Revision, Role};
use epr_core::history::{RegistryRow, RowKey};
use epr_core::store::{Cursor, Page as Rows};
use uuid::Uuid;

use super::change;
use super::entities::{cursor, next_link};
use super::rows::{FEW, MANY, assignment_table, assignments, cut, entries, entry_table, role_path};
use crate::Page;
use crate::blocks::{Block, Cell, Facts, Field, Form, Input, Links, Look, Table};
use crate::page::{Answer, Page as Shown};
use crate::query::link;
use crate::refusal::Refusal;
use crate::texts::Texts;
use crate::visitor::Ask;

pub(crate) const TAB: &str = "/console/roles";

pub(crate) fn pages() -> Vec<Page> {
    vec![
        Page::get(TAB, list),
        Page::get("/console/roles/{id}", show),
        Page::get("/console/roles/{id}/difference", difference),
    ]
}

async fn list(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Read)?;
    let t = ask.texts();
    let page = Rows { limit: u32::try_from(MANY).unwrap_or(u32::MAX), after: cursor(&ask)? };
    let rows = ask.epr().roles(&page).await?;
    let last = rows.last().filter(|_| rows.len() == MANY);
    let next = last.map(|one| next_link(&ask, Cursor { created_at: one.created_at, id: one.id }));
    let head = vec![t.role, t.actions, t.scope_types, t.description];
    let cells = rows.iter().map(|role| {
        vec![
            Cell::link(Look::Name, &role.name, role_path(role.id)),
            Cell::plain(role.permissions.len().to_string()),
            scope_types(t, role),
            Cell::name(role.description.as_deref().unwrap_or_default()),
        ]
    });
    let table = Table::new(t.roles, head, t.none).with_rows(cells).with_next(next, t.next_page);
    let mut blocks = vec![table.into()];
    blocks.extend(change::links(
        &ask,
        vec![(t.create_role, "/console/change/role".to_owned()), (t.import, change::IMPORT_PATH.to_owned())],
    ));
    Ok(Shown::new(t.roles, TAB).section("", blocks).respond(&ask))
}

fn scope_types(t: &Texts, role: &Role) -> Cell {
    if role.scope_types.is_empty() {
        return Cell::new(Look::Muted, t.every_type);
    }
    role.scope_types.iter().fold(Cell::empty(), |cell, one| cell.and(Look::Code, one.word()))
}

async fn show(Path(id): Path<String>, ask: Ask) -> Answer {
    ask.visitor.require(Scope::Read)?;
    let t = ask.texts();
    let id = parse_uuid(&id).ok_or_else(|| Refusal::not_found(t.no_such_page))?;
    let role = ask.epr().role(id).await?;
    let facts = Facts::new(vec![
        (t.description, Cell::name(role.description.as_deref().unwrap_or_default())),
        (t.scope_types, scope_types(t, &role)),
        (t.id, Cell::code(id.to_string())),
        (t.created, Cell::time(role.created_at)),
        (t.changed, Cell::time(role.updated_at)),
    ]);
    let mut blocks = vec![facts.into(), permissions(t, &role)];
    let text = id.to_string();
    let changes = vec![
        (t.change_role, link("/console/change/role", &[("id", &text)])),
        (t.assign, link("/console/change/assignment", &[("role_id", &text)])),
    ];
    blocks.extend(change::links(&ask, changes));
    let mut page = Shown::new(&role.name, TAB).section("", blocks);
    let filter = AssignmentFilter { role_id: Some(id), ..AssignmentFilter::default() };
    let mut held = assignments(&ask, AssignmentScan::Listed { filter, now: ask.epr().now() }, MANY).await?;
    let mut blocks: Vec<Block> = cut(t, &mut held, MANY).into_iter().map(Block::from).collect();
    blocks.push(assignment_table(&ask, t.holders, &held).into());
    page = page.section(t.holders, blocks);
    if ask.visitor.may(Scope::Audit) {
        let filter = AuditFilter { entity_id: Some(id), ..AuditFilter::default() };
        let rows = entries(&ask, &filter, FEW).await?;
        let mut blocks = vec![entry_table(t, t.newest_entries, &rows).into()];
        blocks.extend(compare(t, id, &rows));
        let more = Links::new(vec![(t.all_entries, link("/console/ledger", &[("entity_id", &id.to_string())]))]);
        blocks.push(more.into());
        page = page.section(t.history, blocks);
    }
    Ok(page.respond(&ask))
}

/// The permissions of a role with their conditions.
fn permissions(t: &'static Texts, role: &Role) -> Block {
    let rows = role.permissions.iter().map(|action| {
        let condition = role.conditions.get(action).map(|condition| Cell::code(&condition.expression));
        vec![Cell::code(action), condition.unwrap_or_default()]
    });
    Table::new(t.actions, vec![t.action, t.condition], t.none).with_rows(rows).into()
}

/// The form that compares two revisions of a role, if it has two.
fn compare(t: &'static Texts, id: Uuid, rows: &[AuditEntry]) -> Option<Block> {
    let sequences: Vec<String> = rows.iter().map(|entry| entry.sequence.to_string()).collect();
    let (newest, before) = (sequences.first()?, sequences.get(1)?);
    let choices = || Input::Choice(sequences.iter().map(|one| (one.clone(), one.clone())).collect());
    let form = Form::ask("compare", format!("{}/difference", role_path(id)), t.compare)
        .field(Field::of("from", t.after_entry, before, choices()))
        .field(Field::of("to", t.and_after_entry, newest, choices()));
    Some(form.into())
}

async fn difference(Path(id): Path<String>, ask: Ask) -> Answer {
    ask.visitor.require(Scope::Read)?;
    ask.visitor.require(Scope::Audit)?;
    let t = ask.texts();
    let id = parse_uuid(&id).ok_or_else(|| Refusal::not_found(t.no_such_page))?;
    let mut fields = ask.query.fields();
    let (from, to) = (fields.required("from", sequence), fields.required("to", sequence));
    let (from, to) = fields.finish(from.zip(to))?;
    // Only the feed tells the incarnation without a change.
    let present = ask.epr().changes(None, 1, &mut |_| false).await?;
    let before = role_at(&ask, id, Revision { sequence: from, ..present }).await?;
    let after = role_at(&ask, id, Revision { sequence: to, ..present }).await?;
    let head = vec![t.field, t.before, t.after];
    let rows = differences(t, &before, &after);
    let caption = format!("{} {from} → {to}", t.entry);
    let table = Table::new(caption, head, t.no_difference).with_rows(rows);
    let back = Links::new(vec![(t.role, role_path(id))]);
    Ok(Shown::new(&after.name, TAB).section(t.difference, vec![table.into(), back.into()]).respond(&ask))
}

/// The role in the state after an entry of this incarnation.
async fn role_at(ask: &Ask, id: Uuid, revision: Revision) -> Result<Role, Refusal> {
    match ask.epr().row_at(&ask.visitor.call(), RowKey::Role(id), Moment::revision(revision)).await? {
        RegistryRow::Role(role) => Ok(role),
        _ => Err(Refusal::not_found(ask.texts().no_such_page)),
    }
}

/// The fields of two revisions that differ.
fn differences(t: &'static Texts, before: &Role, after: &Role) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    let mut add = |label: Cell, one: String, other: String| {
        if one != other {
            rows.push(vec![label, Cell::name(one), Cell::name(other)]);
        }
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    add(Cell::plain(t.name), before.name.clone(), after.name.clone());
    add(Cell::plain(t.description), text(&before.description), text(&after.description));
    let types = |role: &Role| role.scope_types.iter().map(EntityType::word).collect::<Vec<_>>().join(", ");
    add(Cell::plain(t.scope_types), types(before), types(after));
    let actions: BTreeSet<&String> = before.permissions.iter().chain(&after.permissions).collect();
    for action in actions {
        let shown = |role: &Role| {
            if !role.permissions.contains(action) {
                return String::new();
            }
            match role.conditions.get(action) {
                Some(condition) => format!("{}, {}: {}", t.permitted, t.condition, condition.expression),
                None => t.permitted.to_owned(),
            }
        };
        add(Cell::code(action), shown(before), shown(after));
    }
    rows
}
