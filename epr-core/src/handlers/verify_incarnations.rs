//! Verification of the entries that begin incarnations of the ledger: each names the former incarnation, its head and
//! its last checkpoint.
//!
//! Owns what such an entry has to say. Must never accept one that names a smaller checkpoint than the database has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use uuid::Uuid;

use crate::domain::Incarnation;
use crate::domain::audit::{LostEntries, OWN_SOURCE};
use crate::engine::ledger_tree::{signed, unsigned};
use crate::ledger::canonical::Fields;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::verify::Finding;
use crate::store::{RecordedIncarnation, StoredCheckpoint};

/// An entry that begins an incarnation.
#[derive(Debug, Deserialize)]
pub(crate) struct Beginning {
    #[serde(skip)]
    sequence: i64,
    #[serde(skip)]
    previous_hash: String,
    incarnation: Uuid,
    former_incarnation: Uuid,
    former_head: NamedHead,
    former_checkpoint: Option<NamedCheckpoint>,
}

#[derive(Debug, Deserialize)]
struct NamedHead {
    sequence: i64,
    entry_hash: String,
}

#[derive(Debug, Deserialize)]
struct NamedCheckpoint {
    origin: String,
    size: u64,
    root: String,
}

impl NamedCheckpoint {
    fn checkpoint(&self) -> Option<Checkpoint> {
        let root = STANDARD.decode(&self.root).ok()?.try_into().ok()?;
        Checkpoint::new(&self.origin, self.size, root).ok()
    }
}

impl Beginning {
    /// The beginning that a verified entry is, if it is one.
    pub(crate) fn read(entry: &Fields<'_>) -> Option<Self> {
        if entry.action != "ledger.reincarnate" || entry.source != OWN_SOURCE || entry.event_id.is_some() {
            return None;
        }
        let beginning: Self = serde_json::from_str(entry.details).ok()?;
        Some(Self { sequence: entry.sequence, previous_hash: entry.previous_hash.to_owned(), ..beginning })
    }

    /// The sequence of the entry.
    pub(crate) fn sequence(&self) -> i64 {
        self.sequence
    }

    /// The incarnation that ended.
    pub(crate) fn former(&self) -> Incarnation {
        Incarnation(self.former_incarnation)
    }

    fn wrong(&self, why: impl Into<String>) -> Finding {
        Finding::WrongIncarnation { sequence: self.sequence, why: why.into() }
    }

    /// Compares the entry with the incarnations that are recorded, and with the last checkpoint that is stored for the
    /// former one. Returns the checkpoint that it names, if the ledger has all of its entries.
    pub(crate) fn compare(
        &self,
        recorded: &RecordedIncarnation,
        former: Option<&RecordedIncarnation>,
        stored: Option<&StoredCheckpoint>,
    ) -> Result<Option<Checkpoint>, Finding> {
        if self.incarnation != recorded.incarnation.0 || former.is_none_or(|one| one.incarnation != self.former()) {
            return Err(self.wrong("it names other incarnations than those that are recorded"));
        }
        let NamedHead { sequence, entry_hash } = &self.former_head;
        if (*sequence, entry_hash) != (self.sequence - 1, &self.previous_hash) {
            return Err(self.wrong("it names another head of the former incarnation than the entry before it"));
        }
        let Some(named) = &self.former_checkpoint else {
            return stored.map_or(Ok(None), |stored| {
                let size = stored.size;
                let why = format!("it names no checkpoint of the former incarnation, but one of {size} entries exists");
                Err(self.wrong(why))
            });
        };
        let Some(checkpoint) = named.checkpoint() else {
            return Err(self.wrong("the checkpoint that it names cannot be read"));
        };
        let is_of_former = checkpoint.origin().rsplit('/').next() == Some(self.former().to_string().as_str());
        let size = signed(checkpoint.size);
        match stored {
            _ if !is_of_former => Err(self.wrong("the checkpoint that it names is not one of the former incarnation")),
            Some(stored) if stored.size > size || (stored.size == size && stored.root != checkpoint.root) => {
                let stored = stored.size;
                let why = format!("it names the checkpoint of {size} entries, but another one of {stored} exists");
                Err(self.wrong(why))
            }
            _ => Ok((size < self.sequence).then_some(checkpoint)),
        }
    }

    /// The entries of the former incarnation that its last checkpoint covers, but the ledger lacks.
    pub(crate) fn lost(&self) -> Option<LostEntries> {
        let last = signed(self.former_checkpoint.as_ref()?.size);
        (last >= self.sequence).then_some(LostEntries { sequence: self.sequence, first: self.sequence, last })
    }

