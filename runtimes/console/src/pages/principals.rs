//! Principals: those that are registered, and what is known of any.

use axum::response::{IntoResponse as _, Redirect};
use epr_core::Error;
use epr_core::authn::Scope;
use epr_core::domain::assignment::{PrincipalType, default_principal_type};
use epr_core::domain::fields::{Choice as _, parse_uuid};
use epr_core::domain::{
    AssignmentFilter, AssignmentScan, AuditFilter, ExternalId, Principal, PrincipalFilter, PrincipalStatus,
};
use epr_core::history::{RegistryRow, RowKey};
use epr_core::store::{Cursor, Page as Rows};

use super::change::{self, suspension_path};
use super::entities::{cursor, next_link};
use super::entity::{actions, moment_of, past_notice};
use super::rows::{
    FEW, MANY, assignment_table, assignments, cut, entries, entry_table, principal_cell, principal_path,
};
use crate::Page;
use crate::blocks::{Block, Cell, Facts, Field, Form, Input, Links, Look, Notice, Table, Text};
use crate::page::{Answer, Page as Shown};
use crate::query::link;
use crate::refusal::Refusal;
use crate::texts::Texts;
use crate::visitor::Ask;

pub(crate) const TAB: &str = "/console/principals";

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get(TAB, list), Page::get("/console/principal", show)]
}

async fn list(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Read)?;
    let t = ask.texts();
    let q = ask.query.get("q");
    let mut fields = ask.query.fields();
    let mut filter = PrincipalFilter::read(&mut fields);
    filter = fields.finish(Some(filter))?;
    if let Some(id) = q.and_then(parse_uuid) {
        let kind = filter.principal_type.as_ref().map_or("user", PrincipalType::as_str);
        return Ok(Redirect::to(&principal_path(kind, id)).into_response());
    }
    if let Some(q) = q {
        let external_id = q.parse::<ExternalId>().map_err(|error| Refusal::invalid(vec![error.to_string()]))?;
        filter.external_id = Some(external_id);
    }
    let page = Rows { limit: u32::try_from(MANY).unwrap_or(u32::MAX), after: cursor(&ask)? };
    let rows = ask.epr().principals(&filter, &page).await?;
    if let ([only], true) = (rows.as_slice(), q.is_some()) {
        return Ok(Redirect::to(&principal_path(&only.principal_type, only.id)).into_response());
    }
    let last = rows.last().filter(|_| rows.len() == MANY);
    let next = last.map(|one| next_link(&ask, Cursor { created_at: one.created_at, id: one.id }));
    let table = principal_table(t, &rows).with_next(next, t.next_page);
    let mut blocks = vec![search(&ask), table.into()];
    blocks.extend(change::links(&ask, vec![(t.import, change::IMPORT_PATH.to_owned())]));
    Ok(Shown::new(t.principals, TAB).section("", blocks).respond(&ask))
}

fn search(ask: &Ask) -> Block {
    let t = ask.texts();
    let statuses = PrincipalStatus::ALL.iter().map(|status| (status.word().to_owned(), status.word().to_owned()));
    let statuses = std::iter::once((String::new(), t.any.to_owned())).chain(statuses).collect();
    Form::ask("search", TAB, t.search)
        .field(Field::line("q", t.id_or_external_id, ask.query.text("q")).hinted(t.id_or_external_id_hint))
        .field(Field::line("type", t.kind, ask.query.text("type")))
        .field(Field::of("status", t.status, ask.query.text("status"), Input::Choice(statuses)))
        .into()
}

fn principal_table(t: &'static Texts, rows: &[Principal]) -> Table {
    let head = vec![t.principal, t.status, t.external_id, t.changed];
    let cells = rows.iter().map(|one| {
        vec![
            principal_cell(&one.principal_type, one.id, one.display_name.as_deref()),
            status_cell(t, Some(one)),
            one.external_id.as_deref().map(Cell::code).unwrap_or_default(),
            Cell::time(one.updated_at),
        ]
    });
    Table::new(t.principals, head, t.none).with_rows(cells)
}

fn status_cell(t: &Texts, principal: Option<&Principal>) -> Cell {
    match principal {
        None => Cell::new(Look::Muted, t.not_registered),
        Some(one) if one.erased_at.is_some() => Cell::new(Look::Muted, t.erased),
        Some(one) if one.status == PrincipalStatus::Suspended => Cell::new(Look::Bad, one.status.word()),
        Some(one) => Cell::new(Look::Good, one.status.word()),
    }
}

