//! One entity: its fields, where it is, what is below it, who holds roles on it, its ledger entries.
//!
//! Must never walk further up than a page can afford.

use axum::extract::Path;
use epr_core::authn::Scope;
use epr_core::domain::fields::parse_uuid;
use epr_core::domain::{AssignmentFilter, AssignmentScan, AuditFilter, Entity, EntityFilter, Moment, moment};
use epr_core::history::{RegistryRow, RowKey};
use epr_core::store::Page as Rows;
use uuid::Uuid;

use super::change;
use super::entities::{TAB, entity_table, status_cell};
use super::rows::{FEW, assignment_table, assignments, cut, entity_path, entries, entry_table};
use super::surroundings::views;
use super::tree::level_path;
use crate::Page;
use crate::blocks::{Block, Cell, Facts, Field, Form, Input, Links, Look, Notice, Text};
use crate::page::{Answer, Page as Shown};
use crate::query::link;
use crate::refusal::Refusal;
use crate::texts::Texts;
use crate::visitor::Ask;

/// The ancestors that a page reads, one statement each. The page of the last one leads further up.
const MAX_ANCESTORS: usize = 3;

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get("/console/entities/{id}", show)]
}

async fn show(Path(id): Path<String>, ask: Ask) -> Answer {
    ask.visitor.require(Scope::Read)?;
    let t = ask.texts();
    let id = parse_uuid(&id).ok_or_else(|| Refusal::not_found(t.no_such_page))?;
    let moment = moment_of(&ask)?;
    if !moment.is_now() {
        let row = ask.epr().row_at(&ask.visitor.call(), RowKey::Entity(id), moment).await?;
        let RegistryRow::Entity(entity) = row else { return Err(Refusal::not_found(t.no_such_page)) };
        let blocks = vec![past_notice(t, &ask), facts(t, &entity, None), attributes(t, &entity)];
        return Ok(Shown::new(&entity.name, TAB).section("", blocks).respond(&ask));
    }
    let entity = ask.epr().entity(id).await?;
    let above = ancestors(&ask, &entity).await?;
    let mut page = Shown::new(&entity.name, TAB);
    let mut blocks = vec![facts(t, &entity, Some(&above)), attributes(t, &entity)];
    let text = id.to_string();
    let changes = vec![
        (t.change_entity, link("/console/change/entity", &[("id", &text)])),
        (t.create_below, link("/console/change/entity", &[("parent_id", &text)])),
        (t.assign_here, link("/console/change/assignment", &[("entity_id", &text)])),
    ];
    blocks.extend(change::links(&ask, changes));
    page = page.section("", blocks);
    page = page.section(t.questions, questions(&ask, id).await?);
    let below = EntityFilter { parent_id: Some(id), ..EntityFilter::default() };
    let limit = u32::try_from(FEW + 1).unwrap_or(u32::MAX);
    let mut below = ask.epr().entities(&below, &Rows { limit, after: None }).await?;
    let mut blocks: Vec<Block> = cut(t, &mut below, FEW).into_iter().map(Block::from).collect();
    blocks.push(entity_table(t, t.directly_below, &below).into());
    blocks.push(Block::from(Links::new(vec![
        (t.tree, level_path(&text)),
        (t.all_directly_below, link(TAB, &[("parent_id", &text)])),
        (t.all_below, link(TAB, &[("ancestor_id", &text)])),
    ])));
    page = page.section(t.below, blocks);
    let filter = AssignmentFilter { entity_id: Some(id), ..AssignmentFilter::default() };
    let scan = AssignmentScan::Listed { filter, now: ask.epr().now() };
    let mut held = assignments(&ask, scan, FEW).await?;
    let mut blocks: Vec<Block> = cut(t, &mut held, FEW).into_iter().map(Block::from).collect();
    blocks.push(assignment_table(&ask, t.assignments_here, &held).into());
    blocks.insert(0, views(t, id, None));
    page = page.section(t.assignments, blocks);
    if ask.visitor.may(Scope::Audit) {
        let filter = AuditFilter { entity_id: Some(id), ..AuditFilter::default() };
        let rows = entries(&ask, &filter, FEW).await?;
        let more = Links::new(vec![(t.all_entries, link("/console/ledger", &[("entity_id", &text)]))]);
        page = page.section(t.ledger, vec![entry_table(t, t.newest_entries, &rows).into(), more.into()]);
    }
    Ok(page.respond(&ask))
}

