//! The ledger: reading, verifying, exporting.

use serde::Serialize;

use super::record;
use crate::call::Call;
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::ledger::canonical::Fields;
use crate::ledger::verify::{Finding, StoredEntry, UnreadableRow, Verifier};
use crate::store::{ForeignRows, LedgerVisitor, ScanRange, ScanStart};

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Whether the chain is intact over the range.
    pub valid: bool,
    /// The number of valid entries before the end or the first finding.
    pub checked: u64,
    /// The first sequence of the range.
    pub start_sequence: i64,
    /// The last sequence of the range that the ledger has.
    pub end_sequence: i64,
    /// The first finding.
    pub finding: Option<Finding>,
    /// Entries that write a number as an earlier version did; their hashes are right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former_numbers: Option<FormerNumbers>,
}

/// Entries that write a number as an earlier version did ([`crate::ledger::number`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FormerNumbers {
    /// Their number in the range.
    pub entries: u64,
    /// The sequence up to which they are accepted.
    pub accepted_up_to: i64,
}

/// One exported entry.
#[derive(Debug, Serialize)]
pub struct ExportedEntry<'a> {
    /// The sequence of the entry.
    pub sequence: i64,
    /// The hash of the entry before.
    pub previous_hash: &'a str,
    /// The hash of the entry.
    pub entry_hash: &'a str,
    /// The canonical text of the entry, which the hash covers.
    pub canonical: &'a str,
}

/// Recomputes the chain over `range`, and compares its end with the head when the range reaches the end of the ledger.
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

/// Scans the entries of `range` with their canonical texts.
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

/// The result of looking for rows after the head of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetAside {
    /// There are none.
    Nothing,
    /// The chain is invalid before its head. Nothing was changed.
    Broken(Finding),
    /// These rows were set aside, or would be.
    Rows(ForeignRows),
}

/// Moves rows of `audit_logs` after the head of the chain to `audit_logs_set_aside`. Changes nothing without `apply`.
pub(crate) async fn set_aside_foreign_rows(
    engines: &Engines,
    call: &Call,
    apply: bool,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<SetAside> {
    // This transaction is rolled back: it only finds them.
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

/// The number of entries between two reports of progress.
const PROGRESS_INTERVAL: u64 = 10_000;

struct Verifying<'a> {
    range: ScanRange,
    /// After `begin` at least the sequence that the database names.
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
            // The range begins after the last entry, which must be the head.
            None if from > 1 && start.last < from - 1 => match &start.head {
                Some(head) if head.sequence > start.last => {
                    self.verifier.report(Finding::MissingTail { sequence: start.last + 1, head: head.sequence });
                }
                Some(head) if head.sequence == start.last => self.beyond = true,
                _ => {
                    let why = "it does not name the last entry that is there".into();
                    self.verifier.report(Finding::ForeignHead { sequence: start.last, why });
                }
            },
            None if from > 1 && start.last >= from - 1 => {
                self.verifier.report(Finding::Gap { sequence: from - 1, found: start.last });
            }
            _ => {}
        }
        if start.unplaced {
            self.verifier.report(Finding::Stray { sequence: 0, why: "some rows have no sequence".into() });
        }
        self.former_numbers_to = self.former_numbers_to.max(start.former_numbers_up_to);
        self.verifier.accept_former_numbers(self.former_numbers_to);
        self.start = Some(start);
        !self.beyond && self.verifier.finding().is_none()
    }

    fn entry(&mut self, row: std::result::Result<StoredEntry<'_>, UnreadableRow>) -> bool {
        let goes_on = self.verifier.look(row);
        if self.verifier.checked().is_multiple_of(PROGRESS_INTERVAL) {
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
            (true, Some(end)) => self.verifier.report(Finding::IncompleteRange { sequence: from, end }),
            (true, None) => {}
            (false, end) => {
                // A truncated ledger ends before the range does: its end is compared with the head too.
                if to >= start.last {
                    self.verifier.close(start.head.as_ref());
                }
                // After the comparison with the head, whose finding is more specific.
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
