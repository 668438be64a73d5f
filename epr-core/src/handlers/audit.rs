//! The ledger: reading, verifying, exporting.

use serde::Serialize;

use super::record;
use crate::call::Call;
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::ledger::canonical::Fields;
use crate::ledger::verify::{Finding, StoredEntry, UnreadableRow, Verifier};
use crate::store::{ForeignRows, LedgerVisitor, ScanRange, ScanStart};

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Whether the chain holds over the range.
    pub valid: bool,
    /// How many entries were found whole before the end or the first fault.
    pub checked: u64,
    /// The first place looked at.
    pub start_sequence: i64,
    /// The last place in the range that the ledger holds.
    pub end_sequence: i64,
    /// The first fault.
    pub finding: Option<Finding>,
    /// Entries that write a number as an earlier version did; their hashes are right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former_numbers: Option<FormerNumbers>,
}

/// Entries that write a number as an earlier version did ([`crate::ledger::number`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FormerNumbers {
    /// How many there are in the range.
    pub entries: u64,
    /// The last entry in which such numbers are accepted.
    pub accepted_up_to: i64,
}

/// One exported entry.
#[derive(Debug, Serialize)]
pub struct ExportedEntry<'a> {
    /// Its place.
    pub sequence: i64,
    /// The hash before.
    pub previous_hash: &'a str,
    /// Its hash.
    pub entry_hash: &'a str,
    /// The text that was hashed.
    pub canonical: &'a str,
}