/// The moment that the query names.
pub(super) fn moment_of(ask: &Ask) -> Result<Moment, Refusal> {
    let mut fields = ask.query.fields();
    let at = fields.optional("at", epr_core::domain::fields::timestamp);
    let revision = fields.optional("revision", moment::revision);
    Ok(fields.finish(Some(Moment { at, revision }))?)
}

/// The notice of a page that does not show the present state.
pub(super) fn past_notice(t: &Texts, ask: &Ask) -> Block {
    let parts = ["at", "revision"].into_iter().filter_map(|name| ask.query.get(name)).collect::<Vec<_>>();
    Notice::new(Look::Warning, [format!("{} {}", t.not_now, parts.join(" · "))]).into()
}

/// The entities above, the nearest first, and whether there are more.
pub(super) async fn ancestors(ask: &Ask, entity: &Entity) -> Result<(Vec<Entity>, bool), Refusal> {
    let mut above: Vec<Entity> = Vec::new();
    let mut parent = entity.parent_id;
    while let Some(id) = parent {
        // A cycle leads back to what is shown already.
        if above.len() == MAX_ANCESTORS || id == entity.id || above.iter().any(|one| one.id == id) {
            return Ok((above, true));
        }
        let one = ask.epr().entity(id).await?;
        parent = one.parent_id;
        above.push(one);
    }
    Ok((above, false))
}

/// The names from the top to the entity.
pub(super) fn path_cell(entity: &Entity, (above, more): &(Vec<Entity>, bool)) -> Cell {
    let path = if *more { Cell::new(Look::Muted, "…") } else { Cell::empty() };
    let path = above
        .iter()
        .rev()
        .fold(path, |path, one| path.and_link(Look::Name, &one.name, entity_path(one.id)).and(Look::Muted, "›"));
    path.and(Look::Name, &entity.name)
}

fn facts(t: &Texts, entity: &Entity, above: Option<&(Vec<Entity>, bool)>) -> Block {
    let parent = || entity.parent_id.map(|id| Cell::link(Look::Code, id.to_string(), entity_path(id)));
    let path = above.map_or_else(|| parent().unwrap_or_default(), |above| path_cell(entity, above));
    Facts::new(vec![
        (t.kind, Cell::plain(entity.entity_type.word())),
        (t.status, status_cell(entity.status)),
        (t.position, path),
        (t.id, Cell::code(entity.id.to_string())),
        (t.external_id, entity.external_id.as_deref().map(Cell::code).unwrap_or_default()),
        (t.created, Cell::time(entity.created_at)),
        (t.changed, Cell::time(entity.updated_at)),
    ])
    .into()
}

fn attributes(t: &Texts, entity: &Entity) -> Block {
    let text = serde_json::to_string_pretty(&entity.attributes).unwrap_or_default();
    Text::new(t.attributes, &text).into()
}

/// The questions about an entity: who can do something on it, whether somebody can, and how it was.
async fn questions(ask: &Ask, id: Uuid) -> Result<Vec<Block>, Refusal> {
    let t = ask.texts();
    let mut blocks = Vec::new();
    if ask.visitor.may(Scope::List) {
        let actions = Input::Suggested(actions(ask).await?);
        let form = Form::ask("who", "/console/access", t.who_can)
            .hidden("list", "principals")
            .hidden("resource_id", id.to_string())
            .field(Field::of("action", t.action, "", actions).required())
            .field(Field::line("at", t.at, "").hinted(t.at_hint));
        blocks.push(form.into());
    }
    if ask.visitor.may(Scope::Explain) {
        let path = link("/console/check", &[("resource_id", &id.to_string())]);
        blocks.push(Links::new(vec![(t.check_here, path)]).into());
    }
    let past = Form::ask("past", entity_path(id), t.show_as_it_was);
    blocks.push(past.field(Field::line("at", t.at, "").hinted(t.at_hint)).into());
    Ok(blocks)
}

/// The actions that roles have, for suggestions: those of the newest roles.
pub(super) async fn actions(ask: &Ask) -> Result<Vec<String>, Refusal> {
    let roles = ask.epr().roles(&Rows { limit: 200, after: None }).await?;
    let mut actions: Vec<String> = roles.into_iter().flat_map(|role| role.permissions).collect();
    // A form would send the picture of a control character.
    actions.retain(|action| !action.chars().any(char::is_control));
    actions.sort();
    actions.dedup();
    Ok(actions)
}
