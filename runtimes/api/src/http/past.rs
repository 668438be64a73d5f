//! Reads of the registry as it was: the query parameters `at` and `revision`, and pages of past states.

use axum::response::Response;
use epr_core::domain::fields::Fields;
use epr_core::domain::{Invalid, Moment};
use epr_core::history::{RegistryRow, RowKey};
use epr_core::store::{Cursor, Page, RegistryList};
use epr_core::{Call, Error};
use serde::Serialize;

use super::error::ApiError;
use super::extract::Query;
use super::listing::{PageWriter, reserve_page};
use super::respond::{at_revision, ok};
use crate::App;

/// The rows of a page without `limit`. A list of a past state is never streamed as a whole.
const DEFAULT_ROWS: u32 = 500;

/// The query parameters `at` and `revision`, for the description of a route.
pub(crate) struct MomentParameters;

/// Reads the moment that a query is about.
pub(crate) fn moment_of(query: &Query) -> Result<Moment, Invalid> {
    let mut fields = Fields::new("query", &query.members);
    let moment = Moment::read(&mut fields);
    fields.finish(Some(moment))
}

/// The response with one row: as it was at the moment, or as `present` reads it.
pub(crate) async fn row<T: Serialize>(
    app: &App,
    call: &Call,
    (key, moment): (RowKey, Moment),
    present: impl Future<Output = Result<T, Error>>,
) -> Result<Response, ApiError> {
    if moment.is_now() {
        app.epr.await_revision(call.at_least).await?;
        return Ok(ok(&present.await?));
    }
    let response = match app.epr.row_at(call, key, moment).await? {
        RegistryRow::Entity(entity) => ok(&entity),
        RegistryRow::Role(role) => ok(&role),
        RegistryRow::Assignment(assignment) => ok(&assignment),
        RegistryRow::Principal(principal) => ok(&principal),
    };
    Ok(at_revision(response, call))
}

/// The response with a page of a past list.
pub(crate) async fn page(
    app: &App,
    query: &Query,
    call: &Call,
    (list, moment): (RegistryList<'_>, Moment),
    page: Option<Page>,
) -> Result<Response, ApiError> {
    let page = page.unwrap_or(Page { limit: DEFAULT_ROWS, after: None });
    let reservation = reserve_page(app).await?;
    let mut writer = PageWriter::new(page.limit);
    // One row more tells whether there is a next page.
    let rows = Page { limit: page.limit + 1, ..page };
    app.epr.show_rows_at(call, list, moment, rows, &mut |row| writer.add_row(&row)).await?;
    Ok(at_revision(writer.into_response(reservation, query, Cursor::encode), call))
}
