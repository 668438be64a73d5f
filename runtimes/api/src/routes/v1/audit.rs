//! `/api/v1/audit/entries`: the ledger, read only.

use std::sync::Arc;

use axum::extract::State;
use epr_core::authn::Scope;
use epr_core::domain::fields::{self, Choice, Fields};
use epr_core::domain::{AuditEntry, AuditFilter, AuditPage};
use epr_core::store::{decode_sequence, encode_sequence};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::access::Rule;
use crate::http::extract::{Listing, Query, filter_text};
use crate::http::listing::{self, PageWriter};
use crate::openapi::responses::InvalidRequest;
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 1] {
    [route!(entries, Rule::Requires(Scope::Audit))]
}

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
    /// The order by sequence: `desc` (newest first) or `asc`.
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

/// List ledger entries
///
/// By sequence, newest first unless `order=asc`. An entry must match every given filter. A page also ends at 2 MiB.
#[utoipa::path(
    get, path = "/api/v1/audit/entries", operation_id = "listAuditEntries", tag = "audit",
    params(AuditFilter, Ordering, Listing),
    responses((status = 200, description = "Ledger entries by sequence.", body = [AuditEntry]), InvalidRequest)
)]
async fn entries(State(app): State<Arc<App>>, query: Query) -> HandlerResult {
    let mut fields = Fields::new("query", &query.members);
    let filter = AuditFilter {
        action: fields.given("action", filter_text),
        actor_id: fields.given("actor_id", fields::uuid),
        entity_id: fields.given("entity_id", fields::uuid),
        entity_type: fields.given("entity_type", filter_text),
        source: fields.given("source", filter_text),
        correlation_id: fields.given("correlation_id", filter_text),
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
    let mut writer = PageWriter::new(page.limit);
    let rows = AuditPage { limit: page.limit + 1, ..page };
    app.epr.show_audit_entries(&filter, rows, &mut |row| writer.add(&row, |row| row.sequence)).await?;
    Ok(writer.into_response(reservation, &query, encode_sequence))
}
