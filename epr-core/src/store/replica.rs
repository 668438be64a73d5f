//! When a replica may answer a read.
//!
//! Owns the rules and the words for their outcome; `sql/store/replica.rs` reads what they compare. The ledger is a
//! chain of hashes: a replica whose head is an entry of the primary's ledger has a state that the primary had,
//! whichever server it follows. Must never wait or read, and must never admit a state that the primary may not have.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::domain::{Incarnation, Revision};
use crate::ledger::chain::Head;

/// Why the primary answered a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrimaryReason {
    /// The replica lacks the state that the call needs.
    Behind,
    /// The replica lags more than the settings allow.
    Lag,
    /// No state is known that the call needs: it continues a page without one, or names two incarnations.
    Cursor,
    /// The replica has an entry that the primary does not have, or not yet.
    Ahead,
    /// The ledger of the replica is not a beginning of the primary's.
    Diverged,
    /// The replica has another incarnation of the ledger.
    OtherDatabase,
    /// The server is a primary.
    NotAStandby,
    /// The schema of the replica is older than this program.
    Schema,
    /// All connections to the replica are in use.
    Busy,
    /// The replica cannot be reached, or does not answer in time.
    Unavailable,
    /// The replica ended the statement because replay had to go on.
    Cancelled,
    /// The replica took longer than a page may take.
    Slow,
    /// The replica failed in another way.
    Failed,
    /// The primary could not confirm the state of the replica.
    Unconfirmed,
}

impl PrimaryReason {
    /// Every reason.
    pub const ALL: [Self; 14] = [
        Self::Behind,
        Self::Lag,
        Self::Cursor,
        Self::Ahead,
        Self::Diverged,
        Self::OtherDatabase,
        Self::NotAStandby,
        Self::Schema,
        Self::Busy,
        Self::Unavailable,
        Self::Cancelled,
        Self::Slow,
        Self::Failed,
        Self::Unconfirmed,
    ];

    /// The word for metrics and `/readyz`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Lag => "lag",
            Self::Cursor => "cursor",
            Self::Ahead => "ahead",
            Self::Diverged => "diverged",
            Self::OtherDatabase => "other_database",
            Self::NotAStandby => "not_a_standby",
            Self::Schema => "schema",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
            Self::Slow => "slow",
            Self::Failed => "failed",
            Self::Unconfirmed => "unconfirmed",
        }
    }

    /// Whether the next call would most likely meet the same: the replica is left alone for a while.
    pub(super) fn rests(self) -> bool {
        matches!(
            self,
            Self::Lag
                | Self::Ahead
                | Self::Diverged
                | Self::OtherDatabase
                | Self::NotAStandby
                | Self::Schema
                | Self::Unavailable
                | Self::Slow
                | Self::Failed
                | Self::Unconfirmed
        )
    }
}

/// The state that a read needs if a replica answers it. The primary has every state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NeededState {
    /// The revision that the caller names.
    pub revision: Option<Revision>,
    /// The sequence of the head of the ledger when an earlier page of the same list was read; 0 for a first page.
    pub position: i64,
}

/// Who may answer a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadNeed {
    /// The primary only: no state is known that is enough.
    Primary,
    /// A replica with this state, or the primary.
    State(NeededState),
}

impl ReadNeed {
    /// This need, and a revision. Of two revisions of which neither is the later one, only the primary can say what
    /// they are.
    #[must_use]
    pub fn with_revision(self, revision: Revision) -> Self {
        let Self::State(needed) = self else { return self };
        let newest = match needed.revision {
            None => revision,
            Some(known) => match known.partial_cmp(&revision) {
                Some(Ordering::Less) => revision,
                Some(_) => known,
                None => return Self::Primary,
            },
        };
        Self::State(NeededState { revision: Some(newest), ..needed })
    }
}

impl ReadNeed {
    /// The need of a later page, after one whose read returned this position.
    #[must_use]
    pub fn after_page(self, position: Option<i64>) -> Self {
        match (self, position) {
            (Self::State(needed), Some(position)) => {
                Self::State(NeededState { position: needed.position.max(position), ..needed })
            }
            _ => Self::Primary,
        }
    }
}

impl Default for ReadNeed {
    fn default() -> Self {
        Self::State(NeededState::default())
    }
}

/// What a server says in the snapshot of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplicaReport {
    pub(super) is_standby: bool,
    /// The newest change of the registry.
    pub(super) revision: Revision,
    /// The head of the ledger.
    pub(super) head: Head,
    /// The newest migration.
    pub(super) schema: i64,
}

