//! Events and their delivery, and messages that did not become ledger entries.

use epr_core::authn::Scope;
use epr_core::domain::audit::KeptRejection;
use epr_core::domain::fields::Choice as _;
use epr_core::domain::{DeliveryState, Event, EventFilter};
use epr_core::store::{Cursor, Page as Rows};

use super::change::{self, REQUEUED, requeue_path};
use super::entities::{cursor, next_link};
use super::rows::MANY;
use crate::Page;
use crate::blocks::{Block, Cell, Facts, Field, Form, Input, Look, Notice, Table};
use crate::page::{Answer, Page as Shown};
use crate::texts::Texts;
use crate::visitor::Ask;

pub(crate) const TAB: &str = "/console/events";

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get(TAB, show)]
}

async fn show(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Events)?;
    let t = ask.texts();
    let mut fields = ask.query.fields();
    let filter = EventFilter::read(&mut fields);
    let filter = fields.finish(Some(filter))?;
    let backlog = ask.epr().event_backlog().await?;
    let page = Rows { limit: u32::try_from(MANY).unwrap_or(u32::MAX), after: cursor(&ask)? };
    let rows = ask.epr().events_list(&filter, &page).await?;
    let last = rows.last().filter(|_| rows.len() == MANY);
    let next = last.map(|one| next_link(&ask, Cursor { created_at: one.occurred_at, id: one.id }));
    let facts = Facts::new(vec![
        (t.events_pending, Cell::plain(backlog.pending.to_string())),
        (t.events_failed, Cell::plain(backlog.failed.to_string())),
        (t.oldest_pending, Cell::time_or(backlog.oldest_pending, t.none)),
    ]);
    let mut blocks = Vec::new();
    if let Some(number) = ask.query.get(REQUEUED).and_then(|number| number.parse::<u64>().ok()) {
        blocks.push(Block::from(Notice::new(Look::Good, [format!("{}: {number}", t.requeued)])));
    }
    blocks.push(facts.into());
    if backlog.failed > 0 {
        blocks.extend(change::links(&ask, vec![(t.requeue_all, requeue_path(None))]));
    }
    blocks.push(search(&ask));
    blocks.push(event_table(&ask, &rows).with_next(next, t.next_page).into());
    let mut shown = Shown::new(t.events, TAB).section("", blocks);
    if ask.visitor.may(Scope::Audit) {
        let before = ask.query.get("before").and_then(|before| before.parse().ok());
        let limit = u32::try_from(MANY).unwrap_or(u32::MAX);
        let rejected = ask.epr().rejections(limit, before).await?;
        let last = rejected.last().filter(|_| rejected.len() == MANY);
        let next = last.map(|one| format!("?{}", ask.query.with("before", Some(&one.id.to_string()))));
        shown = shown.section(t.rejections, vec![rejection_table(t, &rejected).with_next(next, t.next_page).into()]);
    }
    Ok(shown.respond(&ask))
}

fn search(ask: &Ask) -> Block {
    let t = ask.texts();
    let states = DeliveryState::ALL.iter().map(|state| (state.word().to_owned(), state.word().to_owned()));
    let states = std::iter::once((String::new(), t.any.to_owned())).chain(states).collect();
    let query = &ask.query;
    Form::ask("search", TAB, t.search)
        .field(Field::of("delivery_state", t.state, query.text("delivery_state"), Input::Choice(states)))
        .field(Field::line("event_type", t.kind, query.text("event_type")))
        .field(Field::line("source", t.source, query.text("source")))
        .into()
}

fn event_table(ask: &Ask, rows: &[Event]) -> Table {
    let t = ask.texts();
    let head = vec![t.time, t.kind, t.source, t.state, t.attempts, t.error, t.id];
    let cells = rows.iter().map(|one| {
        let look = match one.delivery_state {
            DeliveryState::Succeeded => Look::Good,
            DeliveryState::Pending => Look::Warning,
            DeliveryState::Failed => Look::Bad,
        };
        let error = Cell::name(one.last_error.as_deref().unwrap_or_default());
        let is_failed = one.delivery_state == DeliveryState::Failed;
        let error = if is_failed && ask.visitor.may(Scope::Write) {
            error.and_link(Look::Plain, t.requeue, requeue_path(Some(one.event_id)))
        } else {
            error
        };
        vec![
            Cell::time(one.occurred_at),
            Cell::name(&one.event_type),
            Cell::name(&one.source),
            Cell::new(look, one.delivery_state.word()),
            Cell::plain(one.delivery_attempts.to_string()),
            error,
            Cell::code(one.event_id.to_string()),
        ]
    });
    Table::new(t.events, head, t.none).with_rows(cells)
}

fn rejection_table(t: &'static Texts, rows: &[KeptRejection]) -> Table {
    let head = vec![t.last_seen, t.kind, t.reason, t.times_seen, t.message];
    let cells = rows.iter().map(|one| {
        vec![
            Cell::time(one.last_seen_at),
            Cell::new(Look::Warning, one.rejection.kind.word()),
            Cell::name(&one.rejection.reason),
            Cell::plain(one.times_seen.to_string()),
            Cell::code(&one.rejection.message_id),
        ]
    });
    Table::new(t.rejections, head, t.none).with_rows(cells)
}
