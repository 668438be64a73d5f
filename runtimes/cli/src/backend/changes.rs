//! The change feed, on the database or over the API.

use std::time::Duration;

use epr_core::Epr;
use epr_core::domain::{Change, Revision};

use super::api::Api;
use super::{Backend, BackendError, PAGE_ROWS, RowVisitor};

/// A reader of the change feed.
pub(crate) enum ChangeReader<'a> {
    /// On the database.
    Database {
        /// The library on it.
        epr: &'a Epr,
        /// The revision to go on after.
        after: Option<Revision>,
    },
    /// Over the API.
    Api {
        /// The API.
        api: &'a Api,
        /// The revision to go on after.
        after: Option<Revision>,
    },
}

impl Backend {
    /// A reader of the changes after a revision; of all without one.
    pub(crate) fn changes(&self, after: Option<Revision>) -> ChangeReader<'_> {
        match self {
            Self::Database { epr, .. } => ChangeReader::Database { epr, after },
            Self::Api(api) => ChangeReader::Api { api, after },
        }
    }
}

impl ChangeReader<'_> {
    /// Passes the next changes to `visit`, and waits for one up to `wait` if there is none. Returns whether there was
    /// none after the last one.
    pub(crate) async fn next_page(
        &mut self,
        wait: Duration,
        visit: RowVisitor<'_, Change>,
    ) -> Result<bool, BackendError> {
        match self {
            Self::Database { epr, after } => {
                let mut is_last = read(epr, after, visit).await?;
                if let (true, false, Some(seen)) = (is_last, wait.is_zero(), *after) {
                    let _ = tokio::time::timeout(wait, epr.changed_since(seen)).await;
                    is_last = read(epr, after, visit).await?;
                }
                Ok(is_last)
            }
            Self::Api { api, after } => {
                let (page, next) = api.changes(*after, wait).await?;
                let is_last = page.is_empty();
                *after = next;
                for change in page {
                    if !visit(change) {
                        break;
                    }
                }
                Ok(is_last)
            }
        }
    }
}

async fn read(epr: &Epr, after: &mut Option<Revision>, visit: RowVisitor<'_, Change>) -> Result<bool, BackendError> {
    let mut rows = 0;
    let begin = *after;
    // Noted with each row: a read that fails in the middle is continued there.
    let mut note = |change: Change| {
        rows += 1;
        *after = Some(change.revision);
        visit(change)
    };
    let registry = epr.changes(begin, PAGE_ROWS, &mut note).await?;
    if rows == 0 {
        *after = Some(begin.filter(|begin| *begin > registry).unwrap_or(registry));
    }
    Ok(rows == 0)
}
