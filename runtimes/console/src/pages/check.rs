//! A decision with everything that it rests on: the sentence, and the path from each assignment to the resource, drawn.
//!
//! Must never decide: the explanation does.

use epr_core::authn::Scope;
use epr_core::decision::{AskedAction, ExplainedAssignment, Explanation, Question};
use epr_core::domain::assignment::default_principal_type;
use epr_core::domain::fields::{self, Choice as _};
use epr_core::domain::principal::PrincipalStatus;
use epr_core::domain::{Json, JsonObject, Moment, moment};

use super::entity::actions;
use super::rows::{assignment_path, entity_cell, principal_cell, role_path};
use crate::Page;
use crate::blocks::{Block, Cell, Facts, Field, Form, Input, Look, Notice, Table};
use crate::drawing::Drawing;
use crate::page::{Answer, Page as Shown};
use crate::refusal::Refusal;
use crate::texts::Texts;
use crate::visitor::Ask;

pub(crate) const TAB: &str = "/console/check";

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get(TAB, show)]
}

async fn show(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Explain)?;
    let t = ask.texts();
    let mut page = Shown::new(t.check, TAB);
    // A link to this page can bring one part of the question along.
    let names = ["user_id", "action", "resource_id"];
    if names.iter().all(|name| ask.query.get(name).is_some()) {
        let explanation = explain(&ask).await?;
        page = page.section(t.answer, answered(&ask, &explanation));
        page = page.section(t.path, vec![Block::of(&Drawing::of(t, &explanation)), table(t, &explanation)]);
    }
    Ok(page.section(t.question, vec![question(&ask).await?]).respond(&ask))
}

async fn explain(ask: &Ask) -> Result<Explanation, Refusal> {
    let context = context(ask)?;
    let mut fields = ask.query.fields();
    let principal_id = fields.required("user_id", fields::uuid);
    let action: Option<AskedAction> = fields.required("action", fields::text);
    let resource_id = fields.required("resource_id", fields::uuid);
    let principal_type = fields.optional("principal_type", fields::text).unwrap_or_else(default_principal_type);
    let moment = Moment {
        at: fields.optional("at", fields::timestamp),
        revision: fields.optional("revision", moment::revision),
    };
    let question = principal_id.zip(action).zip(resource_id);
    let question = question.map(|((principal_id, action), resource_id)| Question {
        principal_id,
        principal_type,
        action,
        resource_id,
    });
    let question = fields.finish(question)?;
    Ok(ask.epr().explain(&ask.visitor.call(), &question, &context, moment).await?)
}

/// The context that the query has as JSON.
pub(super) fn context(ask: &Ask) -> Result<JsonObject, Refusal> {
    let Some(text) = ask.query.get("context") else { return Ok(JsonObject::new()) };
    let invalid = |why: String| Refusal::invalid(vec![format!("context: {why}")]);
    match Json::parse(text.as_bytes()) {
        Ok(Json::Object(members)) => Ok(members),
        Ok(_) => Err(invalid(ask.texts().context_hint.to_owned())),
        Err(error) => Err(invalid(error.to_string())),
    }
}

