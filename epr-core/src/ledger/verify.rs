//! Verification: reads entries in order and reports the problem of the first bad one.
//!
//! Shares only the canonical form with the writer. Must see rows exactly as they are stored: it has to distinguish
//! every row that a database can store from the one that was written.

use std::cmp::Ordering;

use serde::Serialize;

use super::GENESIS_HASH;
use super::canonical::{Fields, entry_hash};
use super::chain::Head;
use super::number;

/// One stored row: its columns and its hash.
#[derive(Debug, Clone, Copy)]
pub struct StoredEntry<'a> {
    /// All fields that are hashed, as stored.
    pub fields: Fields<'a>,
    /// The hash, as stored.
    pub entry_hash: &'a str,
}

/// A row with a value that no writer stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    /// The sequence of the row.
    pub sequence: i64,
    /// The problem of the row.
    pub why: String,
}

/// The problem of the first bad entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// Entries are missing between two present ones, or before the first.
    #[error("gap: entry {sequence} is missing, the next one there is {found}")]
    Gap {
        /// The first missing sequence.
        sequence: i64,
        /// The next present sequence.
        found: i64,
    },
    /// An entry does not name the hash of the one before it.
    #[error("broken link: entry {sequence} names the previous hash {stored}, but the entry before it has {expected}")]
    BrokenLink {
        /// The sequence of the entry.
        sequence: i64,
        /// The hash of the previous entry.
        expected: String,
        /// The previous hash that the entry names.
        stored: String,
    },
    /// The content of an entry has another hash than the stored one.
    #[error("changed content: entry {sequence} is stored with hash {stored}, but its content has {expected}")]
    ChangedContent {
        /// The sequence of the entry.
        sequence: i64,
        /// The hash of the content.
        expected: String,
        /// The stored hash.
        stored: String,
    },
    /// An entry has a value that no writer stores.
    #[error("changed content: entry {sequence} cannot be read: {why}")]
    Unreadable {
        /// The sequence of the entry.
        sequence: i64,
        /// The problem of the row.
        why: String,
    },
    /// An entry has its hash, but writes a number in the form of an earlier version, where only this version wrote.
    #[error(
        "former number: entry {sequence} has its hash, but writes a number as an earlier version did, \
         which wrote entries up to {up_to} only; \
         if one still ran after the upgrade, verify with --former-numbers-to {sequence} or a later entry"
    )]
    FormerNumber {
        /// The sequence of the entry.
        sequence: i64,
        /// The last entry that may contain such a number.
        up_to: i64,
    },
    /// The sequence of an entry is not part of the chain, or occurs twice.
    #[error("stray entry: {sequence} {why}")]
    Stray {
        /// The sequence of the entry.
        sequence: i64,
        /// The reason.
        why: String,
    },
    /// The head counts more entries than the ledger has.
    #[error("missing tail: the head says {head} entries, but the ledger ends before entry {sequence}")]
    MissingTail {
        /// The first missing sequence.
        sequence: i64,
        /// The number of entries by the head.
        head: i64,
    },
    /// The ledger lacks an entry of the requested range.
    #[error("incomplete range: entry {sequence} is not in the ledger, but the range goes to entry {end}")]
    IncompleteRange {
        /// The first missing sequence of the range.
        sequence: i64,
        /// The last sequence of the range.
        end: i64,
    },
    /// An entry has another hash than the one that was kept elsewhere.
    #[error("rewritten: entry {sequence} has the hash {stored}, but {kept} was kept elsewhere")]
    Rewritten {
        /// The sequence of the entry.
        sequence: i64,
        /// The hash that was kept.
        kept: String,
        /// The hash of the entry.
        stored: String,
    },
    /// Entries that were kept elsewhere are not in the ledger.
    #[error("missing tail: entry {kept} was kept elsewhere, but the ledger ends before entry {sequence}")]
    ShorterThanKept {
        /// The first missing sequence.
        sequence: i64,
        /// The last sequence that was kept.
        kept: i64,
    },
    /// A stored tile of the tree differs from the entries.
    #[error("changed tile: tile {number} of level {level} differs from the entries, of which the last is {sequence}")]
    ChangedTile {
        /// The last entry below the tile.
        sequence: i64,
        /// The level of the tile.
        level: u8,
        /// The index of the tile in its level.
        number: i64,
    },
    /// A tile of the tree is missing among the stored ones.
    #[error("missing tile: tile {number} of level {level} is not stored, but later ones are")]
    MissingTile {
        /// The last entry below the tile.
        sequence: i64,
        /// The level of the tile.
        level: u8,
        /// The index of the tile in its level.
        number: i64,
    },
    /// A checkpoint covers more entries than the ledger has.
    #[error("missing tail: a checkpoint covers {size} entries, but the ledger ends before entry {sequence}")]
    ShorterThanCheckpoint {
        /// The first missing sequence.
        sequence: i64,
        /// The number of entries that the checkpoint covers.
        size: i64,
    },
    /// The entries have another root than a checkpoint over them.
    #[error(
        "rewritten: the entries up to {sequence} have another root than the checkpoint over them, \
         so that one of them was changed afterwards"
    )]
    DiffersFromCheckpoint {
        /// The last entry that the checkpoint covers.
        sequence: i64,
    },
    /// A stored checkpoint, or one that was kept elsewhere, is not what the keys signed.
    #[error("wrong checkpoint: that of {sequence} entries: {why}")]
    WrongCheckpoint {
        /// The number of entries that the checkpoint covers.
        sequence: i64,
        /// The problem.
        why: String,
    },
    /// A checkpoint that was kept elsewhere is not stored.
    #[error("missing checkpoint: one of {sequence} entries was kept elsewhere, but is not stored any more")]
    MissingCheckpoint {
        /// The number of entries that the checkpoint covers.
        sequence: i64,
    },
    /// An entry was dropped, and the archive does not have its text: a file is missing or damaged, or has another text.
    #[error("not in the archive: entry {sequence} was dropped and cannot be read from its archive: {file}: {why}")]
    NotInArchive {
        /// The sequence of the entry.
        sequence: i64,
        /// The path of the file below the place of the archive.
        file: String,
        /// The problem of the file.
        why: String,
    },
    /// No stored checkpoint covers the entries that were dropped: nothing vouches for their hashes.
    #[error("uncovered border: entries up to {sequence} were dropped, but no stored checkpoint covers them")]
    UncoveredBorder {
        /// The border.
        sequence: i64,
    },
    /// An incarnation of the ledger does not begin with the entry that ties it to the former one.
    #[error("wrong incarnation: entry {sequence} should tie an incarnation to the former one: {why}")]
    WrongIncarnation {
        /// The sequence of the first entry of the incarnation.
        sequence: i64,
        /// The problem.
        why: String,
    },
    /// The head belongs to another chain, or to an earlier state of this one.
    #[error("foreign head: {why}")]
    ForeignHead {
        /// The last present entry.
        sequence: i64,
        /// The difference.
        why: String,
    },
}