    /// Whether the entry says that the ledger was cut below this checkpoint of the former incarnation: it names it.
    pub(crate) fn admits_loss_of(&self, checkpoint: &Checkpoint) -> bool {
        let named = self.former_checkpoint.as_ref().and_then(NamedCheckpoint::checkpoint);
        named.as_ref() == Some(checkpoint) && checkpoint.size >= unsigned(self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const HASH: &str = "aa";

    fn recorded(incarnation: u128, first_sequence: i64) -> RecordedIncarnation {
        let started_at = SystemClock.now();
        let why = "reincarnate".to_owned();
        RecordedIncarnation { incarnation: Incarnation(Uuid::from_u128(incarnation)), started_at, first_sequence, why }
    }

    fn stored(size: i64, fill: u8) -> StoredCheckpoint {
        let (incarnation, signed_at) = (Incarnation(Uuid::from_u128(1)), SystemClock.now());
        StoredCheckpoint { incarnation, size, root: [fill; 32], note: String::new(), signed_at }
    }

    fn named(origin: u128, size: u64) -> NamedCheckpoint {
        let origin = format!("epr.test/ledger/{}", Uuid::from_u128(origin));
        NamedCheckpoint { origin, size, root: STANDARD.encode([7; 32]) }
    }

    /// The entry 101 that ends incarnation 1 and begins incarnation 2.
    fn beginning(former_checkpoint: Option<NamedCheckpoint>) -> Beginning {
        Beginning {
            sequence: 101,
            previous_hash: HASH.to_owned(),
            incarnation: Uuid::from_u128(2),
            former_incarnation: Uuid::from_u128(1),
            former_head: NamedHead { sequence: 100, entry_hash: HASH.to_owned() },
            former_checkpoint,
        }
    }

    #[test]
    fn an_entry_names_the_last_checkpoint_that_is_stored_or_a_later_one() {
        let compare = |named: Option<NamedCheckpoint>, stored: Option<StoredCheckpoint>| {
            let found = beginning(named).compare(&recorded(2, 101), Some(&recorded(1, 1)), stored.as_ref());
            found.map(|checkpoint| checkpoint.map(|checkpoint| checkpoint.size)).map_err(|finding| finding.to_string())
        };
        assert_eq!(compare(None, None), Ok(None));
        assert_eq!(compare(Some(named(1, 90)), Some(stored(90, 7))), Ok(Some(90)));
        assert_eq!(compare(Some(named(1, 100)), None), Ok(Some(100)));
        assert_eq!(compare(Some(named(1, 700)), Some(stored(90, 7))), Ok(None), "entries were lost");
        for (found, why) in [
            (compare(None, Some(stored(90, 7))), "names no checkpoint of the former incarnation, but one of 90"),
            (
                compare(Some(named(1, 90)), Some(stored(95, 7))),
                "names the checkpoint of 90 entries, but another one of 95",
            ),
            (
                compare(Some(named(1, 90)), Some(stored(90, 8))),
                "names the checkpoint of 90 entries, but another one of 90",
            ),
            (compare(Some(named(3, 90)), None), "is not one of the former incarnation"),
            (compare(Some(NamedCheckpoint { root: "x".into(), ..named(1, 90) }), None), "cannot be read"),
        ] {
            let error = found.unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn an_entry_names_the_incarnations_and_the_head_before_it() {
        let compare = |beginning: Beginning, now: u128, former: Option<u128>| {
            let former = former.map(|former| recorded(former, 1));
            beginning.compare(&recorded(now, 101), former.as_ref(), None).map_err(|finding| finding.to_string())
        };
        assert_eq!(compare(beginning(None), 2, Some(1)), Ok(None));
        let other = |head: i64, hash: &str| Beginning {
            former_head: NamedHead { sequence: head, entry_hash: hash.to_owned() },
            ..beginning(None)
        };
        for (found, why) in [
            (compare(beginning(None), 3, Some(1)), "other incarnations"),
            (compare(beginning(None), 2, Some(3)), "other incarnations"),
            (compare(beginning(None), 2, None), "other incarnations"),
            (compare(other(99, HASH), 2, Some(1)), "another head"),
            (compare(other(100, "bb"), 2, Some(1)), "another head"),
        ] {
            let error = found.unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_loss_of_what_an_entry_names_is_admitted_and_no_other() {
        let admits = |named: NamedCheckpoint, size: u64, fill: u8| {
            let origin = format!("epr.test/ledger/{}", Uuid::from_u128(1));
            beginning(Some(named)).admits_loss_of(&Checkpoint::new(&origin, size, [fill; 32]).unwrap())
        };
        assert!(admits(named(1, 700), 700, 7));
        let lost = |size| beginning(Some(named(1, size))).lost().map(|lost| (lost.first, lost.last));
        assert_eq!((lost(700), lost(100), lost(101)), (Some((101, 700)), None, Some((101, 101))));
        assert!(!admits(named(1, 700), 700, 8), "another root");
        assert!(!admits(named(1, 700), 600, 7), "another size");
        assert!(!admits(named(2, 700), 700, 7), "another incarnation");
        assert!(!admits(named(1, 100), 100, 7), "nothing was lost");
    }
}