/// What the primary says afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PrimaryReport {
    pub(super) incarnation: Incarnation,
    /// The sequence of the head of the ledger.
    pub(super) head: i64,
    /// The hash of the entry at the head of the replica.
    pub(super) entry_hash: Option<String>,
}

impl ReplicaReport {
    /// Whether this server can answer a read of a program that needs the schema `known`.
    pub(super) fn check_server(&self, known: i64) -> Result<(), PrimaryReason> {
        // A promoted standby goes on with a ledger of its own.
        if !self.is_standby {
            return Err(PrimaryReason::NotAStandby);
        }
        if self.schema < known { Err(PrimaryReason::Schema) } else { Ok(()) }
    }

    /// Whether it has the state that a call needs.
    pub(super) fn check_state(&self, needed: NeededState) -> Result<(), PrimaryReason> {
        let has_revision = needed.revision.is_none_or(|revision| {
            revision.incarnation == self.revision.incarnation && revision.sequence <= self.head.sequence
        });
        let has_position = needed.position <= self.head.sequence;
        if has_revision && has_position { Ok(()) } else { Err(PrimaryReason::Behind) }
    }

    /// Whether the primary has had this state.
    pub(super) fn check_origin(&self, primary: &PrimaryReport) -> Result<(), PrimaryReason> {
        if self.revision.incarnation != primary.incarnation {
            return Err(PrimaryReason::OtherDatabase);
        }
        match &primary.entry_hash {
            // Before the first entry there is nothing to compare.
            None if self.head.sequence == 0 => Ok(()),
            Some(hash) if *hash == self.head.entry_hash => Ok(()),
            // With synchronous replication a standby can show a commit first.
            None if self.head.sequence > primary.head => Err(PrimaryReason::Ahead),
            Some(_) | None => Err(PrimaryReason::Diverged),
        }
    }
}

/// The heads of the primary's ledger that this process has seen, by its own monotonic clock: whatever the primary had
/// at a moment within the largest lag, a replica must have. No clock of a server, and no time of an entry, is compared.
#[derive(Debug, Default)]
pub(super) struct PrimaryHeads {
    generation: u64,
    seen: VecDeque<(Instant, i64)>,
}

/// The number of heads that are remembered within the largest lag.
const HEADS: u32 = 16;

impl PrimaryHeads {
    /// Notes that the primary had `head` at `now`, on connections of `generation`.
    pub(super) fn note(&mut self, (now, generation): (Instant, u64), head: i64, max_lag: Duration) {
        if generation != self.generation {
            // Another server may have lost entries.
            self.seen.clear();
            self.generation = generation;
        }
        let spacing = max_lag / HEADS;
        if self.seen.len() > 1 && self.seen.iter().rev().nth(1).is_some_and(|(at, _)| now.duration_since(*at) < spacing)
        {
            self.seen.pop_back();
        }
        self.seen.push_back((now, head));
        // The last one before the largest lag says nothing about a moment within it.
        while self.seen.front().is_some_and(|(at, _)| now.duration_since(*at) > max_lag) {
            self.seen.pop_front();
        }
    }

    /// The smallest head that a replica may have at `now`; `None` when no head was seen within the largest lag.
    pub(super) fn floor(&self, (now, generation): (Instant, u64), max_lag: Duration) -> Option<i64> {
        if generation != self.generation {
            return None;
        }
        self.seen.iter().find(|(at, _)| now.duration_since(*at) <= max_lag).map(|(_, head)| *head)
    }
}

/// How many reads were answered where, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaReads {
    /// `replica` or `primary`.
    pub from: &'static str,
    /// `ok`, or the word of a [`PrimaryReason`].
    pub reason: &'static str,
    /// The number of reads since the start.
    pub count: u64,
}

