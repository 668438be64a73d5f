//! For how long a decision stays the same while its facts do: from one start or end of an assignment to the next.

use super::Facts;
use crate::domain::Timestamp;

/// A stretch of time: from the first moment on, to just before the second. Open where there is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first moment.
    pub from: Option<Timestamp>,
    /// The first moment that is no longer part of it.
    pub until: Option<Timestamp>,
}

impl Span {
    /// Whether `now` lies in it.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

impl Facts {
    /// The stretch around `now` in which no assignment among these starts or ends.
    #[must_use]
    pub fn span(&self, now: Timestamp) -> Span {
        let moments = self.grants.iter().flat_map(|grant| [Some(grant.effective_at), grant.expires_at]).flatten();
        let (mut from, mut until) = (None, None);
        for moment in moments {
            if moment <= now {
                from = from.max(Some(moment));
            } else {
                until = Some(until.map_or(moment, |until: Timestamp| until.min(moment)));
            }
        }
        Span { from, until }
    }
}
