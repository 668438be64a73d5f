//! Forms that create and change a role. Actions are lines, conditions the JSON of the API.

use axum::body::Bytes;
use epr_core::authn::Scope;
use epr_core::decision::condition;
use epr_core::domain::fields::parse_uuid;
use epr_core::domain::{EntityType, Json, JsonObject, NewRole, Role, RolePatch};
use uuid::Uuid;

use super::super::roles::TAB;
use super::super::rows::role_path;
use super::{change_form, conditions, form_page, made, object_in, submitted, texts};
use crate::Page;
use crate::blocks::{Field, Form, Input};
use crate::page::Answer;
use crate::query::Query;
use crate::refusal::{Refusal, sentences_about};
use crate::visitor::Ask;

const PATH: &str = "/console/change/role";

pub(super) fn pages() -> Vec<Page> {
    vec![Page::get(PATH, show), Page::post(PATH, submit)]
}

async fn show(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Write)?;
    let given = match ask.query.get("id") {
        None => ask.query.clone(),
        Some(id) => {
            let id = parse_uuid(id).ok_or_else(|| Refusal::not_found(ask.texts().no_such_page))?;
            let role = ask.epr().role(id).await?;
            Query::of(&[
                ("id", &role.id.to_string()),
                ("name", &role.name),
                ("description", role.description.as_deref().unwrap_or_default()),
                ("scope_types", &role.scope_types.iter().map(EntityType::word).collect::<Vec<_>>().join("\n")),
                ("permissions", &role.permissions.join("\n")),
                ("conditions", &conditions_text(&role)),
            ])
        }
    };
    form_page(&ask, title(&ask, &given), TAB, role_form(&ask, &given), None)
}

/// The conditions of a role as the API writes them.
fn conditions_text(role: &Role) -> String {
    if role.conditions.is_empty() {
        return String::new();
    }
    serde_json::to_string_pretty(&role.conditions).unwrap_or_default()
}

fn title(ask: &Ask, given: &Query) -> &'static str {
    if given.get("id").is_some() { ask.texts().change_role } else { ask.texts().create_role }
}

fn role_form(ask: &Ask, given: &Query) -> Form {
    let t = ask.texts();
    let lines = |name, label| Field::of(name, label, given.text(name), Input::Lines);
    let form = change_form(ask, "role", PATH, t.save, given);
    let form = match given.get("id") {
        // The name of a role never changes.
        Some(id) => form.hidden("id", id).hidden("name", given.text("name")),
        None => form.field(Field::line("name", t.name, given.text("name")).required()),
    };
    form.field(Field::line("description", t.description, given.text("description")))
        .field(lines("permissions", t.actions).hinted(t.one_a_line))
        .field(lines("scope_types", t.scope_types).hinted(t.one_a_line))
        .field(lines("conditions", t.conditions).hinted(t.conditions_hint).checked_by(conditions::PATH))
}

/// The members of a body that the form has, but for the name.
fn members(given: &Query) -> Result<JsonObject, Refusal> {
    let mut members: JsonObject = texts(given, &["description"]);
    for name in ["permissions", "scope_types"] {
        let lines = given.text(name).lines().map(str::trim).filter(|line| !line.is_empty());
        members.insert(name.to_owned(), Json::List(lines.map(Json::from).collect()));
    }
    members.insert("conditions".to_owned(), object_in(given, "conditions")?);
    Ok(members)
}

/// What is wrong with the conditions of the form.
pub(super) fn condition_problems(ask: &Ask, given: &Query) -> Vec<String> {
    let mut members = match members(given) {
        Ok(members) => members,
        Err(refusal) => return refusal.into_sentences(),
    };
    members.insert("name".to_owned(), "any name".into());
    let read = NewRole::from_body(&Json::Object(members), ask.epr().entity_types(), condition::check);
    read.err().map(|invalid| sentences_about(&invalid, "conditions")).unwrap_or_default()
}

async fn submit(ask: Ask, body: Bytes) -> Answer {
    let (given, call) = submitted(&ask, &body)?;
    let saved: Result<Uuid, Refusal> = async {
        let types = ask.epr().entity_types();
        let mut members = members(&given)?;
        let Some(id) = given.get("id") else {
            members.insert("name".to_owned(), given.text("name").into());
            let new = NewRole::from_body(&Json::Object(members), types, condition::check)?;
            return Ok(ask.epr().create_role(&call, new).await?.id);
        };
        let id = parse_uuid(id).ok_or_else(|| Refusal::not_found(ask.texts().no_such_page))?;
        let patch = RolePatch::from_body(&Json::Object(members), types, condition::check)?;
        Ok(ask.epr().update_role(&call, id, patch).await?.id)
    }
    .await;
    match saved {
        Ok(id) => Ok(made(&call, &role_path(id))),
        Err(refusal) => form_page(&ask, title(&ask, &given), TAB, role_form(&ask, &given), Some(refusal)),
    }
}
