//! `/api/v1/audit/entries`: the ledger, read only.

use std::sync::Arc;

use axum::extract::State;
use epr_core::authn::Scope;
use epr_core::domain::fields::{self, Choice, Fields};
use epr_core::domain::{AuditEntry, AuditFilter, AuditPage, Invalid, Revision};
use epr_core::store::{decode_sequence, encode_sequence, with_position};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::access::Rule;
use crate::http::extract::{Listing, Query, QuestionHeaders};
use crate::http::listing::{self, PageWriter};
use crate::openapi::responses::{InvalidRequest, OtherIncarnation};
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

/// List ledger entries
///
/// By sequence, newest first unless `order=asc`. An entry must match every given filter. A page also ends at 2 MiB.
#[utoipa::path(
    get, path = "/api/v1/audit/entries", operation_id = "listAuditEntries", tag = "audit",
    params(AuditFilter, Ordering, Listing, ("EPR-At-Least" = Option<Revision>, Header,
        description = "A revision: the answer rests on that state of the registry or on a later one.")),
    responses(
        (status = 200, description = "Ledger entries by sequence.", body = [AuditEntry]),
        InvalidRequest, OtherIncarnation
    )
)]
async fn entries(State(app): State<Arc<App>>, query: Query, QuestionHeaders(call): QuestionHeaders) -> HandlerResult {
    let mut fields = Fields::new("query", &query.members);
    let filter = AuditFilter::read(&mut fields);
    fields.only(&[AuditFilter::PARAMETERS, Listing::PARAMETERS, &["order"]].concat());
    let page = AuditPage {
        limit: Listing::limit(&mut fields),
        after: Listing::cursor(&mut fields, decode_sequence),
        ascending: fields.given("order", fields::choice) == Some(Order::Ascending),
    };
    let ((filter, page), call) = Invalid::both(fields.finish(Some((filter, page))), call)?;
    app.epr.await_revision(call.at_least).await?;
    let reservation = listing::reserve_page(&app).await?;
    let mut writer = PageWriter::new(page.limit);
    let rows = AuditPage { limit: page.limit + 1, ..page };
    let mut add = |row: AuditEntry| writer.add(&row, |row| row.sequence);
    let position = app.epr.list_audit_entries(listing::need_of(&query, &call), &filter, rows, &mut add).await?;
    Ok(writer.into_response(reservation, &query, |sequence| with_position(encode_sequence(sequence), position)))
}
