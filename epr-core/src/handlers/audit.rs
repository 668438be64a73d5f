//! The ledger: reading, verifying, exporting.

use serde::Serialize;
use tracing::warn;

use super::archived::{self, ReadFailure};
use super::ledger_reader::{self, WithoutArchive};
use super::record;
#[cfg(feature = "proofs")]
use super::verify_incarnations::Beginning;
#[cfg(feature = "proofs")]
use super::verify_tree;
use crate::call::Call;
use crate::domain::audit::{LastVerification, LostEntries};
use crate::engine::Engines;
use crate::engine::archived_entries::DamagedArchive;
use crate::error::{Error, Result, chain};
use crate::ledger::canonical::Fields;
use crate::ledger::verify::{Finding, StoredEntry, UnreadableRow, Verifier};
use crate::store::{ForeignRows, LedgerVisitor, ReadNeed, ScanRange, ScanStart, StoreError};

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
    /// The dropped entries whose texts were not verified, because no archive is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<DroppedEntries>,
    /// The tree over the entries, if there are checkpoints to compare it with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<VerifiedTree>,
}

/// Entries that were dropped from the database and were verified by their hashes alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DroppedEntries {
    /// Their number.
    pub entries: u64,
    /// The border, up to which they are.
    pub up_to: i64,
    /// The archive that has them.
    pub archive: String,
}

/// The tree over the entries, and what agrees with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedTree {
    /// The root in hex.
    pub root: String,
    /// The number of stored tiles that agree.
    pub tiles: u64,
    /// The number of checkpoints that agree.
    pub checkpoints: u64,
    /// The number of stored checkpoints whose signatures were verified with the keys of this process.
    pub signatures: u64,
    /// Entries that a restore lost, as the ledger itself says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostEntries>,
}

/// Sequences and hashes of entries, by sequence.
pub type KeptEntries<'a> = Box<dyn Iterator<Item = (i64, String)> + Send + 'a>;

/// What was kept elsewhere, to compare the ledger with.
#[derive(Default)]
pub struct KeptElsewhere<'a> {
    /// Sequences and hashes of entries, by sequence.
    pub entries: Option<KeptEntries<'a>>,
    /// Signed checkpoints.
    #[cfg(feature = "proofs")]
    pub checkpoints: Vec<crate::ledger::note::Note>,
}

/// Compares entries with those that were kept elsewhere.
struct Comparing<'a> {
    kept: Option<std::iter::Peekable<KeptEntries<'a>>>,
}

impl Comparing<'_> {
    /// Compares an entry; `None` if it agrees or is not among those that were kept.
    fn entry(&mut self, sequence: i64, entry_hash: &str) -> Option<Finding> {
        let kept = self.kept.as_mut()?;
        while let Some((known, hash)) = kept.next_if(|(known, _)| *known <= sequence) {
            if known == sequence && hash != entry_hash {
                return Some(Finding::Rewritten { sequence, kept: hash, stored: entry_hash.to_owned() });
            }
        }
        None
    }

    /// The finding when entries up to `end` were kept, but the ledger has `last` only.
    fn close(&mut self, last: i64, end: Option<i64>) -> Option<Finding> {
        let (known, _) = self.kept.as_mut()?.next()?;
        let within = end.is_none_or(|end| known <= end);
        (known > last && within).then_some(Finding::ShorterThanKept { sequence: last + 1, kept: known })
    }
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

/// Whether operators see this result in place of the former one: a break, or that all entries up to the head hold. A
/// part that holds proves nothing about a break elsewhere, and a range beyond the end of the ledger is no break of it.
fn replaces_the_last(verified: &Verification, range: ScanRange) -> bool {
    match &verified.finding {
        Some(Finding::IncompleteRange { .. }) => false,
        Some(_) => true,
        // Without the texts of what was dropped, it is no result about the whole ledger.
        None => verified.checked > 0 && verified.dropped.is_none() && range.from <= 1 && range.end().is_none(),
    }
}

/// [`verify`], whose result is kept for the operators if it [`replaces_the_last`]. A ledger that may be read and not
/// written is verified as well.
pub(crate) async fn verify_and_keep(
    engines: &Engines,
    range: ScanRange,
    former_numbers_to: Option<i64>,
    elsewhere: KeptElsewhere<'_>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Verification> {
    let verified = verify(engines, range, former_numbers_to, elsewhere, progress).await?;
    if !replaces_the_last(&verified, range) {
        return Ok(verified);
    }
    let kept = LastVerification {
        verified_at: engines.now(),
        first_sequence: verified.start_sequence,
        last_sequence: verified.end_sequence,
        finding: verified.finding.as_ref().map(ToString::to_string),
    };
    if let Err(error) = engines.store().keep_verification(&kept).await {
        warn!(error = chain(&error), "ledger_verification_not_kept");
    }
    Ok(verified)
}

