//! The assignments around an entity, page by page: on it, inherited by it, below it.

use axum::extract::Path;
use epr_core::authn::Scope;
use epr_core::domain::Reach;
use epr_core::domain::fields::parse_uuid;
use epr_core::store::{Cursor, Page as Rows};
use uuid::Uuid;

use super::entities::{TAB, cursor, next_link};
use super::rows::{MANY, assignment_table, entity_path};
use crate::Page;
use crate::blocks::{Block, Links};
use crate::page::{Answer, Page as Shown};
use crate::refusal::Refusal;
use crate::texts::Texts;
use crate::visitor::Ask;

const VIEWS: [(Reach, &str); 3] = [(Reach::Here, "here"), (Reach::Inherited, "inherited"), (Reach::Below, "below")];

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get("/console/entities/{id}/assignments/{reach}", show)]
}

fn title(t: &Texts, reach: Reach) -> &'static str {
    match reach {
        Reach::Here => t.assignments_here,
        Reach::Inherited => t.assignments_inherited,
        Reach::Below => t.assignments_below,
    }
}

/// Links to the three views of an entity.
pub(super) fn views(t: &Texts, id: Uuid, current: Option<Reach>) -> Block {
    let links = VIEWS.map(|(reach, word)| {
        (title(t, reach), format!("{}/assignments/{word}", entity_path(id)), current == Some(reach))
    });
    Links::views(links.into()).into()
}

async fn show(Path((id, word)): Path<(String, String)>, ask: Ask) -> Answer {
    ask.visitor.require(Scope::Read)?;
    let t = ask.texts();
    let reach = VIEWS.iter().find(|(_, known)| *known == word).map(|(reach, _)| *reach);
    let (id, reach) = parse_uuid(&id).zip(reach).ok_or_else(|| Refusal::not_found(t.no_such_page))?;
    let entity = ask.epr().entity(id).await?;
    let page = Rows { limit: u32::try_from(MANY).unwrap_or(u32::MAX), after: cursor(&ask)? };
    let rows = ask.epr().assignments_around(id, reach, &page).await?;
    let last = rows.last().filter(|_| rows.len() == MANY).map(|row| &row.assignment);
    let next = last.map(|one| next_link(&ask, Cursor { created_at: one.created_at, id: one.id }));
    let table = assignment_table(&ask, title(t, reach), &rows).with_next(next, t.next_page);
    let back = Links::new(vec![(t.open_entity, entity_path(id))]);
    let blocks = vec![back.into(), views(t, id, Some(reach)), table.into()];
    Ok(Shown::new(&entity.name, TAB).section("", blocks).respond(&ask))
}
