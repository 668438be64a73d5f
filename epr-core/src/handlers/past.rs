//! The registry as it was: rows and lists of a past state.
//!
//! Must never answer before the answer is recorded.

use tracing::info;

use super::record::{self, Subject, literal};
use super::review::append;
use super::{assignments, entities, principals, roles};
use crate::call::Call;
use crate::domain::json::object;
use crate::domain::{Json, JsonObject, Moment, PastMoment};
use crate::engine::{Engines, revisions};
use crate::error::{Error, Result};
use crate::history::{RegistryRow, RowKey};
use crate::store::{Page, RegistryList, RowVisitor};

/// The row with this key in the state that `moment` names.
///
/// # Errors
/// `NotFound` when there was none; `Refused`, `Conflict` and `Unavailable` when the moment cannot be asked.
pub(crate) async fn row(engines: &Engines, call: &Call, key: RowKey, moment: Moment) -> Result<RegistryRow> {
    revisions::reach(engines, call).await?;
    let (past, row) = engines.store().past_row(&key, moment, engines.now()).await?;
    let (kind, id) = match &key {
        RowKey::Entity(id) => ("entity", *id),
        RowKey::Role(id) => ("role", *id),
        RowKey::Assignment(id) => ("role_assignment", *id),
        RowKey::Principal(_, id) => ("principal", *id),
    };
    let row = row.ok_or_else(|| not_found(&key))?;
    let subject = Subject { id: Some(id), kind: Some(literal(kind)) };
    record(engines, call, kind, past, (subject, object([("id", id.into())]))).await?;
    Ok(row)
}

/// Passes at most `page.limit` rows of `list` in the state that `moment` names to `visit`, newest first, until it
/// returns `false`.
///
/// # Errors
/// Those of [`row`]. After an error nothing that was passed may be answered.
pub(crate) async fn list(
    engines: &Engines,
    call: &Call,
    list: RegistryList<'_>,
    moment: Moment,
    page: Page,
    visit: RowVisitor<'_, RegistryRow>,
) -> Result<PastMoment> {
    revisions::reach(engines, call).await?;
    let mut count = 0;
    let past = engines
        .store()
        .past_list(call.read_need(None), list, (moment, engines.now()), page, &mut |row| {
            let is_taken = visit(row);
            count += i64::from(is_taken);
            is_taken
        })
        .await?;
    let kind = match list {
        RegistryList::Entities(_) => "entities",
        RegistryList::Roles => "roles",
        RegistryList::Assignments(_) => "role_assignments",
        RegistryList::Principals(_) => "principals",
    };
    let details = object([("count", Json::Int(count))]);
    record(engines, call, kind, past, (Subject { id: None, kind: None }, details)).await?;
    Ok(past)
}

fn not_found(key: &RowKey) -> Error {
    match key {
        RowKey::Entity(id) => entities::not_found(*id),
        RowKey::Role(id) => roles::not_found(*id),
        RowKey::Assignment(id) => assignments::not_found(*id),
        RowKey::Principal(_, id) => principals::not_found(*id),
    }
}

/// Records what was read of which state. Personal fields and filters are not in the entry.
async fn record(
    engines: &Engines,
    call: &Call,
    kind: &'static str,
    past: PastMoment,
    (subject, mut details): (Subject, JsonObject),
) -> Result<()> {
    details.insert("kind".to_owned(), kind.into());
    details.insert("revision".to_owned(), past.revision.to_string().into());
    details.insert("at".to_owned(), past.at.to_string().into());
    append(engines, record::draft(call, engines.now(), record::REVIEW, subject, details)?).await?;
    call.set_answered_at(past.revision);
    info!(kind, revision = %past.revision, at = %past.at, "registry_reviewed");
    Ok(())
}