/// Recomputes the chain over `range`. When the range reaches the end of the ledger, the end is compared with the
/// head. A range that names its end must be there as a whole; one that starts after the last entry and names no end
/// has nothing to verify. `progress` receives, now and then, how many entries were checked and how many there are.
///
/// Numbers in the form of an earlier version are accepted up to the entry that the database names, or up to
/// `former_numbers_to` if that is later.
///
/// # Errors
/// It could not look: the database is away.
pub(crate) async fn verify(
    engines: &Engines,
    range: ScanRange,
    former_numbers_to: Option<i64>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Verification> {
    let mut verification = Verifying {
        range,
        former_numbers_to: former_numbers_to.unwrap_or(0),
        start: None,
        verifier: Verifier::from_genesis(),
        beyond: false,
        progress,
    };
    engines.store().scan_ledger(range, &mut verification).await?;
    Ok(verification.finish())
}

/// Gives every entry of `range` with the text that was hashed to `take`, until that says `false`.
///
/// # Errors
/// The database is away, or a row cannot be read.
pub(crate) async fn export(
    engines: &Engines,
    range: ScanRange,
    take: &mut (dyn FnMut(ExportedEntry<'_>) -> bool + Send),
) -> Result<()> {
    let mut export = Exporting { canonical: String::new(), unreadable: None, take };
    engines.store().scan_ledger(range, &mut export).await?;
    match export.unreadable {
        None => Ok(()),
        Some(row) => Err(Error::Refused(format!("Entry {} cannot be exported: {}", row.sequence, row.why))),
    }
}

/// What became of the rows beyond the head of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetAside {
    /// There are none.
    Nothing,
    /// The chain does not hold up to its head, so that nothing was changed.
    Broken(Finding),
    /// These were set aside, or would be.
    Rows(ForeignRows),
}

/// Moves rows of `audit_logs` beyond the head of the chain, which another program wrote there, to `audit_logs_set_aside`, with a
/// ledger entry that names them. Without `apply` nothing is changed.
///
/// # Errors
/// The database is away, or this role may not do it.
pub(crate) async fn set_aside_foreign_rows(
    engines: &Engines,
    call: &Call,
    apply: bool,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<SetAside> {
    // Rolled back: only to see them.
    let rows = engines.store().begin().await?.set_aside_foreign_rows().await?;
    if rows.count == 0 {
        return Ok(SetAside::Nothing);
    }
    if rows.head > 0 {
        let verification = verify(engines, ScanRange { from: 1, to: rows.head }, None, progress).await?;
        if let Some(finding) = verification.finding {
            return Ok(SetAside::Broken(finding));
        }
    }
    if !apply {
        return Ok(SetAside::Rows(rows));
    }
    let mut tx = engines.store().begin().await?;
    let rows = tx.set_aside_foreign_rows().await?;
    if rows.count == 0 {
        return Ok(SetAside::Nothing);
    }
    tx.append(&[record::foreign_rows_set_aside(call, engines.now(), &rows)?]).await?;
    tx.commit().await?;
    Ok(SetAside::Rows(rows))
}

/// How often progress is told, in entries.
const PROGRESS: u64 = 10_000;

struct Verifying<'a> {
    range: ScanRange,
    /// At begin at least what the database names.
    former_numbers_to: i64,
    start: Option<ScanStart>,
    verifier: Verifier,
    beyond: bool,
    progress: &'a mut (dyn FnMut(u64, u64) + Send),
}

impl LedgerVisitor for Verifying<'_> {
    fn begin(&mut self, start: ScanStart) -> bool {
        let from = self.range.from;
        match &start.anchor {
            Some(anchor) if from > 1 => self.verifier = Verifier::after(from - 1, anchor),
            // The range begins after the last entry: that is for the head to confirm.
            None if from > 1 && start.last < from - 1 => match &start.head {
                Some(head) if head.sequence > start.last => {
                    self.verifier.fault(Finding::MissingTail { sequence: start.last + 1, head: head.sequence });
                }
                Some(head) if head.sequence == start.last => self.beyond = true,
                _ => {
                    let why = "it does not name the last entry that is there".into();
                    self.verifier.fault(Finding::ForeignHead { sequence: start.last, why });
                }
            },
            None if from > 1 && start.last >= from - 1 => {
                self.verifier.fault(Finding::Gap { sequence: from - 1, found: start.last });
            }
            _ => {}
        }
        if start.unplaced {
            self.verifier.fault(Finding::Stray { sequence: 0, why: "rows have no place at all".into() });
        }
        self.former_numbers_to = self.former_numbers_to.max(start.former_numbers_up_to);
        self.verifier.accept_former_numbers(self.former_numbers_to);
        self.start = Some(start);
        !self.beyond && self.verifier.finding().is_none()
    }

    fn entry(&mut self, row: std::result::Result<StoredEntry<'_>, UnreadableRow>) -> bool {
        let goes_on = self.verifier.look(row);
        if self.verifier.checked().is_multiple_of(PROGRESS) {
            let last = self.start.as_ref().map_or(0, |start| start.last.min(self.range.to));
            let total = u64::try_from(last - self.range.from + 1).unwrap_or(0);
            (self.progress)(self.verifier.checked(), total);
        }
        goes_on
    }
}

impl Verifying<'_> {
    fn finish(mut self) -> Verification {
        let nothing = ScanStart { anchor: None, head: None, last: 0, unplaced: false, former_numbers_up_to: 0 };
        let start = self.start.unwrap_or(nothing);
        let ScanRange { from, to } = self.range;
        match (self.beyond, self.range.end()) {
            (true, Some(end)) => self.verifier.fault(Finding::IncompleteRange { sequence: from, end }),
            (true, None) => {}
            (false, end) => {
                // A ledger that was cut short ends early: then its end is in the range, whatever was asked for.
                if to >= start.last {
                    self.verifier.close(start.head.as_ref());
                }
                // After the head, whose finding says more.
                if let Some(end) = end {
                    self.verifier.require_up_to(end);
                }
            }
        }
        let finding = self.verifier.finding().cloned();
        let (entries, accepted_up_to) = (self.verifier.former_numbers(), self.former_numbers_to);
        let former_numbers = (entries > 0).then_some(FormerNumbers { entries, accepted_up_to });
        Verification {
            valid: finding.is_none(),
            checked: self.verifier.checked(),
            start_sequence: from,
            end_sequence: start.last.min(to),
            finding,
            former_numbers,
        }
    }
}

struct Exporting<'a> {
    canonical: String,
    unreadable: Option<UnreadableRow>,
    take: &'a mut (dyn FnMut(ExportedEntry<'_>) -> bool + Send),
}

impl LedgerVisitor for Exporting<'_> {
    fn begin(&mut self, _: ScanStart) -> bool {
        true
    }

    fn entry(&mut self, row: std::result::Result<StoredEntry<'_>, UnreadableRow>) -> bool {
        match row {
            Ok(StoredEntry { fields, entry_hash }) => {
                self.canonical.clear();
                fields.write(&mut self.canonical);
                let Fields { sequence, previous_hash, .. } = fields;
                (self.take)(ExportedEntry { sequence, previous_hash, entry_hash, canonical: &self.canonical })
            }
            Err(row) => {
                self.unreadable = Some(row);
                false
            }
        }
    }
}
