//! Who can do something on a resource, and what a principal can do: the lists of access, at any date.
//!
//! Must never decide: the lists do.

use epr_core::authn::Scope;
use epr_core::domain::access::{AccessItem, AccessPage, Include, ListRequest, ListedAction};
use epr_core::domain::assignment::default_principal_type;
use epr_core::domain::fields::{self, Choice as _, Fields};
use epr_core::domain::{ActionsRequest, EntityType, Json, JsonObject, PrincipalsRequest, ResourcesRequest, moment};
use uuid::Uuid;

use super::check::context;
use super::entity::actions;
use super::rows::{assignment_path, entity_cell, entity_path, principal_cell, role_path};
use crate::Page;
use crate::blocks::{Block, Cell, Facts, Field, Form, Input, Look, Notice, Table};
use crate::page::{Answer, Page as Shown};
use crate::query::link;
use crate::refusal::Refusal;
use crate::visitor::Ask;

pub(crate) const TAB: &str = "/console/access";

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get(TAB, show)]
}

/// The principals on a page: with conditions, the store reads the registrations of so many in one statement.
const PRINCIPALS: u32 = 30;

/// The list that a page shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Principals,
    Resources,
    Actions,
}

impl List {
    fn of(word: &str) -> Self {
        match word {
            "resources" => Self::Resources,
            "actions" => Self::Actions,
            _ => Self::Principals,
        }
    }
}

async fn show(ask: Ask) -> Answer {
    ask.visitor.require(Scope::List)?;
    let t = ask.texts();
    let list = List::of(ask.query.text("list"));
    let mut page = Shown::new(t.access, TAB);
    let answer = if ask.query.has_any(&["resource_id", "principal_id"]) { Some(read(&ask, list).await) } else { None };
    // An answer costs enough: suggestions are for a page without one.
    let suggested = if answer.is_none() { actions(&ask).await? } else { Vec::new() };
    let forms = forms(&ask, list, &suggested);
    match answer {
        None => {}
        Some(Ok(found)) => page = page.section(t.answer, answered(&ask, list, &found)),
        Some(Err(refusal)) => return Err(refusal),
    }
    for (heading, form) in forms {
        page = page.section(heading, vec![form.into()]);
    }
    Ok(page.respond(&ask))
}

/// A page of the list that the query asks for.
async fn read(ask: &Ask, list: List) -> Result<AccessPage<AccessItem>, Refusal> {
    let call = ask.visitor.call();
    let mut fields = ask.query.fields().accepting(ask.epr().entity_types());
    let common = common(ask, &mut fields)?;
    match list {
        List::Principals => {
            let action: Option<ListedAction> = fields.required("action", fields::text);
            let resource = fields.required("resource_id", fields::uuid);
            let principal_type = fields.optional("principal_type", fields::text);
            let request = action.zip(resource).map(|(action, resource_id)| PrincipalsRequest {
                action,
                resource_id,
                principal_type,
                list: ListRequest { limit: PRINCIPALS, ..common },
            });
            Ok(ask.epr().list_principals(&call, &fields.finish(request)?).await?)
        }
        List::Resources => {
            let action: Option<ListedAction> = fields.required("action", fields::text);
            let principal = fields.required("principal_id", fields::uuid);
            let principal_type = fields.optional("principal_type", fields::text);
            let request = action.zip(principal).map(|(action, principal_id)| ResourcesRequest {
                principal_id,
                principal_type: principal_type.unwrap_or_else(default_principal_type),
                action,
                resource_type: None,
                within: None,
                form: epr_core::domain::access::ListForm::Items,
                list: common,
            });
            let mut request = fields.finish(request)?;
            request.resource_type = resource_type(ask)?;
            request.within = within(ask)?;
            Ok(ask.epr().list_resources(&call, &request).await?)
        }
        List::Actions => {
            let principal = fields.required("principal_id", fields::uuid);
            let resource = fields.required("resource_id", fields::uuid);
            let principal_type = fields.optional("principal_type", fields::text);
            let request = principal.zip(resource).map(|(principal_id, resource_id)| ActionsRequest {
                principal_id,
                principal_type: principal_type.unwrap_or_else(default_principal_type),
                resource_id,
                list: common,
            });
            Ok(ask.epr().list_actions(&call, &fields.finish(request)?).await?)
        }
    }
}