/// The replica at this moment: the state that its answers would rest on, or why the primary answers.
pub type ReplicaState = Result<Revision, PrimaryReason>;

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn incarnation(n: u128) -> Incarnation {
        Incarnation(Uuid::from_u128(n))
    }

    fn report(sequence: i64) -> ReplicaReport {
        let head = Head { sequence, entry_hash: format!("{sequence:064}") };
        ReplicaReport {
            is_standby: true,
            revision: Revision { incarnation: incarnation(1), sequence },
            head,
            schema: 42,
        }
    }

    fn primary(head: i64, entry_hash: Option<&str>) -> PrimaryReport {
        PrimaryReport { incarnation: incarnation(1), head, entry_hash: entry_hash.map(str::to_owned) }
    }

    #[test]
    fn only_a_standby_with_the_schema_answers() {
        assert_eq!(report(7).check_server(42), Ok(()));
        // A newer schema admits this program, or the primary would not have let it start.
        assert_eq!(report(7).check_server(41), Ok(()));
        assert_eq!(report(7).check_server(43), Err(PrimaryReason::Schema));
        let promoted = ReplicaReport { is_standby: false, ..report(7) };
        assert_eq!(promoted.check_server(42), Err(PrimaryReason::NotAStandby));
    }

    #[test]
    fn a_replica_needs_the_revision_and_the_position_of_the_call() {
        let needed = |n, sequence, position| NeededState {
            revision: Some(Revision { incarnation: incarnation(n), sequence }),
            position,
        };
        for (needed, outcome) in [
            (NeededState::default(), Ok(())),
            (needed(1, 7, 0), Ok(())),
            (needed(1, 7, 7), Ok(())),
            (needed(1, 8, 0), Err(PrimaryReason::Behind)),
            (needed(1, 7, 8), Err(PrimaryReason::Behind)),
            // The primary says whether the incarnation has ended.
            (needed(2, 1, 0), Err(PrimaryReason::Behind)),
        ] {
            assert_eq!(report(7).check_state(needed), outcome, "{needed:?}");
        }
    }

    #[test]
    fn a_need_has_the_later_revision() {
        let revision = |n, sequence| Revision { incarnation: incarnation(n), sequence };
        let need = ReadNeed::default().with_revision(revision(1, 7));
        assert_eq!(need, need.with_revision(revision(1, 6)));
        let later = NeededState { revision: Some(revision(1, 8)), position: 0 };
        assert_eq!(need.with_revision(revision(1, 8)), ReadNeed::State(later));
        assert_eq!(need.with_revision(revision(2, 9)), ReadNeed::Primary);
        let paged = need.after_page(Some(12)).after_page(Some(11));
        assert_eq!(paged, ReadNeed::State(NeededState { revision: Some(revision(1, 7)), position: 12 }));
        assert_eq!(paged.after_page(None), ReadNeed::Primary);
    }

    #[test]
    fn a_state_that_the_primary_has_not_had_is_refused() {
        let hash = report(7).head.entry_hash;
        assert_eq!(report(7).check_origin(&primary(9, Some(&hash))), Ok(()));
        assert_eq!(report(7).check_origin(&primary(9, Some("another"))), Err(PrimaryReason::Diverged));
        assert_eq!(report(7).check_origin(&primary(6, None)), Err(PrimaryReason::Ahead));
        // Deleted by hand, or archived.
        assert_eq!(report(7).check_origin(&primary(9, None)), Err(PrimaryReason::Diverged));
        assert_eq!(report(0).check_origin(&primary(9, None)), Ok(()));
        let other = PrimaryReport { incarnation: incarnation(2), ..primary(9, Some(&hash)) };
        assert_eq!(report(7).check_origin(&other), Err(PrimaryReason::OtherDatabase));
    }

    #[test]
    fn a_replica_may_lack_what_came_within_the_largest_lag() {
        let (begun, max_lag) = (Instant::now(), Duration::from_secs(8));
        let at = |second| (begun + Duration::from_secs(second), 0);
        let mut heads = PrimaryHeads::default();
        assert_eq!(heads.floor(at(0), max_lag), None, "nothing is known");
        heads.note(at(0), 10, max_lag);
        heads.note(at(3), 20, max_lag);
        heads.note(at(6), 30, max_lag);
        assert_eq!(heads.floor(at(8), max_lag), Some(10));
        assert_eq!(heads.floor(at(9), max_lag), Some(20));
        assert_eq!(heads.floor(at(12), max_lag), Some(30));
        assert_eq!(heads.floor(at(15), max_lag), None);
        // Another server took over, perhaps without the last entries.
        assert_eq!(heads.floor((at(9).0, 1), max_lag), None);
        heads.note((at(9).0, 1), 25, max_lag);
        assert_eq!(heads.floor((at(9).0, 1), max_lag), Some(25));
    }

    #[test]
    fn few_heads_are_remembered_however_many_are_seen() {
        let (begun, max_lag) = (Instant::now(), Duration::from_secs(8));
        let mut heads = PrimaryHeads::default();
        for n in 0..100_000_u32 {
            heads.note((begun + Duration::from_millis(n.into()), 0), i64::from(n), max_lag);
        }
        assert!(heads.seen.len() <= HEADS as usize + 2, "{}", heads.seen.len());
        let now = begun + Duration::from_millis(99_999);
        let floor = heads.floor((now, 0), max_lag).unwrap();
        assert!((91_999..=92_600).contains(&floor), "{floor}");
    }

    #[test]
    fn the_words_of_the_reasons_differ() {
        let words: std::collections::HashSet<_> = PrimaryReason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), PrimaryReason::ALL.len());
    }
}
