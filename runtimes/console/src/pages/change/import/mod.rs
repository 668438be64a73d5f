//! The form that imports principals, roles and assignments: first the difference that an import would make, then the
//! import, when the difference is confirmed and still the same.
//!
//! Must never read or compare a record itself: `epr-transfer` does, as for `epr import`.

mod registry;

use std::sync::atomic::AtomicBool;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use epr_core::Call;
use epr_core::authn::Scope;
use epr_transfer::check::{Checked, Failure, check};
use epr_transfer::input::{Format, Input};
use epr_transfer::plan::{Change, Planned};
use epr_transfer::run::{BATCH_STEPS, Confirmed, Run, Stopped};
use sha2::{Digest as _, Sha256};

use self::registry::Target;
use super::super::roles::TAB;
use super::{change_form, form_page, made, submitted};
use crate::Page;
use crate::blocks::{Block, Cell, Facts, Field, Form, Input as FormInput, Links, Look, Notice, Table};
use crate::format::hex;
use crate::page::{Answer, Page as Shown};
use crate::query::{Query, link};
use crate::refusal::Refusal;
use crate::texts::Texts;
use crate::visitor::Ask;

/// The address of the form.
pub(crate) const PATH: &str = "/console/change/import";
/// The fields of the form that the confirmation repeats.
const REPEATED: [&str; 4] = ["format", "text", "activate", "reason"];

pub(super) fn pages() -> Vec<Page> {
    vec![Page::get(PATH, show), Page::post(PATH, submit)]
}

/// Both scopes: the difference shows what the registry has.
fn require(ask: &Ask) -> Result<(), Refusal> {
    ask.visitor.require(Scope::Read)?;
    ask.visitor.require(Scope::Write)
}

async fn show(ask: Ask) -> Answer {
    require(&ask)?;
    form_page(&ask, ask.texts().import, TAB, import_form(&ask, &ask.query), None)
}

fn import_form(ask: &Ask, given: &Query) -> Form {
    let t = ask.texts();
    let choice = |values: [(&str, &str); 2]| {
        FormInput::Choice(values.map(|(value, label)| (value.to_owned(), label.to_owned())).into())
    };
    change_form(ask, "import", PATH, t.import_check, given)
        .field(Field::of("format", t.format, given.text("format"), choice([("csv", "CSV"), ("json", "JSON")])))
        .field(Field::of("activate", t.import_activate, given.text("activate"), choice([("", t.no), ("1", t.yes)])))
        .field(Field::of("text", t.import_text, given.text("text"), FormInput::Lines).hinted(t.import_hint).required())
}

/// A line of the difference.
struct Line {
    number: u64,
    cells: Vec<Cell>,
}

/// What an import would do.
struct Difference {
    checked: Checked,
    lines: Vec<Line>,
    /// Every planned change, in the order in which an import makes them.
    plans: Vec<Confirmed>,
    /// The hash of the text, of every planned change as it is shown, and of what it expects to change.
    hash: String,
}

async fn submit(ask: Ask, body: Bytes) -> Answer {
    require(&ask)?;
    let (given, call) = submitted(&ask, &body)?;
    let format = if given.text("format") == "json" { Format::Json } else { Format::Csv };
    let input = Input::of_text(given.text("text"), format, ask.epr().entity_types());
    let target = Target { epr: ask.epr(), call: &call };
    let found = match difference(&ask, &given, &input, &target).await {
        Ok(found) => found,
        Err(refusal) => return form_page(&ask, ask.texts().import, TAB, import_form(&ask, &given), Some(refusal)),
    };
    match given.get("plan") {
        Some(plan) if plan == found.hash && found.checked.errors.is_empty() => {
            apply(&ask, &given, &call, &target, found.plans).await
        }
        plan => Ok(difference_page(&ask, &given, found, plan.is_some())),
    }
}

async fn difference(ask: &Ask, given: &Query, input: &Input, target: &Target<'_>) -> Result<Difference, Refusal> {
    let t = ask.texts();
    // Before the difference is shown: its confirmation repeats the reason.
    ask.epr().check_reason(target.call)?;
    // Before records are compared, which costs statements for each.
    let records = input.records().map_err(|why| Refusal::invalid(vec![why]))?;
    if records.take(BATCH_STEPS + 1).count() > BATCH_STEPS {
        return Err(Refusal::invalid(vec![format!("{} {BATCH_STEPS}", t.import_too_many)]));
    }
    let (mut lines, mut plans, mut hash) = (Vec::new(), Vec::new(), Sha256::new());
    given.text("text").lines().for_each(|line| hash.update(format!("{line}\n")));
    let mut seen = |number: u64, planned: &Planned| {
        let Planned { change, step, expects, summary, values, json, .. } = planned;
        // `step` and `expects` have the ids of what would change, and when it was changed last.
        hash.update(format!("{number} {change:?} {json} {summary:?} {values:?} {step:?} {expects:?}\n"));
        plans.push(Confirmed::of(number, planned));
        lines.push(Line { number, cells: planned_cells(t, number, planned) });
    };
    let checked = check(target, input, given.get("activate").is_some(), &mut seen).await;
    let checked = checked.map_err(|failure| match failure {
        Failure::File(why) => Refusal::invalid(vec![why]),
        Failure::Registry(error) => error.into(),
    })?;
    lines.extend(checked.errors.iter().map(|error| Line {
        number: error.line,
        cells: vec![
            Cell::plain(error.line.to_string()),
            Cell::new(Look::Bad, t.import_refused),
            Cell::empty(),
            Cell::name(&error.what),
        ],
    }));
    lines.sort_by_key(|line| line.number);
    Ok(Difference { checked, lines, plans, hash: hex(&hash.finalize()) })
}