/// The decision, its reason, and the state that it rests on.
fn answered(ask: &Ask, explanation: &Explanation) -> Vec<Block> {
    let t = ask.texts();
    let mut blocks = Vec::new();
    if ask.query.has_any(&["at", "revision"]) {
        let text = format!("{} {} · {}", t.not_now, crate::format::time(explanation.at), explanation.revision);
        blocks.push(Notice::new(Look::Warning, [text]).into());
    }
    let look = if explanation.decision { Look::Good } else { Look::Bad };
    blocks.push(Notice::new(look, [explanation.sentence.clone()]).into());
    let (word, principal) = (if explanation.decision { t.allowed } else { t.denied }, &explanation.principal);
    let mut who = principal_cell(&principal.principal_type, principal.id, principal.display_name.as_deref());
    if principal.status == PrincipalStatus::Suspended {
        who = who.and(Look::Bad, principal.status.word());
    } else if !principal.is_registered {
        who = who.and(Look::Muted, t.not_registered);
    }
    let resource = &explanation.resource;
    let facts = Facts::new(vec![
        (t.decision, Cell::new(look, word).and(Look::Code, &explanation.reason)),
        (t.principal, who),
        (t.action, Cell::code(ask.query.text("action"))),
        (t.resource, entity_cell(resource.id, &resource.entity_type, &resource.name)),
        (t.as_of, Cell::time(explanation.at)),
        (t.revision, Cell::code(&explanation.revision)),
        (t.until, Cell::time_or(explanation.until, t.until_a_change)),
    ]);
    blocks.push(facts.into());
    blocks
}

/// The assignments with the tests that they pass and fail: what the drawing shows, as a table.
fn table(t: &'static Texts, explanation: &Explanation) -> Block {
    let head = vec![t.role, t.given_on, t.reach, t.gate_action, t.gate_type, t.gate_window, t.gate_condition, t.result];
    let gate = |passed: bool| if passed { Cell::new(Look::Good, t.passes) } else { Cell::new(Look::Bad, t.fails) };
    let rows = explanation.assignments.iter().map(|one| {
        let condition = one.condition.as_ref().map(|condition| {
            let passed = condition.outcome == epr_core::decision::ConditionResult::True;
            let cell = gate(passed).and(Look::Code, &condition.expression);
            match (&condition.error, condition.missing.is_empty()) {
                (Some(error), _) => cell.and(Look::Name, error),
                (None, false) => cell.and(Look::Warning, format!("{} {}", t.needs, condition.missing.join(", "))),
                (None, true) => cell,
            }
        });
        let window = &one.window;
        let in_force = window.state == epr_core::decision::WindowState::InForce;
        let window = gate(in_force).and_time(window.effective_at).and(Look::Muted, "–");
        let window = match one.window.expires_at {
            Some(end) => window.and_time(end),
            None => window.and(Look::Muted, t.no_end),
        };
        vec![
            Cell::link(Look::Name, &one.role.name, role_path(one.role.id)),
            one.entity
                .as_ref()
                .map_or_else(|| Cell::plain(t.everywhere), |one| entity_cell(one.id, &one.entity_type, &one.name)),
            Cell::plain(one.via.word()),
            gate(one.holds_action),
            gate(one.in_scope),
            window,
            condition.unwrap_or_else(|| Cell::new(Look::Muted, t.none)),
            result(t, one),
        ]
    });
    Table::new(t.assignments_that_reach, head, t.no_assignment_reaches).with_rows(rows).into()
}

fn result(t: &Texts, one: &ExplainedAssignment) -> Cell {
    let cell = match one.why_not {
        None => Cell::new(Look::Good, t.applies),
        Some(why) => Cell::new(Look::Bad, t.does_not_apply).and(Look::Code, why.word()),
    };
    cell.and_link(Look::Plain, t.assignment, assignment_path(one.assignment_id))
}

/// The form of the question.
async fn question(ask: &Ask) -> Result<Block, Refusal> {
    let t = ask.texts();
    let query = &ask.query;
    let line = |name, label| Field::line(name, label, query.text(name));
    let actions = actions(ask).await?;
    let form = Form::ask("question", TAB, t.check_now)
        .field(line("user_id", t.principal_id).required())
        .field(line("principal_type", t.principal_type).hinted(t.user_if_empty))
        .field(Field::of("action", t.action, query.text("action"), Input::Suggested(actions)).required())
        .field(line("resource_id", t.resource_id).required())
        .field(Field::of("context", t.context, query.text("context"), Input::Lines).hinted(t.context_hint))
        .field(line("at", t.at).hinted(t.at_hint))
        .field(line("revision", t.revision));
    Ok(form.into())
}
