//! Revisions of answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use epr_core::domain::Revision;
use reqwest::header::{HeaderMap, HeaderName};

pub(crate) const EPR_REVISION: HeaderName = HeaderName::from_static("epr-revision");

/// The revision of an answer.
pub(crate) fn revision_in(headers: &HeaderMap) -> Option<Revision> {
    headers.get(EPR_REVISION)?.to_str().ok()?.parse().ok()
}

/// The newest revision among the answers of clients that note it here (`EPR-Revision`). Clones share it.
///
/// ```no_run
/// # async fn f(client: epr_client::Client, assignment: uuid::Uuid, question: epr_client::Question)
/// # -> Result<(), epr_client::Error> {
/// use epr_client::NewestRevision;
///
/// let newest = NewestRevision::default();
/// client.noting_revisions(&newest).revoke(assignment).await?;
/// // Whichever process answers, and in whichever program: not from before the revocation.
/// if let Some(revision) = newest.get() {
///     assert!(!client.with_at_least(revision).authorize(&question).await?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct NewestRevision(Arc<Mutex<Option<Revision>>>);

impl NewestRevision {
    fn lock(&self) -> MutexGuard<'_, Option<Revision>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest revision; `None` before the first answer that has one.
    #[must_use]
    pub fn get(&self) -> Option<Revision> {
        *self.lock()
    }

    /// Notes the revision of an answer, if it has one. That of another incarnation replaces what was noted before.
    pub(crate) fn note(&self, headers: &HeaderMap) {
        let Some(revision) = revision_in(headers) else { return };
        let mut newest = self.lock();
        if newest.is_none_or(|known| known.incarnation != revision.incarnation || known < revision) {
            *newest = Some(revision);
        }
    }
}
