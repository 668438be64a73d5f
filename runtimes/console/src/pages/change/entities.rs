//! Forms that create, change and archive an entity.

use axum::body::Bytes;
use epr_core::authn::Scope;
use epr_core::domain::fields::{Choice as _, parse_uuid};
use epr_core::domain::{Entity, EntityPatch, EntityStatus, Json, NewEntity};
use uuid::Uuid;

use super::super::entities::TAB;
use super::super::rows::entity_path;
use super::{change_form, form_page, made, object_in, submitted, texts};
use crate::Page;
use crate::blocks::{Field, Form, Input};
use crate::page::Answer;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::visitor::Ask;

const PATH: &str = "/console/change/entity";

pub(super) fn pages() -> Vec<Page> {
    vec![Page::get(PATH, show), Page::post(PATH, submit)]
}

/// The entity that the query or the form names.
async fn subject(ask: &Ask, given: &Query) -> Result<Option<Entity>, Refusal> {
    let Some(id) = given.get("id") else { return Ok(None) };
    let id = parse_uuid(id).ok_or_else(|| Refusal::not_found(ask.texts().no_such_page))?;
    Ok(Some(ask.epr().entity(id).await?))
}

async fn show(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Write)?;
    let given = match subject(&ask, &ask.query).await? {
        Some(entity) => Query::of(&[
            ("id", &entity.id.to_string()),
            ("name", &entity.name),
            ("status", entity.status.word()),
            ("parent_id", &entity.parent_id.map(|id| id.to_string()).unwrap_or_default()),
            ("external_id", entity.external_id.as_deref().unwrap_or_default()),
            ("attributes", &serde_json::to_string_pretty(&entity.attributes).unwrap_or_default()),
        ]),
        None => ask.query.clone(),
    };
    form_page(&ask, title(&ask, &given), TAB, entity_form(&ask, &given), None)
}

fn title(ask: &Ask, given: &Query) -> &'static str {
    if given.get("id").is_some() { ask.texts().change_entity } else { ask.texts().create_entity }
}

fn entity_form(ask: &Ask, given: &Query) -> Form {
    let t = ask.texts();
    let words =
        |words: Vec<&str>| Input::Choice(words.into_iter().map(|word| (word.to_owned(), word.to_owned())).collect());
    let mut form = change_form(ask, "entity", PATH, t.save, given)
        .field(Field::line("name", t.name, given.text("name")).required());
    match given.get("id") {
        Some(id) => {
            let statuses = EntityStatus::ALL.iter().map(|status| status.word()).collect();
            form = form.hidden("id", id).field(Field::of("status", t.status, given.text("status"), words(statuses)));
        }
        None => {
            let types = ask.epr().entity_types().words().unwrap_or_default();
            form = form.field(Field::of("type", t.kind, given.text("type"), words(types)));
        }
    }
    form.field(Field::line("parent_id", t.parent_id, given.text("parent_id")))
        .field(Field::line("external_id", t.external_id, given.text("external_id")))
        .field(Field::of("attributes", t.attributes, given.text("attributes"), Input::Lines).hinted(t.context_hint))
}

async fn submit(ask: Ask, body: Bytes) -> Answer {
    let (given, call) = submitted(&ask, &body)?;
    let saved: Result<Uuid, Refusal> = async {
        let mut members = texts(&given, &["name", "type", "status", "parent_id", "external_id"]);
        members.insert("attributes".to_owned(), object_in(&given, "attributes")?);
        let Some(id) = given.get("id") else {
            let new = NewEntity::from_body(&Json::Object(members), ask.epr().entity_types())?;
            return Ok(ask.epr().create_entity(&call, new).await?.id);
        };
        let id = parse_uuid(id).ok_or_else(|| Refusal::not_found(ask.texts().no_such_page))?;
        // An empty field removes what the entity had.
        for name in ["parent_id", "external_id"] {
            if !members.contains_key(name) {
                members.insert(name.to_owned(), Json::Null);
            }
        }
        let patch = EntityPatch::from_body(&Json::Object(members))?;
        Ok(ask.epr().update_entity(&call, id, patch).await?.id)
    }
    .await;
    match saved {
        Ok(id) => Ok(made(&call, &entity_path(id))),
        Err(refusal) => form_page(&ask, title(&ask, &given), TAB, entity_form(&ask, &given), Some(refusal)),
    }
}