/// What every list takes.
fn common(ask: &Ask, fields: &mut Fields<'_>) -> Result<ListRequest, Refusal> {
    let context: JsonObject = context(ask)?;
    let include = ask.query.get("conditional").map(|_| Include::Conditional).into_iter().collect();
    Ok(ListRequest {
        context,
        next: ask.query.get("next").map(str::to_owned),
        at: fields.optional("at", fields::timestamp),
        revision: fields.optional("revision", moment::revision),
        include,
        ..ListRequest::default()
    })
}

fn resource_type(ask: &Ask) -> Result<Option<EntityType>, Refusal> {
    let Some(word) = ask.query.get("resource_type") else { return Ok(None) };
    let read = ask.epr().entity_types().read(&Json::from(word));
    let known = read.map_err(|problems| {
        let sentence = problems.first().map(|problem| problem.message().to_owned()).unwrap_or_default();
        Refusal::invalid(vec![sentence])
    })?;
    Ok(Some(known))
}

fn within(ask: &Ask) -> Result<Option<Uuid>, Refusal> {
    let mut fields = ask.query.fields();
    let within = fields.optional("within", fields::uuid);
    Ok(fields.finish(Some(within))?)
}

/// The answer: what it rests on, and its items.
fn answered(ask: &Ask, list: List, found: &AccessPage<AccessItem>) -> Vec<Block> {
    let t = ask.texts();
    let query = &ask.query;
    let mut blocks = Vec::new();
    if query.has_any(&["at", "revision"]) {
        let notice = format!("{} {} · {}", t.not_now, crate::format::time(found.as_of), found.revision);
        blocks.push(Notice::new(Look::Warning, [notice]).into());
    }
    let mut facts = Vec::new();
    if let Some(id) = query.get("principal_id").and_then(fields::parse_uuid) {
        let kind = query.get("principal_type").unwrap_or("user");
        facts.push((t.principal, principal_cell(kind, id, None)));
    }
    facts.extend(query.get("action").map(|action| (t.action, Cell::code(action))));
    if let Some(id) = query.get("resource_id").and_then(fields::parse_uuid) {
        facts.push((t.resource, Cell::link(Look::Code, id.to_string(), entity_path(id))));
    }
    facts.push((t.as_of, Cell::time(found.as_of)));
    facts.push((t.revision, Cell::code(&found.revision)));
    blocks.push(Facts::new(facts).into());
    let subject = match list {
        List::Principals => t.principal,
        List::Resources => t.entity,
        List::Actions => t.action,
    };
    let head = vec![subject, t.role, t.given_on, t.reach, t.until, t.assignment, t.why];
    let cells = found.items.iter().map(|item| item_cells(ask, list, item));
    let next = found.next.as_deref().map(|next| format!("?{}", query.with("next", Some(next))));
    let caption = match list {
        List::Principals => t.who_can,
        List::Resources | List::Actions => t.what_can,
    };
    blocks.push(Table::new(caption, head, t.nobody).with_rows(cells).with_next(next, t.next_page).into());
    blocks
}

fn item_cells(ask: &Ask, list: List, item: &AccessItem) -> Vec<Cell> {
    let t = ask.texts();
    let id = fields::parse_uuid(&item.id);
    let kind = item.kind.as_deref().unwrap_or_default();
    let subject = match (list, id) {
        (List::Principals, Some(id)) => principal_cell(kind, id, item.name.as_deref()),
        (List::Resources, Some(id)) => {
            Cell::link(Look::Name, item.name.as_deref().unwrap_or(&item.id), entity_path(id)).and(Look::Muted, kind)
        }
        _ => Cell::code(&item.id),
    };
    let subject = if item.conditional {
        subject.and(Look::Warning, format!("{} {}", t.needs, item.missing.join(", ")))
    } else {
        subject
    };
    let why = link("/console/check", &question(ask, list, item));
    let why = if ask.visitor.may(Scope::Explain) { Cell::link(Look::Plain, t.why, why) } else { Cell::empty() };
    let Some(via) = &item.via else {
        return vec![subject, Cell::empty(), Cell::empty(), Cell::empty(), Cell::empty(), Cell::empty(), why];
    };
    vec![
        subject,
        Cell::link(Look::Name, &via.role.name, role_path(via.role.id)),
        via.entity
            .as_ref()
            .map_or_else(|| Cell::plain(t.everywhere), |one| entity_cell(one.id, &one.entity_type, &one.name)),
        Cell::plain(via.via.word()),
        Cell::time_or(via.until, t.no_end),
        Cell::link(Look::Code, short(via.assignment_id), assignment_path(via.assignment_id)),
        why,
    ]
}

