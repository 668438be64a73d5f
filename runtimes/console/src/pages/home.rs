//! The first page: what needs attention, and the state of the service.

use epr_core::authn::Scope;
use epr_core::domain::AssignmentScan;

use super::assignments::{expiring, orphans};
use super::health::findings;
use super::rows::{assignment_table, assignments, cut};
use crate::Page;
use crate::blocks::{Block, Cell, Facts, Field, Form, Links, Look};
use crate::page::{Answer, Page as Shown};
use crate::refusal::Refusal;
use crate::visitor::Ask;

/// The rows of each list.
const ROWS: usize = 5;
/// Objects beyond this many are not counted.
const MAX_COUNT: i64 = 10_000;

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get("/console", show)]
}

async fn show(ask: Ask) -> Answer {
    let t = ask.texts();
    let mut page = Shown::new(t.home, "/console");
    let mut facts = Vec::new();
    if ask.visitor.may(Scope::Read) {
        let search = |id, path, label| Form::ask(id, path, t.search).field(Field::line("q", label, "").required());
        let blocks = vec![
            search("entity", "/console/entities", t.find_entity).into(),
            search("principal", "/console/principals", t.find_principal).into(),
        ];
        page = page.section(t.search, blocks);
    }
    if ask.visitor.may(Scope::Audit) {
        let form =
            Form::ask("entry", "/console/ledger", t.search).field(Field::line("sequence", t.find_entry, "").required());
        page = page.section("", vec![form.into()]);
    }
    if ask.visitor.may(Scope::Read) {
        page = page.section(t.registry, vec![counts(&ask).await?]);
    }
    if ask.visitor.may(Scope::Events) {
        let backlog = ask.epr().event_backlog().await?;
        let number = |count: i64, state: &str, look: Look| {
            let look = if count == 0 { Look::Good } else { look };
            Cell::link(look, count.to_string(), format!("/console/events?delivery_state={state}"))
        };
        facts.push((t.events_pending, number(backlog.pending, "pending", Look::Warning)));
        facts.push((t.events_failed, number(backlog.failed, "failed", Look::Bad)));
    }
    if ask.visitor.may(Scope::Audit) {
        let rejected = ask.epr().rejections(1, None).await?;
        let (look, text) = if rejected.is_empty() { (Look::Good, t.none) } else { (Look::Warning, t.some) };
        facts.push((t.rejections, Cell::link(look, text, "/console/events#rejections")));
        facts.push((t.verified, verified(&ask).await?));
    }
    if ask.visitor.may(Scope::Operate) {
        facts.extend(findings(&ask).into_iter().map(|finding| (finding.label, finding.cell())));
    }
    if !facts.is_empty() {
        page = page.section(t.state, vec![Facts::new(facts).into()]);
    }
    if ask.visitor.may(Scope::Read) {
        page = page.section(t.attention, attention(&ask).await?);
    }
    Ok(page.respond(&ask))
}

/// The last verification of the ledger.
async fn verified(ask: &Ask) -> Result<Cell, Refusal> {
    let t = ask.texts();
    let Some(last) = ask.epr().last_verification().await? else { return Ok(Cell::new(Look::Warning, t.never)) };
    let cell = match &last.finding {
        None => Cell::new(Look::Good, t.chain_holds),
        Some(finding) => Cell::new(Look::Bad, finding),
    };
    Ok(cell.and_time(last.verified_at).and(Look::Muted, format!("{}–{}", last.first_sequence, last.last_sequence)))
}

/// How much the registry has, as far as it is counted.
async fn counts(ask: &Ask) -> Result<Block, Refusal> {
    let t = ask.texts();
    let counts = ask.epr().registry_counts(MAX_COUNT + 1).await?;
    let shown = |count: i64| match count {
        count if count > MAX_COUNT => format!("{} {MAX_COUNT}", t.more_than),
        count => count.to_string(),
    };
    let linked = |count, path: &str| Cell::link(Look::Plain, shown(count), path);
    let facts = Facts::new(vec![
        (t.entities, linked(counts.entities, "/console/tree")),
        (t.principals, linked(counts.principals, "/console/principals")),
        (t.roles, linked(counts.roles, "/console/roles")),
        (t.assignments, Cell::plain(shown(counts.assignments))),
    ]);
    Ok(facts.into())
}

/// The lists of what needs attention, each with its first rows.
async fn attention(ask: &Ask) -> Result<Vec<Block>, Refusal> {
    let t = ask.texts();
    let now = ask.epr().now();
    let mut blocks = Vec::new();
    let lists = [
        (t.expiring, "/console/attention/expiring", expiring(ask)),
        (t.never_effective, "/console/attention/never-effective", AssignmentScan::NeverEffective { now }),
        (t.global, "/console/attention/global", AssignmentScan::Global { now }),
    ];
    for (title, path, scan) in lists {
        let mut rows = assignments(ask, scan, ROWS).await?;
        let more = cut(t, &mut rows, ROWS);
        blocks.push(assignment_table(ask, title, &rows).into());
        if more.is_some() {
            blocks.push(Links::new(vec![(t.show_all, path.to_owned())]).into());
        }
    }
    let (more, table) = orphans(ask, ROWS).await?;
    blocks.push(table.into());
    if more.is_some() {
        blocks.push(Links::new(vec![(t.show_all, "/console/attention/orphans".to_owned())]).into());
    }
    Ok(blocks)
}
