//! Entries that were dropped from the database: whether this process can read them.

use super::cause::cause;
use super::{Finding, State};
use crate::{Epr, Error};

const ARCHIVE: &str = "archive";

/// Whether the archive reaches the border; `None` if no entry was ever dropped.
pub(super) async fn archive(epr: &Epr) -> Option<Finding> {
    Some(match epr.reach_archive().await {
        Ok(None) => return None,
        Ok(Some(border)) => {
            let seen = format!("entries up to {border} were dropped from the database, and the archive reaches them");
            Finding::new(ARCHIVE, State::Fine, seen)
        }
        Err(Error::Archived(why)) => Finding::new(ARCHIVE, State::Doubtful, why).advise(
            "until then, lists by sequence, exports and proofs of these entries respond 503: make the archive readable \
             at EPR_LEDGER_ARCHIVE_URL, see docs/ARCHIVE.md",
        ),
        Err(error) => Finding::new(ARCHIVE, State::Wrong, cause(&error)),
    })
}