/// The beginning of an id, for a link to it.
fn short(id: Uuid) -> String {
    id.to_string().get(..8).unwrap_or_default().to_owned()
}

/// The question about one item, for the page that explains it.
fn question<'a>(ask: &'a Ask, list: List, item: &'a AccessItem) -> Vec<(&'static str, &'a str)> {
    let query = &ask.query;
    let kind = item.kind.as_deref().unwrap_or_default();
    let mut parameters = match list {
        List::Principals => vec![
            ("user_id", item.id.as_str()),
            ("principal_type", kind),
            ("action", query.text("action")),
            ("resource_id", query.text("resource_id")),
        ],
        List::Resources => vec![
            ("user_id", query.text("principal_id")),
            ("principal_type", query.text("principal_type")),
            ("action", query.text("action")),
            ("resource_id", item.id.as_str()),
        ],
        List::Actions => vec![
            ("user_id", query.text("principal_id")),
            ("principal_type", query.text("principal_type")),
            ("action", item.id.as_str()),
            ("resource_id", query.text("resource_id")),
        ],
    };
    for name in ["context", "at", "revision"] {
        parameters.push((name, query.text(name)));
    }
    parameters
}

/// The forms of the three lists, the one in use first.
fn forms(ask: &Ask, list: List, actions: &[String]) -> Vec<(&'static str, Form)> {
    let t = ask.texts();
    let query = &ask.query;
    let action = || Field::of("action", t.action, query.text("action"), Input::Suggested(actions.to_vec())).required();
    let resource = || Field::line("resource_id", t.resource_id, query.text("resource_id")).required();
    let principal = || Field::line("principal_id", t.principal_id, query.text("principal_id")).required();
    let kind = || Field::line("principal_type", t.principal_type, query.text("principal_type")).hinted(t.user_if_empty);
    let common = |form: Form| {
        form.field(Field::line("at", t.at, query.text("at")).hinted(t.at_hint))
            .field(Field::line("revision", t.revision, query.text("revision")))
            .field(Field::of("context", t.context, query.text("context"), Input::Lines).hinted(t.context_hint))
            .field(Field::of(
                "conditional",
                t.conditional_items,
                query.text("conditional"),
                Input::Choice(vec![(String::new(), t.no.to_owned()), ("1".to_owned(), t.yes.to_owned())]),
            ))
    };
    let who = Form::ask("who", TAB, t.show)
        .hidden("list", "principals")
        .field(action())
        .field(resource())
        .field(Field::line("principal_type", t.principal_type, query.text("principal_type")).hinted(t.every_type));
    let what = Form::ask("what", TAB, t.show)
        .hidden("list", "resources")
        .field(principal())
        .field(kind())
        .field(action())
        .field(Field::line("resource_type", t.entity_type, query.text("resource_type")).hinted(t.every_type))
        .field(Field::line("within", t.within, query.text("within")));
    let which =
        Form::ask("which", TAB, t.show).hidden("list", "actions").field(principal()).field(kind()).field(resource());
    let mut forms = vec![
        (List::Principals, t.who_can, common(who)),
        (List::Resources, t.what_can, common(what)),
        (List::Actions, t.which_actions, common(which)),
    ];
    forms.sort_by_key(|(one, ..)| *one != list);
    forms.into_iter().map(|(_, heading, form)| (heading, form)).collect()
}