/// Recomputes the chain over `range`, and compares its end with the head when the range reaches the end of the ledger.
/// A range that begins with the first entry is also compared with tiles and checkpoints.
pub(crate) async fn verify(
    engines: &Engines,
    range: ScanRange,
    former_numbers_to: Option<i64>,
    elsewhere: KeptElsewhere<'_>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Verification> {
    let is_whole = range.from == 1 && range.end().is_none();
    // The beginning of another range is believed, and so is its end: by hashes alone, nothing of it would be verified.
    let without_archive = if is_whole { WithoutArchive::HashesOnly } else { WithoutArchive::Refuse };
    if !is_whole && !archived::is_known(engines) {
        let border = engines.store().ledger_border().await?;
        if let Some(border) = border.filter(|border| range.from <= border.sequence) {
            return Err(archived::not_here(&border));
        }
    }
    let kept = elsewhere.entries.map(Iterator::peekable);
    let mut verification = Verifying {
        range,
        former_numbers_to: former_numbers_to.unwrap_or(0),
        start: None,
        verifier: Verifier::from_genesis(),
        beyond: false,
        comparing: Comparing { kept },
        #[cfg(feature = "proofs")]
        beginnings: Vec::new(),
        #[cfg(feature = "proofs")]
        tree: None,
        progress,
    };
    #[cfg(feature = "proofs")]
    if range.from == 1 && (!elsewhere.checkpoints.is_empty() || verify_tree::has_checkpoints(engines).await?) {
        verification.tree = Some(verify_tree::GrowingTree::start());
    }
    match ledger_reader::scan(engines, None, range, without_archive, &mut verification).await {
        // As if the database had another text of it.
        Err(ReadFailure::Damaged(damaged)) => {
            let DamagedArchive { sequence, file, why } = damaged;
            verification.verifier.report(Finding::NotInArchive { sequence, file, why });
        }
        scanned => scanned?,
    }
    #[cfg(feature = "proofs")]
    let (tree, beginnings) = (verification.tree.take(), std::mem::take(&mut verification.beginnings));
    let skipped = verification.verifier.skipped();
    // As the scan has seen it: a later drop concerns entries that were verified.
    let border = verification.start.as_ref().map_or(0, |start| start.border);
    let mut verified = verification.finish();
    if skipped > 0 {
        let place = engines.store().ledger_border().await?;
        let place = place.ok_or_else(|| StoreError::corrupt("ledger_border", "entries were dropped without it"))?;
        let archive = format!("{}/{}", place.archive, place.incarnation);
        verified.dropped = Some(DroppedEntries { entries: skipped, up_to: border, archive });
    }
    #[cfg(feature = "proofs")]
    let mut covered = 0;
    #[cfg(feature = "proofs")]
    if let Some(tree) = tree {
        let tree = tree.finish().await?;
        if verified.valid {
            let (kept, is_whole) = (&elsewhere.checkpoints, range.end().is_none());
            let found = verify_tree::compare(engines, &tree, &beginnings, kept, is_whole).await?;
            verified.valid = found.finding.is_none();
            verified.finding = found.finding;
            covered = found.covered;
            let root = crate::ledger::canonical::hex(&tree.root());
            let (tiles, checkpoints, signatures) = (found.tiles, found.checkpoints, found.signatures);
            let lost = beginnings.iter().filter_map(Beginning::lost).collect();
            verified.tree = Some(VerifiedTree { root, tiles, checkpoints, signatures, lost });
        }
    }
    #[cfg(feature = "proofs")]
    if is_whole && verified.valid && i64::try_from(covered).is_ok_and(|covered| covered < border) {
        verified.valid = false;
        verified.finding = Some(Finding::UncoveredBorder { sequence: border });
    }
    Ok(verified)
}

