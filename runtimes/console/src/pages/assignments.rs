//! Assignments: one with who granted it and why, and the lists of those that need attention.

use axum::extract::Path;
use epr_core::authn::Scope;
use epr_core::domain::fields::parse_uuid;
use epr_core::domain::{AssignmentScan, AuditFilter, NamedAssignment};

use super::change::{self, revoke_path};
use super::rows::{
    FEW, MANY, assignment_table, assignments, cut, entity_cell, entries, entry_path, entry_table, principal_cell,
    role_path, state_cell,
};
use crate::Page;
use crate::blocks::{Block, Cell, Facts, Links, Look, Notice, Table};
use crate::page::{Answer, Page as Shown};
use crate::query::link;
use crate::refusal::Refusal;
use crate::texts::Texts;
use crate::visitor::Ask;

/// The days within which an assignment that ends needs attention.
pub(super) const DAYS: i64 = 7;

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get("/console/assignments/{id}", show), Page::get("/console/attention/{list}", attention)]
}

async fn show(Path(id): Path<String>, ask: Ask) -> Answer {
    ask.visitor.require(Scope::Read)?;
    let t = ask.texts();
    let id = parse_uuid(&id).ok_or_else(|| Refusal::not_found(t.no_such_page))?;
    let mut rows = assignments(&ask, AssignmentScan::One(id), 1).await?;
    let row = rows.pop();
    let mut page = Shown::new(t.assignment, "");
    match &row {
        Some(row) => {
            let mut blocks = vec![facts(&ask, row)];
            blocks.extend(change::links(&ask, vec![(t.revoke, revoke_path(id))]));
            page = page.section("", blocks).section(t.granted, granted(&ask, row));
        }
        None => {
            let notice = Notice::new(Look::Warning, [t.no_such_assignment.to_owned()]);
            page = page.section("", vec![notice.into()]);
        }
    }
    if ask.visitor.may(Scope::Audit) {
        let text = id.to_string();
        let filter = AuditFilter { assignment_id: Some(id), ..AuditFilter::default() };
        let found = entries(&ask, &filter, FEW).await?;
        if row.is_none() && found.is_empty() {
            return Err(Refusal::not_found(t.no_such_assignment));
        }
        let more = Links::new(vec![(t.all_entries, link("/console/ledger", &[("assignment_id", &text)]))]);
        page = page.section(t.ledger, vec![entry_table(t, t.newest_entries, &found).into(), more.into()]);
    } else if row.is_none() {
        return Err(Refusal::not_found(t.no_such_assignment));
    }
    Ok(page.respond(&ask))
}

fn facts(ask: &Ask, row: &NamedAssignment) -> Block {
    let t = ask.texts();
    let one = &row.assignment;
    let place = match (one.entity_id, &row.entity_type, &row.entity_name) {
        (Some(id), Some(entity_type), Some(name)) => entity_cell(id, entity_type, name),
        _ => Cell::plain(t.everywhere),
    };
    let condition = one.condition.as_ref().map(|condition| Cell::code(&condition.expression));
    Facts::new(vec![
        (t.principal, principal_cell(&one.principal_type, one.principal_id, None)),
        (t.role, Cell::link(Look::Name, &row.role_name, role_path(one.role_id))),
        (t.entity, place),
        (t.state, state_cell(t, row, ask.epr().now())),
        (t.from, Cell::time(one.effective_at)),
        (t.until, Cell::time_or(one.expires_at, t.no_end)),
        (t.condition, condition.unwrap_or_default()),
        (t.id, Cell::code(one.id.to_string())),
    ])
    .into()
}

/// Who granted an assignment, when and why.
fn granted(ask: &Ask, row: &NamedAssignment) -> Vec<Block> {
    let t = ask.texts();
    // The ledger says it, and not everyone who reads assignments may read the ledger.
    if !ask.visitor.may(Scope::Audit) {
        return vec![Notice::new(Look::Plain, [t.granted_needs_audit.to_owned()]).into()];
    }
    let Some(granted) = &row.granted else {
        return vec![Notice::new(Look::Plain, [t.granted_unknown.to_owned()]).into()];
    };
    let by = match (&granted.caller, granted.actor_id) {
        (Some(caller), _) => Cell::name(caller).and(Look::Muted, &granted.actor_type),
        (None, Some(id)) => principal_cell(&granted.actor_type, id, None),
        (None, None) => Cell::new(Look::Muted, t.unknown),
    };
    let facts = Facts::new(vec![
        (t.granted_by, by),
        (t.time, Cell::time(granted.at)),
        (t.reason, granted.stated_reason.as_deref().map(Cell::name).unwrap_or_default()),
        (t.entry, Cell::link(Look::Code, granted.sequence.to_string(), entry_path(granted.sequence))),
    ]);
    vec![facts.into()]
}

/// The lists of assignments and entities that need attention.
async fn attention(Path(list): Path<String>, ask: Ask) -> Answer {
    ask.visitor.require(Scope::Read)?;
    let t = ask.texts();
    let scan = match list.as_str() {
        "expiring" => (t.expiring, expiring(&ask)),
        "never-effective" => (t.never_effective, AssignmentScan::NeverEffective { now: ask.epr().now() }),
        "global" => (t.global, AssignmentScan::Global { now: ask.epr().now() }),
        "orphans" => {
            let (notice, table) = orphans(&ask, 5 * MANY).await?;
            let blocks = notice.into_iter().map(Block::from).chain([table.into()]).collect();
            return Ok(Shown::new(t.orphans, "/console").section("", blocks).respond(&ask));
        }
        _ => return Err(Refusal::not_found(t.no_such_page)),
    };
    let (title, scan) = scan;
    let mut rows = assignments(&ask, scan, 5 * MANY).await?;
    let mut blocks: Vec<Block> = cut(t, &mut rows, 5 * MANY).into_iter().map(Block::from).collect();
    blocks.push(assignment_table(&ask, title, &rows).into());
    Ok(Shown::new(title, "/console").section("", blocks).respond(&ask))
}

/// The assignments that end soon.
pub(super) fn expiring(ask: &Ask) -> AssignmentScan {
    let now = ask.epr().now();
    AssignmentScan::Expiring { now, until: now.plus_seconds(DAYS * 86_400) }
}

/// At most `limit` entities whose parent is archived, and a notice if there are more.
pub(super) async fn orphans(ask: &Ask, limit: usize) -> Result<(Option<Notice>, Table), Refusal> {
    let t: &'static Texts = ask.texts();
    let mut rows = Vec::new();
    ask.epr().orphans(&mut super::rows::limited(&mut rows, limit + 1)).await?;
    let notice = cut(t, &mut rows, limit);
    let cells = rows.iter().map(|row| {
        let parent = match row.entity.parent_id {
            Some(id) => entity_cell(id, &row.parent_type, &row.parent_name),
            None => Cell::name(&row.parent_name),
        };
        vec![entity_cell(row.entity.id, &row.entity.entity_type, &row.entity.name), parent]
    });
    let table = Table::new(t.orphans, vec![t.entity, t.archived_parent], t.none).with_rows(cells);
    Ok((notice, table))
}
