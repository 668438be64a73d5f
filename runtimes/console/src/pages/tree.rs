//! The tree of entities: the roots, or the level below one entity. Script brings further levels into the page.
//!
//! Must never read more than one level.

use epr_core::authn::Scope;
use epr_core::domain::fields::{Choice as _, parse_uuid};
use epr_core::domain::{Branch, Entity, EntityStatus};
use epr_core::store::{Cursor, Page as Rows};

use super::entities::{TAB, cursor, entity_table};
use super::entity::{ancestors, path_cell};
use super::rows::{MANY, entity_path};
use crate::Page;
use crate::blocks::{Block, Branch as Shown, Branches, Cell, Facts, Links, Look, rendered};
use crate::page::{Answer, Page as Whole};
use crate::query::link;
use crate::refusal::Refusal;
use crate::visitor::Ask;

const PATH: &str = "/console/tree";
/// The active entities that the tree does not reach.
const ORPHANS: &str = "/console/attention/orphans";

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get(PATH, show)]
}

/// The address of the level below an entity.
pub(super) fn level_path(id: &str) -> String {
    link(PATH, &[("under", id)])
}

async fn show(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Read)?;
    let t = ask.texts();
    let under = match ask.query.get("under") {
        Some(id) => {
            let id = parse_uuid(id).ok_or_else(|| Refusal::not_found(t.no_such_page))?;
            Some(ask.epr().entity(id).await?)
        }
        None => None,
    };
    let page = Rows { limit: u32::try_from(MANY).unwrap_or(u32::MAX), after: cursor(&ask)? };
    let level = ask.epr().branches(under.as_ref().map(|entity| entity.id), &page).await?;
    let last = level.last().filter(|_| level.len() == MANY);
    let next = last.map(|one| Cursor { created_at: one.entity.created_at, id: one.entity.id }.encode());
    let next = next.map(|cursor| link(PATH, &[("under", ask.query.text("under")), ("cursor", &cursor)]));
    let mut blocks = match &under {
        Some(entity) => {
            let above = ancestors(&ask, entity).await?;
            let links = vec![(t.open_entity, entity_path(entity.id)), (t.tree, PATH.to_owned())];
            vec![Facts::new(vec![(t.position, path_cell(entity, &above))]).into(), Links::new(links).into()]
        }
        // Archived entities are left out, and what is below them.
        None => vec![Block::from(Links::new(vec![(t.search, TAB.to_owned()), (t.orphans, ORPHANS.to_owned())]))],
    };
    let branches = level.iter().map(shown).collect();
    let entities: Vec<Entity> = level.into_iter().map(|branch| branch.entity).collect();
    let table = entity_table(t, t.below, &entities);
    blocks.push(Block::List(rendered(&Branches::new(t, branches, next)), table));
    let title = under.as_ref().map_or(t.tree, |entity| &entity.name);
    Ok(Whole::new(title, TAB).section("", blocks).respond(&ask))
}

fn shown(branch: &Branch) -> Shown {
    let entity = &branch.entity;
    let label = Cell::name(&entity.name).and(Look::Muted, entity.entity_type.word());
    let label = match entity.status {
        EntityStatus::Active => label,
        status => label.and(Look::Warning, status.word()),
    };
    let below = branch.has_children.then(|| level_path(&entity.id.to_string()));
    Shown { label, entity: entity_path(entity.id), below }
}
