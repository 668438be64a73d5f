//! The walk of this process's relay over the pending events.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::OutboxCursor;

/// The position of the walk, and what it has found since its start.
pub(super) struct Walk {
    pub(super) next: OutboxCursor,
    /// Whether no event has been claimed since the start of the walk.
    nothing_claimed: bool,
    started: Instant,
}

impl Default for Walk {
    fn default() -> Self {
        Self { next: OutboxCursor::default(), nothing_claimed: true, started: Instant::now() }
    }
}

impl Walk {
    /// Moves on to `next` after a step that claimed something or not, and starts over when the walk has `ended`.
    pub(super) fn advance(&mut self, claimed: bool, next: OutboxCursor, ended: bool) -> WalkStep {
        self.next = next;
        self.nothing_claimed &= !claimed;
        if !ended {
            return WalkStep::More;
        }
        let walk = std::mem::take(self);
        if walk.nothing_claimed { WalkStep::NothingDue { walked_for: walk.started.elapsed() } } else { WalkStep::More }
    }
}

/// The result of one step of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WalkStep {
    /// It claimed events, or the walk has not ended.
    More,
    /// Nothing was due in a whole walk, which took this long.
    NothingDue { walked_for: Duration },
}