fn planned_cells(t: &Texts, number: u64, planned: &Planned) -> Vec<Cell> {
    let change = match planned.change {
        Change::Create => Cell::new(Look::Good, t.import_new),
        Change::Update => Cell::new(Look::Warning, t.import_changed),
        Change::Nothing => Cell::new(Look::Muted, t.import_unchanged),
    };
    let (headline, details) = &planned.summary;
    let details = if planned.values.is_empty() { details } else { &planned.values };
    let shown = if planned.change == Change::Nothing { &[][..] } else { details };
    let details = shown.iter().enumerate().fold(Cell::empty(), |cell, (at, line)| {
        let cell = if at > 0 { cell.and(Look::Muted, "·") } else { cell };
        cell.and(Look::Name, line)
    });
    vec![Cell::plain(number.to_string()), change, Cell::name(headline), details]
}

/// The page with the difference, and with the form that confirms it unless something is refused.
fn difference_page(ask: &Ask, given: &Query, found: Difference, has_changed: bool) -> Response {
    let t = ask.texts();
    let Difference { checked, lines, hash, .. } = found;
    let changes = checked.tallies.changes();
    let is_refused = !checked.errors.is_empty();
    let mut blocks = Vec::new();
    if has_changed {
        blocks.push(Block::from(Notice::new(Look::Warning, [t.import_differs.to_owned()])));
    }
    blocks.push(match (is_refused, changes) {
        (true, _) => Notice::new(Look::Bad, [t.import_flaws.to_owned()]).into(),
        (false, 0) => Notice::new(Look::Plain, [t.import_nothing.to_owned()]).into(),
        (false, _) => Notice::new(Look::Plain, [t.import_dry.to_owned()]).into(),
    });
    let created = [checked.tallies.principals, checked.tallies.roles, checked.tallies.assignments];
    let sum = |of: fn(&epr_transfer::tally::Tally) -> u64| Cell::plain(created.iter().map(of).sum::<u64>().to_string());
    blocks.push(
        Facts::new(vec![
            (t.import_new, sum(|tally| tally.created)),
            (t.import_changed, sum(|tally| tally.changed)),
            (t.import_unchanged, sum(|tally| tally.unchanged)),
            (t.import_refused, Cell::plain(checked.errors.len().to_string())),
        ])
        .into(),
    );
    let head = vec![t.line, t.difference, t.record, t.details];
    let table = Table::new(t.difference, head, t.none).with_rows(lines.into_iter().map(|line| line.cells));
    // No CSV: the page is the answer to a form and has no address.
    blocks.push(Block::of(&table));
    if !is_refused && changes > 0 {
        let form = Form::change("confirm", PATH, t.import_apply, &ask.visitor.form_token).hidden("plan", hash);
        let form = REPEATED.into_iter().fold(form, |form, name| form.hidden(name, given.text(name)));
        blocks.push(form.into());
    }
    let status = match (is_refused, has_changed) {
        (true, _) => StatusCode::BAD_REQUEST,
        (false, true) => StatusCode::CONFLICT,
        (false, false) => StatusCode::OK,
    };
    let page = Shown::new(t.import, TAB).with_status(status).section("", blocks);
    page.section(t.import, vec![import_form(ask, given).into()]).html(&ask.visitor)
}

async fn apply(ask: &Ask, given: &Query, call: &Call, target: &Target<'_>, plans: Vec<Confirmed>) -> Answer {
    let stop = AtomicBool::new(false);
    let mut run = Run::new(target, given.get("activate").is_some(), &|_| {}, &stop);
    let outcome = run.apply_confirmed(plans).await;
    let Err(Stopped { line, why, in_doubt }) = outcome else { return Ok(made(call, TAB)) };
    let t = ask.texts();
    let line = line.map(|line| format!("{} {line}: ", t.line)).unwrap_or_default();
    let mut sentences = vec![format!("{line}{why}"), format!("{}: {}", t.import_done_before, run.done.changes())];
    sentences.extend(in_doubt.map(|(first, last)| format!("{} {first}–{last}", t.import_in_doubt)));
    let mut blocks = vec![Block::from(Notice::new(Look::Bad, sentences))];
    if let Some(id) = call.correlation_id.as_ref().filter(|_| ask.visitor.may(Scope::Audit)) {
        blocks.push(
            Links::new(vec![(t.all_entries, link("/console/ledger", &[("correlation_id", id.as_str())]))]).into(),
        );
    }
    blocks.push(import_form(ask, given).into());
    Ok(Shown::new(t.import, TAB).with_status(StatusCode::CONFLICT).section("", blocks).html(&ask.visitor))
}
