//! `/api/v1/audit/entries`: the ledger, read only.

use std::sync::Arc;

use axum::extract::State;
use epr_core::domain::fields::{self, Choice, Fields};
use epr_core::domain::{AuditEntry, AuditFilter, AuditPage};
use epr_core::store::{decode_sequence, encode_sequence};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::http::extract::{Listing, Query, word};
use crate::http::listing::{self, PageWriter};
use crate::openapi::responses::InvalidRequest;
use crate::routes::Answer;

/// Newest first, unless asked otherwise.
#[derive(Clone, Copy, PartialEq, ToSchema)]
pub(crate) enum Order {
    #[schema(rename = "asc")]
    Ascending,
    #[schema(rename = "desc")]
    Descending,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described")]
struct Ordering {
    /// By sequence.
    #[param(inline, nullable = false, default = "desc")]
    order: Option<Order>,
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

/// Every query parameter.
const PARAMETERS: &[&str] = &[
    "action",
    "actor_id",
    "entity_id",
    "entity_type",
    "source",
    "correlation_id",
    "event_id",
    "occurred_from",
    "occurred_to",
    "from_sequence",
    "to_sequence",
    "limit",
    "cursor",
    "order",
];

/// Read the ledger
///
/// By sequence, newest first unless `order=asc`. Every condition that is given must hold. A page also ends at 2 MiB.
#[utoipa::path(
    get, path = "/api/v1/audit/entries", operation_id = "listAuditEntries", tag = "audit",
    params(AuditFilter, Ordering, Listing),
    responses((status = 200, description = "Entries", body = [AuditEntry], headers(("Link" = String, description = "`<…>; rel=\"next\"`, when more rows exist"))), InvalidRequest)
)]
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
    fields.only(PARAMETERS);
    let page = AuditPage {
        limit: Listing::limit(&mut fields),
        after: Listing::cursor(&mut fields, decode_sequence),
        ascending: fields.given("order", fields::choice) == Some(Order::Ascending),
    };
    let (filter, page) = fields.finish(Some((filter, page)))?;
    let reservation = listing::reserve_page(&app).await?;
    let mut text = PageWriter::page(page.limit);
    let rows = AuditPage { limit: page.limit + 1, ..page };
    app.epr.show_audit_entries(&filter, rows, &mut |row| text.add(&row, |row| row.sequence)).await?;
    Ok(text.answer(reservation, &query, encode_sequence))
}