impl Finding {
    /// The sequence at which the problem is.
    #[must_use]
    pub fn sequence(&self) -> i64 {
        match self {
            Self::Gap { sequence, .. }
            | Self::BrokenLink { sequence, .. }
            | Self::ChangedContent { sequence, .. }
            | Self::Unreadable { sequence, .. }
            | Self::FormerNumber { sequence, .. }
            | Self::Stray { sequence, .. }
            | Self::MissingTail { sequence, .. }
            | Self::IncompleteRange { sequence, .. }
            | Self::Rewritten { sequence, .. }
            | Self::ShorterThanKept { sequence, .. }
            | Self::ChangedTile { sequence, .. }
            | Self::MissingTile { sequence, .. }
            | Self::ShorterThanCheckpoint { sequence, .. }
            | Self::DiffersFromCheckpoint { sequence }
            | Self::WrongCheckpoint { sequence, .. }
            | Self::MissingCheckpoint { sequence }
            | Self::NotInArchive { sequence, .. }
            | Self::UncoveredBorder { sequence }
            | Self::WrongIncarnation { sequence, .. }
            | Self::ForeignHead { sequence, .. } => *sequence,
        }
    }
}

/// A running verification.
#[derive(Debug)]
pub struct Verifier {
    next: i64,
    previous_hash: String,
    checked: u64,
    skipped: u64,
    finding: Option<Finding>,
    canonical: String,
    former_numbers_up_to: i64,
    former_numbers: u64,
}

impl Verifier {
    /// Starts at the first entry.
    #[must_use]
    pub fn from_genesis() -> Self {
        Self::after(0, GENESIS_HASH)
    }

    /// Starts after an entry whose stored hash is trusted.
    #[must_use]
    pub fn after(sequence: i64, entry_hash: &str) -> Self {
        Self {
            next: sequence + 1,
            previous_hash: entry_hash.to_owned(),
            checked: 0,
            skipped: 0,
            finding: None,
            canonical: String::new(),
            former_numbers_up_to: 0,
            former_numbers: 0,
        }
    }