/// Scans the entries of `range` with their canonical texts.
pub(crate) async fn export(
    engines: &Engines,
    range: ScanRange,
    take: &mut (dyn FnMut(ExportedEntry<'_>) -> bool + Send),
) -> Result<()> {
    let mut export = Exporting { canonical: String::new(), unreadable: None, take };
    ledger_reader::scan(engines, None, range, WithoutArchive::Refuse, &mut export).await?;
    export.finish()
}

/// [`export`], perhaps from a replica that has the state that `need` names.
pub(crate) async fn export_from(
    engines: &Engines,
    need: ReadNeed,
    range: ScanRange,
    take: &mut (dyn FnMut(ExportedEntry<'_>) -> bool + Send),
) -> Result<()> {
    let mut export = Exporting { canonical: String::new(), unreadable: None, take };
    ledger_reader::scan(engines, Some(need), range, WithoutArchive::Refuse, &mut export).await?;
    export.finish()
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
        // Without the archive, what was dropped cannot be verified; it is not what these rows are about.
        let border = engines.store().ledger_border().await?.filter(|_| !archived::is_known(engines));
        let range = ScanRange { from: border.map_or(1, |border| border.sequence + 1), to: rows.head };
        let verification = verify(engines, range, None, KeptElsewhere::default(), progress).await?;
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
    comparing: Comparing<'a>,
    /// The entries that begin incarnations.
    #[cfg(feature = "proofs")]
    beginnings: Vec<Beginning>,
    #[cfg(feature = "proofs")]
    tree: Option<verify_tree::GrowingTree>,
    progress: &'a mut (dyn FnMut(u64, u64) + Send),
}

impl LedgerVisitor for Verifying<'_> {
    fn begin(&mut self, start: ScanStart) -> bool {
        // A later part of the same range.
        if self.start.is_some() {
            self.start = Some(start);
            return true;
        }
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
        let hash = row.as_ref().ok().map(|entry| (entry.fields.sequence, entry.entry_hash));
        #[cfg(feature = "proofs")]
        let beginning = row.as_ref().ok().and_then(|entry| Beginning::read(&entry.fields));
        let mut goes_on = self.verifier.look(row);
        if let Some((sequence, entry_hash)) = hash.filter(|_| goes_on) {
            goes_on = self.accept(sequence, entry_hash);
            #[cfg(feature = "proofs")]
            self.beginnings.extend(beginning.filter(|_| self.tree.is_some()));
        }
        self.report_progress();
        goes_on
    }

    fn dropped(&mut self, sequence: i64, entry_hash: &str) -> bool {
        let goes_on = self.verifier.skip(sequence, entry_hash) && self.accept(sequence, entry_hash);
        self.report_progress();
        goes_on
    }
}

impl Verifying<'_> {
    /// Compares an entry that continues the chain with what was kept elsewhere, and appends it to the tree.
    fn accept(&mut self, sequence: i64, entry_hash: &str) -> bool {
        #[cfg(feature = "proofs")]
        if let Some(tree) = &mut self.tree {
            tree.entry(entry_hash);
        }
        let Some(finding) = self.comparing.entry(sequence, entry_hash) else { return true };
        self.verifier.report(finding);
        false
    }

    fn report_progress(&mut self) {
        let done = self.verifier.checked() + self.verifier.skipped();
        if done.is_multiple_of(PROGRESS_INTERVAL) {
            let last = self.start.as_ref().map_or(0, |start| start.last.min(self.range.to));
            let total = u64::try_from(last - self.range.from + 1).unwrap_or(0);
            (self.progress)(done, total);
        }
    }

    fn finish(mut self) -> Verification {
        let nothing =
            ScanStart { anchor: None, head: None, last: 0, unplaced: false, border: 0, former_numbers_up_to: 0 };
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
        if let Some(finding) = self.comparing.close(start.last, self.range.end()) {
            self.verifier.report(finding);
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
            dropped: None,
            tree: None,
        }
    }
}

struct Exporting<'a> {
    canonical: String,
    unreadable: Option<UnreadableRow>,
    take: &'a mut (dyn FnMut(ExportedEntry<'_>) -> bool + Send),
}

impl Exporting<'_> {
    fn finish(self) -> Result<()> {
        match self.unreadable {
            None => Ok(()),
            Some(row) => Err(Error::Refused(format!("Entry {} cannot be exported: {}", row.sequence, row.why))),
        }
    }
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

    /// Never called: [`ledger_reader::scan`] is asked for texts, and refuses where there is none.
    fn dropped(&mut self, sequence: i64, _: &str) -> bool {
        let why = "it was dropped from the database, and was not read from its archive".to_owned();
        self.unreadable = Some(UnreadableRow { sequence, why });
        false
    }
}
