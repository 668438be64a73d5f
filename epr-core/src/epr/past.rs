//! The registry as it was. Each method delegates to its handler.

use super::Epr;
use crate::call::Call;
use crate::domain::{Moment, PastMoment};
use crate::error::Result;
use crate::handlers::past;
use crate::history::{RegistryRow, RowKey};
use crate::store::{Page, RegistryList, RowVisitor};

/// Past states of the registry. Each read is recorded, as `authorization.review`.
impl Epr {
    /// The row with this key in the state that `moment` names.
    ///
    /// # Errors
    /// `NotFound` when there was none; `Refused` when history does not have the moment, `Conflict` when the revision is
    /// of another incarnation, `HistoryIncomplete`.
    pub async fn row_at(&self, call: &Call, key: RowKey, moment: Moment) -> Result<RegistryRow> {
        past::row(&self.engines, call, key, moment).await
    }

    /// Passes at most `page.limit` rows of `list` in the state that `moment` names to `visit`, newest first, until it
    /// returns `false`. Returns the state.
    ///
    /// # Errors
    /// Those of [`Epr::row_at`]. After an error nothing that was passed may be answered.
    pub async fn show_rows_at(
        &self,
        call: &Call,
        list: RegistryList<'_>,
        moment: Moment,
        page: Page,
        visit: RowVisitor<'_, RegistryRow>,
    ) -> Result<PastMoment> {
        past::list(&self.engines, call, list, moment, page, visit).await
    }
}
