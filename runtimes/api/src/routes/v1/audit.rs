//! `/api/v1/audit/entries`: the ledger, read only.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderName;
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

/// The border up to which entries were dropped, on a list with filters that may lack some of them.
const ENTRIES_DROPPED_TO: HeaderName = HeaderName::from_static("epr-entries-dropped-to");

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
/// By sequence, newest first unless `order=asc`. An entry must match every given filter. A page also ends at 2 MiB. A
/// list without filters, or by sequence alone, also has entries that were dropped from the database: they are read from
/// the archive, and the response is 503 if this service cannot read it. A list with any other filter has the entries of
/// the database.
#[utoipa::path(
    get, path = "/api/v1/audit/entries", operation_id = "listAuditEntries", tag = "audit",
    params(AuditFilter, Ordering, Listing, ("EPR-At-Least" = Option<Revision>, Header,
        description = "A revision: the answer rests on that state of the registry or on a later one.")),
    responses(
        (status = 200, description = "Ledger entries by sequence.", body = [AuditEntry], headers(
            ("EPR-Entries-Dropped-To" = Option<i64>, description = "The list may lack entries up to this sequence, \
                because they were dropped from the database and a filter does not search the archive.")
        )),
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
    let listed = app.epr.list_audit_entries(listing::need_of(&query, &call), &filter, rows, &mut add).await?;
    let position = listed.position;
    let mut response =
        writer.into_response(reservation, &query, |sequence| with_position(encode_sequence(sequence), position));
    if let Some(border) = listed.incomplete_to {
        response.headers_mut().insert(ENTRIES_DROPPED_TO, border.into());
    }
    Ok(response)
}
