//! Verification: reads entries in order and says what is wrong with the first bad one.
//!
//! Shares with the writer the canonical form only. Must see rows exactly as they are stored: whatever a database can
//! hold there, it must be able to tell from what was written.

use std::cmp::Ordering;

use serde::Serialize;

use super::GENESIS_HASH;
use super::canonical::{Fields, entry_hash};
use super::chain::Head;
use super::number;

/// One stored row: what its columns say, and the hash that belongs to them.
#[derive(Debug, Clone, Copy)]
pub struct StoredEntry<'a> {
    /// Everything that is hashed, as stored.
    pub fields: Fields<'a>,
    /// The hash, as stored.
    pub entry_hash: &'a str,
}

/// A row that holds what no writer could have put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    /// Its place.
    pub sequence: i64,
    /// What is wrong with it.
    pub why: String,
}

/// What is wrong with the first bad entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// Entries are missing between two that are there (or before the first).
    #[error("gap: entry {sequence} is missing, the next one there is {found}")]
    Gap {
        /// The first missing place.
        sequence: i64,
        /// The next place that is taken.
        found: i64,
    },
    /// An entry does not name the hash of the one before it.
    #[error("broken link: entry {sequence} names the previous hash {stored}, but the entry before it has {expected}")]
    BrokenLink {
        /// The entry.
        sequence: i64,
        /// The hash of the entry before.
        expected: String,
        /// The hash it names.
        stored: String,
    },
    /// An entry's content does not have its hash.
    #[error("changed content: entry {sequence} is stored with hash {stored}, but its content has {expected}")]
    ChangedContent {
        /// The entry.
        sequence: i64,
        /// The hash of its content.
        expected: String,
        /// The hash stored.
        stored: String,
    },
    /// An entry holds what no writer could have put there.
    #[error("changed content: entry {sequence} cannot be read: {why}")]
    Unreadable {
        /// The entry.
        sequence: i64,
        /// What is wrong with it.
        why: String,
    },
    /// An entry has its hash, but writes a number in the form of an earlier version, where only this version wrote.
    #[error(
        "former number: entry {sequence} has its hash, but writes a number as an earlier version did, which wrote entries up to {up_to} only; \
         if one still ran after the upgrade, verify with --former-numbers-to {sequence} or a later entry"
    )]
    FormerNumber {
        /// The entry.
        sequence: i64,
        /// The last entry that may hold such a number.
        up_to: i64,
    },
    /// An entry whose place is no place in the chain, or is taken.
    #[error("stray entry: {sequence} {why}")]
    Stray {
        /// The place it claims.
        sequence: i64,
        /// Why it does not belong there.
        why: String,
    },
    /// The head says that there are more entries.
    #[error("missing tail: the head says {head} entries, but the ledger ends before entry {sequence}")]
    MissingTail {
        /// The first missing place.
        sequence: i64,
        /// How many there should be.
        head: i64,
    },
    /// The ledger does not hold every entry of the range that was asked for.
    #[error("incomplete range: entry {sequence} is not in the ledger, but the range goes to entry {end}")]
    IncompleteRange {
        /// The first missing place of the range.
        sequence: i64,
        /// The last place of the range.
        end: i64,
    },
    /// The head belongs to another chain, or to an earlier moment of this one.
    #[error("foreign head: {why}")]
    ForeignHead {
        /// The last entry there is.
        sequence: i64,
        /// How the head differs.
        why: String,
    },
}

impl Finding {
    /// The place it is about.
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
            | Self::ForeignHead { sequence, .. } => *sequence,
        }
    }
}

/// A verification under way.
#[derive(Debug)]
pub struct Verifier {
    next: i64,
    previous_hash: String,
    checked: u64,
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

    /// Starts behind an entry whose stored hash is taken on trust.
    #[must_use]
    pub fn after(sequence: i64, entry_hash: &str) -> Self {
        Self {
            next: sequence + 1,
            previous_hash: entry_hash.to_owned(),
            checked: 0,
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

    /// How many entries hold a number in the form of an earlier version.
    #[must_use]
    pub fn former_numbers(&self) -> u64 {
        self.former_numbers
    }

    /// How many entries were found whole.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// The first fault, if there is one.
    #[must_use]
    pub fn finding(&self) -> Option<&Finding> {
        self.finding.as_ref()
    }

    /// Looks at the next row. `false` when a fault is known and the rest need not be read.
    pub fn look(&mut self, row: Result<StoredEntry<'_>, UnreadableRow>) -> bool {
        if self.finding.is_none() {
            let sequence = row.as_ref().map_or_else(|row| row.sequence, |entry| entry.fields.sequence);
            let whole =
                self.place(sequence).and_then(|()| row.map_err(Into::into)).and_then(|entry| self.check(&entry));
            match whole {
                Ok(()) => self.checked += 1,
                Err(finding) => self.finding = Some(finding),
            }
        }
        self.finding.is_none()
    }

    /// Records a fault that was found before the first row.
    pub fn fault(&mut self, finding: Finding) {
        self.finding.get_or_insert(finding);
    }

    fn place(&self, sequence: i64) -> Result<(), Finding> {
        match sequence.cmp(&self.next) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(Finding::Gap { sequence: self.next, found: sequence }),
            Ordering::Less if sequence < 1 => Err(Finding::Stray { sequence, why: "is no place in the chain".into() }),
            Ordering::Less => Err(Finding::Stray { sequence, why: "is taken: it stands there twice".into() }),
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

    /// Requires that the range, read to its end, held every entry up to `end`.
    pub fn require_up_to(&mut self, end: i64) {
        if self.next <= end {
            self.fault(Finding::IncompleteRange { sequence: self.next, end });
        }
    }

    /// Holds the end that was reached against the head. Only when the ledger was read to its end.
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
                let (said, is) = (&head.entry_hash, &self.previous_hash);
                foreign(format!("it names the hash {said}, but entry {last} has {is}"))
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
