//! `/api/v1/audit/entries`: the ledger, read only.

use std::sync::Arc;

use axum::extract::State;
use epr_core::domain::fields::{self, Choice, Fields};
use epr_core::domain::{AuditFilter, AuditPage};
use epr_core::store::{decode_place, encode_place};

use super::{Answer, paged};
use crate::App;
use crate::input::{DEFAULT_LIMIT, MAX_LIMIT, Query, word};

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Ascending,
    Descending,
}

impl Choice for Order {
    const ALL: &'static [Self] = &[Self::Ascending, Self::Descending];

    fn word(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }
}

pub(crate) async fn entries(State(app): State<Arc<App>>, query: Query) -> Answer {
    let mut fields = Fields::new("query", &query.members);
    let filter = AuditFilter {
        action: fields.given("action", word),
        actor_id: fields.given("actor_id", fields::uuid),
        entity_id: fields.given("entity_id", fields::uuid),
        entity_type: fields.given("entity_type", word),
        source: fields.given("source", word),
        correlation_id: fields.given("correlation_id", word),
        event_id: fields.given("event_id", fields::uuid),
        occurred_from: fields.given("occurred_from", fields::timestamp),
        occurred_to: fields.given("occurred_to", fields::timestamp),
        from_sequence: fields.given("from_sequence", fields::whole_number(1, i64::MAX)),
        to_sequence: fields.given("to_sequence", fields::whole_number(1, i64::MAX)),
    };
    let page = AuditPage {
        limit: Query::limit(&mut fields, DEFAULT_LIMIT, MAX_LIMIT),
        after: Query::cursor(&mut fields, decode_place),
        ascending: fields.given("order", fields::choice) == Some(Order::Ascending),
    };
    let (filter, page) = fields.finish(Some((filter, page)))?;
    let rows = app.epr.audit_entries(&filter, &AuditPage { limit: page.limit + 1, ..page }).await?;
    Ok(paged(rows, page.limit, &query, |row| encode_place(row.sequence)))
}
