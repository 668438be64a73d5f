//! The entities: search, and the tree by the entities below one.
//!
//! Must never read more than one page of a list.

use axum::response::{IntoResponse as _, Redirect};
use epr_core::authn::Scope;
use epr_core::domain::entity::EntityName;
use epr_core::domain::fields::{Choice as _, parse_uuid};
use epr_core::domain::{Entity, EntityFilter, EntityStatus, ExternalId};
use epr_core::store::{Cursor, Page as Rows};

use super::change;
use super::rows::{MANY, entity_cell, entity_path};
use crate::Page;
use crate::blocks::{Block, Cell, Field, Form, Input, Links, Look, Table};
use crate::page::{Answer, Page as Shown};
use crate::refusal::Refusal;
use crate::texts::Texts;
use crate::visitor::Ask;

pub(crate) const TAB: &str = "/console/entities";

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get(TAB, list)]
}

async fn list(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Read)?;
    let t = ask.texts();
    let mut fields = ask.query.fields().accepting(ask.epr().entity_types());
    let filter = EntityFilter::from_query(&mut fields);
    let filter = fields.finish(Some(filter))?;
    let (rows, next) = match ask.query.get("q") {
        Some(q) => {
            let found = find(&ask, q, &filter).await?;
            if let [only] = found.as_slice() {
                return Ok(Redirect::to(&entity_path(only.id)).into_response());
            }
            (found, None)
        }
        None => one_page(&ask, &filter).await?,
    };
    let table = entity_table(t, t.entities, &rows).with_next(next, t.next_page);
    let tree = Links::new(vec![(t.tree, "/console/tree".to_owned())]);
    let mut blocks = vec![search(&ask), tree.into(), table.into()];
    blocks.extend(change::links(&ask, vec![(t.create_entity, "/console/change/entity".to_owned())]));
    Ok(Shown::new(t.entities, TAB).section("", blocks).respond(&ask))
}

/// The form that finds entities.
fn search(ask: &Ask) -> Block {
    let t = ask.texts();
    let any = (String::new(), t.any.to_owned());
    let types = ask.epr().entity_types().words().unwrap_or_default();
    let types = types.into_iter().map(|word| (word.to_owned(), word.to_owned()));
    let statuses = EntityStatus::ALL.iter().map(|status| (status.word().to_owned(), status.word().to_owned()));
    let choice = |all: &mut dyn Iterator<Item = (String, String)>| {
        Input::Choice(std::iter::once(any.clone()).chain(all).collect())
    };
    let query = &ask.query;
    Form::ask("search", TAB, t.search)
        .field(Field::line("q", t.name_or_id, query.text("q")).hinted(t.name_or_id_hint))
        .field(Field::of("type", t.kind, query.text("type"), choice(&mut { types })))
        .field(Field::of("status", t.status, query.text("status"), choice(&mut { statuses })))
        .into()
}

/// The entities that `q` names: by id, by external id, or by the beginning of the name.
async fn find(ask: &Ask, q: &str, filter: &EntityFilter) -> Result<Vec<Entity>, Refusal> {
    let page = Rows { limit: u32::try_from(MANY).unwrap_or(u32::MAX), after: None };
    if let Some(id) = parse_uuid(q) {
        return Ok(vec![ask.epr().entity(id).await?]);
    }
    let mut found = Vec::new();
    if let Ok(external_id) = q.parse::<ExternalId>() {
        let filter = EntityFilter { external_id: Some(external_id), ..filter.clone() };
        found.extend(ask.epr().entities(&filter, &page).await?);
    }
    if let Ok(prefix) = EntityName::new(q) {
        let filter = EntityFilter { name_prefix: Some(prefix), ..filter.clone() };
        // A walk from every name up to the ancestor may be long: then the newest are looked for first.
        let named = match filter.ancestor_id {
            None => ask.epr().entities_by_name(&filter, page.limit).await?,
            Some(_) => ask.epr().entities(&filter, &page).await?,
        };
        found.extend(named.into_iter().filter(|one| one.external_id.as_deref() != Some(q)));
    }
    Ok(found)
}

/// A page of the entities that match, and the link to the next one.
async fn one_page(ask: &Ask, filter: &EntityFilter) -> Result<(Vec<Entity>, Option<String>), Refusal> {
    let after = cursor(ask)?;
    let limit = u32::try_from(MANY).unwrap_or(u32::MAX);
    let rows = ask.epr().entities(filter, &Rows { limit, after }).await?;
    let last = rows.last().filter(|_| rows.len() == MANY);
    let next = last.map(|one| next_link(ask, Cursor { created_at: one.created_at, id: one.id }));
    Ok((rows, next))
}

/// The position after which the page begins.
pub(super) fn cursor(ask: &Ask) -> Result<Option<Cursor>, Refusal> {
    let given = ask.query.get("cursor").map(Cursor::decode).transpose();
    given.map_err(|error| Refusal::invalid(vec![error.to_string()]))
}

/// The link to the page after a row.
pub(super) fn next_link(ask: &Ask, last: Cursor) -> String {
    format!("?{}", ask.query.with("cursor", Some(&last.encode())))
}

/// Entities.
pub(super) fn entity_table(t: &'static Texts, caption: &str, rows: &[Entity]) -> Table {
    let head = vec![t.entity, t.status, t.external_id, t.parent, t.changed];
    let cells = rows.iter().map(|one| {
        vec![
            entity_cell(one.id, &one.entity_type, &one.name),
            status_cell(one.status),
            one.external_id.as_deref().map(Cell::code).unwrap_or_default(),
            one.parent_id.map(|id| Cell::link(Look::Plain, t.parent, entity_path(id))).unwrap_or_default(),
            Cell::time(one.updated_at),
        ]
    });
    Table::new(caption, head, t.none).with_rows(cells)
}

/// The status of an entity.
pub(super) fn status_cell(status: EntityStatus) -> Cell {
    let look = match status {
        EntityStatus::Active => Look::Good,
        EntityStatus::Inactive => Look::Warning,
        EntityStatus::Archived => Look::Muted,
    };
    Cell::new(look, status.word())
}
