//! How long a decision stays the same while its facts do: from one start or end of a window to the next.
//!
//! Owns the span of a decision. Must never decide.

use super::Facts;
use crate::domain::Timestamp;

/// A half-open span of time: it includes `from` and excludes `until`. A side that is `None` is unbounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The start, included.
    pub from: Option<Timestamp>,
    /// The end, excluded.
    pub until: Option<Timestamp>,
}

impl Span {
    /// Whether the span includes `now`.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

impl Facts {
    /// The span around `now` in which no window of these assignments starts or ends.
    #[must_use]
    pub fn span(&self, now: Timestamp) -> Span {
        let moments = self
            .assignments
            .iter()
            .flat_map(|assignment| [Some(assignment.effective_at), assignment.expires_at])
            .flatten();
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