async fn show(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Read)?;
    let t = ask.texts();
    let id = parse_uuid(ask.query.text("id")).ok_or_else(|| Refusal::not_found(t.no_such_page))?;
    let kind = match ask.query.get("type") {
        Some(kind) => PrincipalType::new(kind).map_err(|error| Refusal::invalid(vec![error.to_string()]))?,
        None => default_principal_type(),
    };
    let moment = moment_of(&ask)?;
    let text = id.to_string();
    if !moment.is_now() {
        let key = RowKey::Principal(kind.as_str().to_owned(), id);
        let row = ask.epr().row_at(&ask.visitor.call(), key, moment).await?;
        let RegistryRow::Principal(one) = row else { return Err(Refusal::not_found(t.no_such_page)) };
        let title = one.display_name.clone().unwrap_or(text);
        let blocks = vec![past_notice(t, &ask), facts(t, kind.as_str(), id, Some(&one)), attributes(t, &one)];
        return Ok(Shown::new(title, TAB).section("", blocks).respond(&ask));
    }
    let principal = match ask.epr().principal(&kind, id).await {
        Ok(principal) => Some(principal),
        Err(Error::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let name = principal.as_ref().and_then(|one| one.display_name.clone()).filter(|name| !name.is_empty());
    let mut page = Shown::new(name.unwrap_or_else(|| text.clone()), TAB);
    let mut blocks = vec![facts(t, kind.as_str(), id, principal.as_ref())];
    blocks.extend(principal.as_ref().map(|one| attributes(t, one)));
    let status = principal.as_ref().map_or(PrincipalStatus::Active, |one| one.status);
    let label = if status == PrincipalStatus::Suspended { t.end_suspension } else { t.suspend };
    let assign = link("/console/change/assignment", &[("principal_type", kind.as_str()), ("principal_id", &text)]);
    let changes = vec![(t.assign, assign), (label, suspension_path(kind.as_str(), &text, status))];
    blocks.extend(change::links(&ask, changes));
    page = page.section("", blocks);
    page = page.section(t.questions, questions(&ask, kind.as_str(), &text).await?);
    let filter =
        AssignmentFilter { principal_id: Some(id), principal_type: Some(kind.clone()), ..AssignmentFilter::default() };
    let scan = AssignmentScan::Listed { filter, now: ask.epr().now() };
    let mut held = assignments(&ask, scan, MANY).await?;
    let mut blocks: Vec<Block> = cut(t, &mut held, MANY).into_iter().map(Block::from).collect();
    if principal.as_ref().is_some_and(|one| one.status == PrincipalStatus::Suspended) {
        blocks.push(Notice::new(Look::Bad, [t.suspended_notice.to_owned()]).into());
    }
    blocks.push(assignment_table(&ask, t.assignments, &held).into());
    page = page.section(t.assignments, blocks);
    if ask.visitor.may(Scope::Audit) {
        let about = AuditFilter { principal_id: Some(id), ..AuditFilter::default() };
        let by = AuditFilter { actor_id: Some(id), ..AuditFilter::default() };
        let about = entry_table(t, t.entries_about, &entries(&ask, &about, FEW).await?);
        let by = entry_table(t, t.entries_by, &entries(&ask, &by, FEW).await?);
        let more = Links::new(vec![
            (t.all_entries_about, link("/console/ledger", &[("principal_id", &text)])),
            (t.all_entries_by, link("/console/ledger", &[("actor_id", &text)])),
        ]);
        page = page.section(t.ledger, vec![about.into(), by.into(), more.into()]);
    }
    Ok(page.respond(&ask))
}

fn facts(t: &Texts, kind: &str, id: uuid::Uuid, principal: Option<&Principal>) -> Block {
    let mut facts =
        vec![(t.status, status_cell(t, principal)), (t.kind, Cell::name(kind)), (t.id, Cell::code(id.to_string()))];
    if let Some(one) = principal {
        facts.push((t.external_id, one.external_id.as_deref().map(Cell::code).unwrap_or_default()));
        facts.push((t.created, Cell::time(one.created_at)));
        facts.push((t.changed, Cell::time(one.updated_at)));
        facts.extend(one.erased_at.map(|at| (t.erased, Cell::time(at))));
    }
    Facts::new(facts).into()
}

fn attributes(t: &Texts, principal: &Principal) -> Block {
    Text::new(t.attributes, &serde_json::to_string_pretty(&principal.attributes).unwrap_or_default()).into()
}

/// The questions about a principal: what it can do, whether it can do something, and how it was.
async fn questions(ask: &Ask, kind: &str, id: &str) -> Result<Vec<Block>, Refusal> {
    let t = ask.texts();
    let mut blocks = Vec::new();
    if ask.visitor.may(Scope::List) {
        let form = Form::ask("what", "/console/access", t.what_can)
            .hidden("list", "resources")
            .hidden("principal_type", kind)
            .hidden("principal_id", id)
            .field(Field::of("action", t.action, "", Input::Suggested(actions(ask).await?)).required())
            .field(Field::line("at", t.at, "").hinted(t.at_hint));
        blocks.push(form.into());
    }
    if ask.visitor.may(Scope::Explain) {
        let path = link("/console/check", &[("principal_type", kind), ("user_id", id)]);
        blocks.push(Links::new(vec![(t.check_here, path)]).into());
    }
    let past = Form::ask("past", "/console/principal", t.show_as_it_was)
        .hidden("type", kind)
        .hidden("id", id)
        .field(Field::line("at", t.at, "").hinted(t.at_hint));
    blocks.push(past.into());
    Ok(blocks)
}