    /// Accepts numbers in the form of an earlier version in entries up to `sequence`.
    pub fn accept_former_numbers(&mut self, sequence: i64) {
        self.former_numbers_up_to = sequence;
    }

    /// The number of entries that contain a number in the form of an earlier version.
    #[must_use]
    pub fn former_numbers(&self) -> u64 {
        self.former_numbers
    }

    /// The number of entries that passed.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// The first problem, if there is one.
    #[must_use]
    pub fn finding(&self) -> Option<&Finding> {
        self.finding.as_ref()
    }

    /// Verifies the next row. Returns `false` when a problem is known and the rest need not be read.
    pub fn look(&mut self, row: Result<StoredEntry<'_>, UnreadableRow>) -> bool {
        if self.finding.is_none() {
            let sequence = row.as_ref().map_or_else(|row| row.sequence, |entry| entry.fields.sequence);
            let whole = self
                .check_sequence(sequence)
                .and_then(|()| row.map_err(Into::into))
                .and_then(|entry| self.check(&entry));
            match whole {
                Ok(()) => self.checked += 1,
                Err(finding) => self.finding = Some(finding),
            }
        }
        self.finding.is_none()
    }

    /// Takes the next entry by its hash alone: its text is not here. Returns `false` when a problem is known.
    pub fn skip(&mut self, sequence: i64, entry_hash: &str) -> bool {
        if self.finding.is_none() {
            match self.check_sequence(sequence) {
                Ok(()) => {
                    entry_hash.clone_into(&mut self.previous_hash);
                    self.next += 1;
                    self.skipped += 1;
                }
                Err(finding) => self.finding = Some(finding),
            }
        }
        self.finding.is_none()
    }

    /// The number of entries of which only the hash was taken.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Records a problem that was found before the first row.
    pub fn report(&mut self, finding: Finding) {
        self.finding.get_or_insert(finding);
    }

    fn check_sequence(&self, sequence: i64) -> Result<(), Finding> {
        match sequence.cmp(&self.next) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(Finding::Gap { sequence: self.next, found: sequence }),
            Ordering::Less if sequence < 1 => {
                Err(Finding::Stray { sequence, why: "is not a sequence of the chain".into() })
            }
            Ordering::Less => Err(Finding::Stray { sequence, why: "occurs twice".into() }),
        }
    }

    fn check(&mut self, entry: &StoredEntry<'_>) -> Result<(), Finding> {
        let sequence = entry.fields.sequence;
        if entry.fields.previous_hash != self.previous_hash {
            let (expected, stored) = (self.previous_hash.clone(), entry.fields.previous_hash.to_owned());
            return Err(Finding::BrokenLink { sequence, expected, stored });
        }
        self.canonical.clear();
        entry.fields.write(&mut self.canonical);
        let expected = entry_hash(entry.fields.previous_hash, &self.canonical);
        if entry.entry_hash != expected {
            return Err(Finding::ChangedContent { sequence, expected, stored: entry.entry_hash.to_owned() });
        }
        if number::holds_former(entry.fields.details) {
            if sequence > self.former_numbers_up_to {
                return Err(Finding::FormerNumber { sequence, up_to: self.former_numbers_up_to });
            }
            self.former_numbers += 1;
        }
        self.previous_hash = expected;
        self.next += 1;
        Ok(())
    }

    /// Requires that the range, read to its end, had every entry up to `end`.
    pub fn require_up_to(&mut self, end: i64) {
        if self.next <= end {
            self.report(Finding::IncompleteRange { sequence: self.next, end });
        }
    }

    /// Compares the last entry with the head. To be called only when the ledger was read to its end.
    pub fn close(&mut self, head: Option<&Head>) {
        if self.finding.is_some() {
            return;
        }
        let last = self.next - 1;
        let foreign = |why: String| Some(Finding::ForeignHead { sequence: last, why });
        self.finding = match head {
            None => foreign("there is no head row".into()),
            Some(head) if head.sequence > last => {
                Some(Finding::MissingTail { sequence: self.next, head: head.sequence })
            }
            Some(head) if head.sequence < last => {
                foreign(format!("it says {} entries, but entry {last} is there", head.sequence))
            }
            Some(head) if head.entry_hash != self.previous_hash => {
                let (named, is) = (&head.entry_hash, &self.previous_hash);
                foreign(format!("it names the hash {named}, but entry {last} has {is}"))
            }
            Some(_) => None,
        };
    }
}

impl From<UnreadableRow> for Finding {
    fn from(row: UnreadableRow) -> Self {
        Self::Unreadable { sequence: row.sequence, why: row.why }
    }
}
